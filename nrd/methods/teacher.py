"""Teachers of distillation methods: a moving average of the student, the student itself, or a finished run's student.

Source: NRD paper, eqs. 23-24 and Algorithm 1; the variants are those of the authors' working code.
"""

import copy
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from nrd.spec import TeacherSpec


class Teacher(nn.Module):
    """Predicts on the teacher's view, with a gradient only if asked.

    BatchNorm: with ``batch_norm: train`` the teacher normalises its view by that view's own batch statistics, and an
    averaged teacher keeps running statistics of its own views for evaluation. With ``eval`` it uses running
    statistics, which ``buffers`` averages like the weights or copies from the student after each step.
    """

    def __init__(self, spec: TeacherSpec, student: nn.Module, frozen: nn.Module | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.network = None
        if spec.kind == "ema":
            self.network = copy.deepcopy(student).requires_grad_(False)
        elif spec.kind == "frozen":
            if frozen is None:
                raise ValueError("a frozen teacher needs the network of a finished run")
            self.network = frozen.requires_grad_(False)

    def train(self, mode: bool = True) -> "Teacher":
        """Set the mode; a teacher with ``batch_norm: eval`` stays in evaluation mode."""
        return super().train(mode and self.spec.batch_norm == "train" and self.spec.kind != "frozen")

    def forward(self, view: Tensor, student: nn.Module, gradient: bool = False) -> Tensor:
        """Return logits ``(B, K)`` for a view ``(B, C, H, W)``."""
        network = student if self.network is None else self.network
        with torch.set_grad_enabled(gradient), self._mode(network):
            return network(view)

    @contextmanager
    def _mode(self, network: nn.Module):  # noqa: ANN202
        """A ``self`` teacher with ``batch_norm: eval`` borrows the student in evaluation mode."""
        if self.spec.kind != "self" or self.spec.batch_norm == "train" or not network.training:
            yield
            return
        network.eval()
        try:
            yield
        finally:
            network.train()

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Move the average by one step: ``teacher <- decay * teacher + (1 - decay) * student`` (eq. 24)."""
        if self.spec.kind != "ema":
            return
        weight = 1 - self.spec.decay
        torch._foreach_lerp_(list(self.network.parameters()), list(student.parameters()), weight)
        if self.spec.batch_norm == "train":
            return  # its running statistics are those of its own views
        for mine, theirs in zip(self.network.buffers(), student.buffers(), strict=True):
            if self.spec.buffers == "average" and mine.is_floating_point():
                mine.lerp_(theirs, weight)
            else:
                mine.copy_(theirs)
