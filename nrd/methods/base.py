"""The contract between a method and the training loop.

A method declares the views it wants, how many networks it trains and whether its step can be captured in a CUDA
graph, and computes the losses of a step. It never loops, never moves data, never writes files. As a ``torch.nn.Module``
its networks, its teacher and whatever it remembers per sample (``register_buffer``) are part of resuming.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from nrd.spec import TeacherSpec


@dataclass
class Context:
    """What a method may know of the run while it trains. ``epoch`` and ``step`` count from 0."""

    device: torch.device
    seed: int
    epochs: int
    steps_per_epoch: int
    batch_size: int
    epoch: int = 0
    step: int = 0

    @property
    def global_step(self) -> int:
        """Steps taken before this one, over all epochs."""
        return self.epoch * self.steps_per_epoch + self.step


@dataclass
class Batch:
    """One step's input.

    Attributes:
        views: for each role the list of its views, each ``(B, C, H, W)`` float32, normalised, on the device.
        targets: given labels ``(B,)`` int64.
        indices: positions ``(B,)`` int64 in the training part, for methods that remember something per sample.
    """

    views: Mapping[str, list[Tensor]]
    targets: Tensor
    indices: Tensor


class Method(nn.Module):
    """Base of all methods.

    Subclasses take their hyper-parameters as keyword arguments of ``__init__`` (the defaults equal those in
    ``params/methods``), and implement :meth:`step`.
    """

    num_networks: ClassVar[int] = 1
    # Whether `step` can be compiled into one graph: fixed shapes, no look at values on the host.
    capturable: ClassVar[bool] = True
    # Whether the loss leaves the teacher's predictions without a gradient; means nothing where there is no teacher.
    stop_gradient: bool = True

    networks: nn.ModuleList

    def __init__(self, *, teacher: TeacherSpec | None = None) -> None:
        super().__init__()
        self.teacher_spec = teacher

    @property
    def view_counts(self) -> dict[str, int]:
        """How many independent views of each role a step wants."""
        return {"student": 1}

    def setup(
        self, networks: list[nn.Module], num_samples: int, num_classes: int, frozen: nn.Module | None = None
    ) -> None:
        """Receive the untrained networks; make the teacher and per-sample state here. Called once, on the CPU.

        Args:
            networks: as many as ``num_networks``.
            num_samples: of the training part.
            num_classes: K.
            frozen: network of a finished run; given only where the teacher's spec names one.
        """
        self.networks = nn.ModuleList(networks)

    def trainable(self) -> list[nn.Parameter]:
        """Parameters that the optimiser updates."""
        return [parameter for parameter in self.networks.parameters() if parameter.requires_grad]

    def on_epoch_start(self, ctx: Context) -> None:
        """Hook before an epoch's first step."""

    def epoch_order(self, ctx: Context, num_samples: int, generator: torch.Generator) -> Tensor:
        """Return the samples of each step, ``(steps, batch_size)`` int64: by default a permutation, tail dropped."""
        steps = num_samples // ctx.batch_size
        order = torch.randperm(num_samples, generator=generator)[: steps * ctx.batch_size]
        return order.view(steps, ctx.batch_size)

    def step(self, ctx: Context, batch: Batch) -> dict[str, Tensor]:
        """Return ``loss`` (a scalar with gradient), ``logits`` ``(B, K)`` of a student view, and further losses."""
        raise NotImplementedError(f"{type(self).__name__} must implement step()")

    def on_step_end(self, ctx: Context) -> None:
        """Hook after the optimiser's update: a teacher's average, for example."""

    def exports(self) -> dict[str, nn.Module]:
        """Networks that a finished run keeps, by name; the first is the one whose accuracy the tables show."""
        return {"student": self.networks[0]}

    def predict(self, images: Tensor) -> Tensor:
        """Return logits ``(B, K)`` as reported in tables, for normalised images."""
        return next(iter(self.exports().values()))(images)


class SingleViewMethod(Method):
    """A loss over one student view: subclasses only build the loss."""

    def __init__(self, loss: nn.Module, *, teacher: TeacherSpec | None = None) -> None:
        super().__init__(teacher=teacher)
        self.loss = loss

    def step(self, ctx: Context, batch: Batch) -> dict[str, Tensor]:
        """Loss of the student's logits against the given labels."""
        logits = self.networks[0](batch.views["student"][0])
        return {"loss": self.loss(logits, batch.targets), "logits": logits}
