"""One training step: losses, gradients, update. Nothing in it waits for the device.

Compiled, it is three graphs of fixed shape: losses, their gradients, and the update with the teacher's average. What
changes from step to step reaches them as tensors: views, labels, indices, and the learning rate. A number that a
method's step reads from its context would be a constant of the graph, so a ramp belongs into a buffer of the method,
filled in its ``on_epoch_start``.
"""

import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor
from torch.optim.sgd import sgd

from nrd.methods.base import Batch, Context, Method

Views = Mapping[str, list[Tensor]]


def wants_compilation(choice: str, method: Method, device: torch.device) -> bool:
    """Return whether a run's step is compiled: if it can be, and where it pays unless told otherwise.

    Args:
        choice: ``on``, ``off``, or ``auto``: on a GPU, if what torch compiles with is there.
        method: says whether its step can be captured.
        device: that trains.
    """
    if choice == "off" or not method.capturable:
        return False
    return choice == "on" or (device.type == "cuda" and _has_compiler())


def _has_compiler() -> bool:
    """Whether Triton is there with what it builds its launchers with: a C compiler and Python's headers."""
    compilers = [os.environ.get("CC"), "cc", "gcc", "clang"]
    headers = Path(sysconfig.get_path("include"), "Python.h")
    found = any(shutil.which(name) for name in compilers if name) and headers.is_file()
    return found and importlib.util.find_spec("triton") is not None


def _own_copy(function: FunctionType) -> FunctionType:
    """Return the same function with code of its own.

    PyTorch keeps what it compiles by the code of a function, and no more than a few kinds of it: all steps of one
    process would share these few.
    """
    code = function.__code__.replace()
    return FunctionType(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)


def forget_compiled() -> None:
    """Free what this process has compiled, with the memory of its CUDA graphs; a step that lives on compiles anew."""
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()


class Step:
    """A method's training step, eager or compiled. Make it after the optimiser's state is loaded.

    Args:
        method: with its networks on the device.
        optimizer: SGD over the method's trainable parameters.
        context: of the run.
        precision: ``float32``, or ``bfloat16`` for autocast.
        compiled: whether to compile.
        backend: arguments for ``torch.compile`` in place of the device's own.
    """

    def __init__(
        self,
        method: Method,
        optimizer: torch.optim.SGD,
        context: Context,
        precision: str,
        compiled: bool = False,
        backend: Mapping[str, Any] | None = None,
    ) -> None:
        self.method, self.optimizer, self.context, self.compiled = method, optimizer, context, compiled
        self.bfloat16 = precision == "bfloat16"
        self._losses: Callable[..., dict[str, Tensor]] = self._forward
        self._update: Callable[[], None] = self._eager_update
        if compiled:
            # CUDA graphs are what takes the launches off the host.
            settings = {"mode": "reduce-overhead"} if context.device.type == "cuda" else {}
            settings = {"fullgraph": True, "dynamic": False, **(settings if backend is None else backend)}
            self._losses = torch.compile(MethodType(_own_copy(Step._forward), self), **settings)
            self._graph = torch.compile(_own_copy(_graph_update), **settings)
            self._prepare_update()
            self._update = self._compiled_update

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Take one step.

        Returns:
            The losses and logits of the method, without gradient; compiled, the next step overwrites them.
        """
        # Before the graphs' memory is used anew: the old gradients lie in it.
        self.optimizer.zero_grad(set_to_none=True)
        if self.compiled and self.context.device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        losses = self._losses(batch.views, batch.targets, batch.indices)
        losses["loss"].backward()
        self._update()
        return {name: value.detach() for name, value in losses.items()}

    def _forward(self, views: Views, targets: Tensor, indices: Tensor) -> dict[str, Tensor]:
        with torch.autocast(self.context.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self.method.step(self.context, Batch(views, targets, indices))

    def _eager_update(self) -> None:
        self.optimizer.step()
        self.method.on_step_end(self.context)

    def _prepare_update(self) -> None:
        """Make what the update writes to beforehand, at addresses that stay: a graph knows tensors by them.

        A graph that writes to a tensor which may move is not captured at all; parameters count as staying.
        """
        (self.group,) = self.optimizer.param_groups
        self.rate = torch.zeros((), device=self.context.device)
        torch._dynamo.mark_static_address(self.rate)
        if self.group["momentum"]:
            for parameter in self.group["params"]:
                # From zeros, the first update is the one from no momentum at all.
                state = self.optimizer.state[parameter]
                if state.get("momentum_buffer") is None:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                torch._dynamo.mark_static_address(state["momentum_buffer"])

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the steps to come."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.compiled:
            self.rate.fill_(rate)

    def _compiled_update(self) -> None:
        group = self.group
        parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
        gradients = [parameter.grad for parameter in parameters]
        momenta = [self.optimizer.state[parameter].get("momentum_buffer") for parameter in parameters]
        settings = (group["momentum"], group["weight_decay"], group["nesterov"])
        self._graph(parameters, gradients, momenta, self.rate, settings, self.method, self.context)


def _graph_update(
    parameters: list[Tensor],
    gradients: list[Tensor],
    momenta: list[Tensor | None],
    rate: Tensor,
    settings: tuple[float, float, bool],
    method: Method,
    context: Context,
) -> None:
    """Update the parameters as SGD does, then whatever follows them."""
    momentum, weight_decay, nesterov = settings
    with torch.no_grad():  # within: a decorator would be what is compiled
        sgd(
            parameters,
            gradients,
            momenta,
            foreach=True,
            lr=rate,
            momentum=momentum,
            weight_decay=weight_decay,
            nesterov=nesterov,
            dampening=0.0,
            maximize=False,
        )
        method.on_step_end(context)
