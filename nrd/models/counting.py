"""How large a network is: parameters and multiply-accumulates."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable parameters.

    >>> count_parameters(nn.Linear(3, 2))
    8
    """
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def count_macs(model: nn.Module, input_shape: Sequence[int]) -> int:
    """Return the multiply-accumulates of the convolutions and linear layers for one image.

    Runs a copy of the model on PyTorch's meta device, which computes shapes only; the model itself is left alone.
    Normalisation, activations, pooling, additions and biases are not counted, as is usual. A FLOP count is twice it.

    Args:
        model: whose convolutions and linear layers are modules.
        input_shape: (C, H, W) of one image.

    >>> count_macs(nn.Conv2d(3, 8, kernel_size=3, padding=1), (3, 4, 4))  # 3·8·9 weights at 16 positions
    3456
    """
    total = 0

    def count(layer: nn.Module, _inputs: Any, output: Tensor) -> None:
        nonlocal total
        # Each output value is a sum over one filter's (or one row's) weights.
        total += output.numel() * layer.weight[0].numel()

    twin = copy.deepcopy(model).to("meta").eval()
    for layer in twin.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        twin(torch.empty(1, *input_shape, device="meta"))
    return total
