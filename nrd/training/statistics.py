"""What an epoch's steps say, kept on the device and read once at its end: nothing waits for the device per step."""

import math

import torch
from torch import Tensor


class EpochStatistics:
    """Mean losses, the first step with a loss that is not finite, and what training predictions agree with.

    Accuracies are those of the student's training-time predictions (training views, BatchNorm on batch statistics).
    A step only copies into tensors made beforehand; all arithmetic waits for the epoch's end.

    Args:
        steps: of the epoch.
        batch_size: of each step.
        device: that trains.
    """

    def __init__(self, steps: int, batch_size: int, device: torch.device) -> None:
        self.predicted = torch.full((steps, batch_size), -1, dtype=torch.int64, device=device)
        self.losses: dict[str, Tensor] = {}
        self.steps = 0

    @torch.no_grad()
    def add(self, losses: dict[str, Tensor]) -> None:
        """Add a step: its losses (scalars) and, if it has any, the classes that its ``logits`` ``(B, K)`` predict."""
        for name, value in losses.items():
            if name == "logits":
                torch.argmax(value, dim=1, out=self.predicted[self.steps])
                continue
            if name not in self.losses:
                self.losses[name] = torch.zeros(len(self.predicted), dtype=torch.float32, device=value.device)
            self.losses[name][self.steps] = value
        self.steps += 1

    def first_bad_step(self) -> int | None:
        """Return the first step (from 0) with a NaN or infinite loss; waits for the device."""
        values = self.losses["loss"][: self.steps].tolist()
        return next((step for step, value in enumerate(values) if not math.isfinite(value)), None)

    def summary(self, true: Tensor, given: Tensor) -> dict[str, float]:
        """Return the epoch's means; waits for the device. A share over no samples is NaN.

        Args:
            true: true labels ``(steps, batch_size)`` of the samples of each step.
            given: their given labels.
        """
        predicted, true, given = (labels[: self.steps] for labels in (self.predicted, true, given))
        known, clean = predicted >= 0, true == given
        right, memorised = predicted == true, predicted == given
        counts = [known & clean, known & clean & right, known & ~clean, ~clean & right, known & ~clean & memorised]
        clean_all, clean_right, wrong, wrong_right, wrong_memorised = (
            torch.stack([mask.sum() for mask in counts]).double().tolist()
        )
        return {
            **{name: math.fsum(values[: self.steps].tolist()) / self.steps for name, values in self.losses.items()},
            "train_clean_accuracy": clean_right / clean_all if clean_all else math.nan,
            "train_mislabeled_accuracy": wrong_right / wrong if wrong else math.nan,
            "train_memorised": wrong_memorised / wrong if wrong else math.nan,
        }
