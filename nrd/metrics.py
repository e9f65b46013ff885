"""Measures of predicted class probabilities, in float64. Arrays in, numbers out; no torch.

``probabilities`` is ``(N, K)`` with rows summing to 1 (up to rounding), ``labels`` is ``(N,)`` with classes 0 to K-1.
Results are shares in [0, 1] or nats, never per cent.
"""

import itertools

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Half the smallest positive float16, which predictions are stored in: a stored zero means "at most this".
SMALLEST_PROBABILITY = 2.0**-25

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]


def _checked(probabilities: Floats, labels: Integers) -> tuple[Floats, Integers]:
    probabilities = np.asarray(probabilities, dtype=np.float64)
    labels = np.asarray(labels)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        raise ValueError(f"expected (N, K) probabilities and (N,) labels, got {probabilities.shape} and {labels.shape}")
    return probabilities, labels


def accuracy(probabilities: Floats, labels: Integers) -> float:
    """Share of samples whose most probable class is the label.

    >>> accuracy(np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 0]))
    0.5
    """
    probabilities, labels = _checked(probabilities, labels)
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def top_k_accuracy(probabilities: Floats, labels: Integers, k: int) -> float:
    """Share of samples whose label is among the ``k`` most probable classes; a tie counts for the lower class."""
    probabilities, labels = _checked(probabilities, labels)
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float(np.mean((best == labels[:, None]).any(axis=1)))


def negative_log_likelihood(probabilities: Floats, labels: Integers) -> float:
    """Mean of -ln p(label) in nats; probabilities below float16's resolution count as half of it (17.3 nats)."""
    probabilities, labels = _checked(probabilities, labels)
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, SMALLEST_PROBABILITY)).mean())


def brier_score(probabilities: Floats, labels: Integers) -> float:
    """Mean squared distance between probabilities and one-hot label, summed over classes: 0 to 2 (Brier 1950)."""
    probabilities, labels = _checked(probabilities, labels)
    target = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - target) ** 2).sum(axis=1).mean())


def confusion_counts(true: Integers, predicted: Integers, num_classes: int) -> Floats:
    """Count samples by true class (row) and predicted class (column), ``(K, K)``.

    >>> confusion_counts(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """
    place = np.asarray(true) * num_classes + np.asarray(predicted)
    return np.bincount(place, minlength=num_classes**2).reshape(num_classes, num_classes).astype(np.float64)


def reliability(probabilities: Floats, labels: Integers, bins: int) -> dict[str, Floats]:
    """Return the reliability diagram over equal confidence bins (a, b], the first closed at 0.

    Returns:
        ``count`` of samples, mean ``confidence`` and ``accuracy`` per bin ``(bins,)``; NaN in empty bins.
    """
    return binned(*_judged(probabilities, labels), bins)


def expected_calibration_error(probabilities: Floats, labels: Integers, bins: int = 15) -> float:
    """ECE as usually defined: mean gap between a bin's accuracy and its mean confidence (Naeini 2015; Guo 2017)."""
    return mean_gap(*_judged(probabilities, labels), bins)


def midpoint_calibration_error(probabilities: Floats, labels: Integers, bins: int = 10) -> float:
    """ECE as in a working code of two of the NRD paper's authors: gap to the bin's mid-point, 10 bins [a, b).

    In that code a confidence of exactly 1 falls in no bin. Stored predictions are float16, which has 1 for all above
    0.99976, so that it would drop most of an overconfident network: here 1 counts as the largest float below it and
    stays in the last bin.
    """
    return midpoint_gap(*_judged(probabilities, labels), bins)


def _judged(probabilities: Floats, labels: Integers) -> tuple[Floats, NDArray[np.bool_]]:
    """Confidence ``(N,)`` of the predictions, and whether they are right: all that calibration is about."""
    probabilities, labels = _checked(probabilities, labels)
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == labels


def binned(confidence: Floats, right: NDArray[np.bool_], bins: int) -> dict[str, Floats]:
    """As :func:`reliability`, from the confidences ``(N,)`` and whether the predictions are right ``(N,)``."""
    edges = np.linspace(0, 1, bins + 1)
    position = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    count = np.bincount(position, minlength=bins)
    with np.errstate(invalid="ignore"):
        return {
            "count": count.astype(np.float64),
            "confidence": np.bincount(position, confidence, bins) / count,
            "accuracy": np.bincount(position, right, bins) / count,
        }


def mean_gap(confidence: Floats, right: NDArray[np.bool_], bins: int = 15) -> float:
    """As :func:`expected_calibration_error`, from confidences and whether the predictions are right."""
    diagram = binned(confidence, right, bins)
    filled = diagram["count"] > 0
    gap = np.abs(diagram["accuracy"] - diagram["confidence"])[filled]
    return float((gap * diagram["count"][filled]).sum() / diagram["count"].sum())


def midpoint_gap(confidence: Floats, right: NDArray[np.bool_], bins: int = 10) -> float:
    """As :func:`midpoint_calibration_error`, from confidences and whether the predictions are right."""
    edges = np.linspace(0, 1, bins + 1)
    confidence = np.minimum(np.asarray(confidence, dtype=np.float64), np.nextafter(1.0, 0.0))
    total = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence >= low) & (confidence < high)
        if inside.any():
            total += inside.sum() * abs(right[inside].mean() - (low + high) / 2)
    return float(total / len(confidence))


def density_auroc(plain: ArrayLike, vicinal: ArrayLike) -> float:
    """Area under the ROC curve that separates plain from vicinal cross-entropies; 0.5: the same distribution.

    It is the probability that a plain value is larger than a vicinal one, ties counting half (Mann and Whitney's U):
    above 0.5 where views bring the true label nearer.

    Args:
        plain: cross-entropies ``(N,)`` without views, in nats.
        vicinal: cross-entropies ``(M,)`` of vicinal predictions, in nats.

    >>> density_auroc([3.0, 2.0], [1.0, 2.0])
    0.875
    """
    plain, vicinal = np.asarray(plain, dtype=np.float64), np.asarray(vicinal, dtype=np.float64)
    if not plain.size or not vicinal.size:
        raise ValueError("expected at least one value of each")
    ordered = np.sort(vicinal)
    below, upto = (np.searchsorted(ordered, plain, side=side) for side in ("left", "right"))
    return float((below + upto).sum() / (2 * plain.size * vicinal.size))
