"""Sums over an epoch, kept on the device and read once at its end: nothing waits for the device per step."""

import torch
from torch import Tensor

_NO_BAD_STEP = 2**31 - 1


class EpochStatistics:
    """Mean losses, the first step with a loss that is not finite, and what training predictions agree with.

    Accuracies are those of the student's training-time predictions (training views, BatchNorm on batch statistics).
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.losses: dict[str, Tensor] = {}
        self.counts = torch.zeros(5, dtype=torch.float64, device=device)
        self.bad_step = torch.full((), _NO_BAD_STEP, dtype=torch.int64, device=device)
        self.steps = 0

    @torch.no_grad()
    def add(self, losses: dict[str, Tensor], true: Tensor, given: Tensor) -> None:
        """Add a step: its losses (scalars) and, from its ``logits`` ``(B, K)``, the agreement with both labels."""
        for name, value in losses.items():
            if name != "logits":
                value = value.detach().double()
                self.losses[name] = self.losses[name] + value if name in self.losses else value.clone()
        bad = torch.where(torch.isfinite(losses["loss"]), _NO_BAD_STEP, self.steps)
        self.bad_step = torch.minimum(self.bad_step, bad)
        if "logits" in losses:
            predicted = losses["logits"].argmax(dim=1)
            clean, right = true == given, predicted == true
            self.counts += torch.stack(
                [
                    clean.sum(),
                    (clean & right).sum(),
                    (~clean).sum(),
                    (~clean & right).sum(),
                    (~clean & (predicted == given)).sum(),
                ]
            )
        self.steps += 1

    def first_bad_step(self) -> int | None:
        """Return the first step (from 0) with a NaN or infinite loss; waits for the device."""
        step = int(self.bad_step)
        return None if step == _NO_BAD_STEP else step

    def summary(self) -> dict[str, float]:
        """Return the epoch's means; waits for the device. A share over no samples is NaN."""
        clean, clean_right, wrong, wrong_right, wrong_memorised = self.counts.tolist()
        return {
            **{name: value.item() / self.steps for name, value in self.losses.items()},
            "train_clean_accuracy": clean_right / clean if clean else float("nan"),
            "train_mislabeled_accuracy": wrong_right / wrong if wrong else float("nan"),
            "train_memorised": wrong_memorised / wrong if wrong else float("nan"),
        }
