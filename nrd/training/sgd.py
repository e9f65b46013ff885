"""Stochastic gradient descent for steps that are not compiled."""

import inspect

import torch
from torch.optim import SGD, Optimizer


class EagerSGD(SGD):
    """``torch.optim.SGD``, bit for bit, without what only tells the compiler to keep out.

    Those wrappers import the whole compiler at the first call, more than a second of every short run. Not to be used
    where steps are traced by ``torch.compile``.
    """

    step = torch.no_grad()(inspect.unwrap(SGD.step))
    zero_grad = inspect.unwrap(Optimizer.zero_grad)
    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)
