"""Reliability diagrams of several runs together. Needs no torch."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nrd import metrics

BINS = 10  # of a diagram: as many as the mid-point error has


@dataclass(frozen=True)
class Calibration:
    """Diagram and calibration errors of one run or several.

    Attributes:
        count: samples per confidence bin (a, b], ``(bins,)``.
        confidence: their mean confidence, a share; NaN in empty bins.
        accuracy: the share of them that is right; NaN in empty bins.
        ece: as usually defined (15 bins, mean confidence), a share; over several runs the mean of theirs.
        ece_midpoint: by the bins' mid-points (10 bins), a share; likewise.
        runs: how many.
    """

    count: NDArray[np.float64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    ece: float
    ece_midpoint: float
    runs: int = 1


def calibration(probabilities: metrics.Floats, labels: metrics.Integers, bins: int = BINS) -> Calibration:
    """Return the calibration of one run's probabilities ``(N, K)`` for labels ``(N,)``."""
    return Calibration(
        **metrics.reliability(probabilities, labels, bins),
        ece=metrics.expected_calibration_error(probabilities, labels),
        ece_midpoint=metrics.midpoint_calibration_error(probabilities, labels),
    )


def calibration_of(confidence: metrics.Floats, right: NDArray[np.bool_], bins: int = BINS) -> Calibration:
    """Return the same from the predictions' confidences ``(N,)`` and whether they are right ``(N,)``."""
    confidence = np.asarray(confidence, dtype=np.float64)
    return Calibration(
        **metrics.binned(confidence, right, bins),
        ece=metrics.mean_gap(confidence, right),
        ece_midpoint=metrics.midpoint_gap(confidence, right),
    )


def pool(parts: Iterable[Calibration]) -> Calibration:
    """Pool the samples of several runs in one diagram; errors are means over runs, each run having its own bins.

    The error of the pooled diagram would be smaller: gaps of different runs cancel in it, as in no single network.
    """
    parts = list(parts)
    counts = np.stack([part.count for part in parts])
    total = counts.sum(axis=0)
    with np.errstate(invalid="ignore"):
        means = {
            key: np.nansum(counts * np.stack([getattr(part, key) for part in parts]), axis=0) / total
            for key in ("confidence", "accuracy")
        }
    errors = {key: float(np.mean([getattr(part, key) for part in parts])) for key in ("ece", "ece_midpoint")}
    return Calibration(count=total, **means, **errors, runs=sum(part.runs for part in parts))
