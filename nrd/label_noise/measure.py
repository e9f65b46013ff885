"""What noise did: the measured rate and the measured transition matrix."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def _pair(true: ArrayLike, given: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    true, given = np.asarray(true), np.asarray(given)
    if true.ndim != 1 or true.shape != given.shape:
        raise ValueError(f"true and given labels must be 1-D and equally long, not {true.shape} and {given.shape}")
    return true, given


def actual_rate(true: ArrayLike, given: ArrayLike) -> float:
    """Return the share of samples whose given label differs from the true one.

    Args:
        true: (N,) true labels.
        given: (N,) labels as given.

    Returns:
        A share in [0, 1]; 0 for no samples.

    Raises:
        ValueError: where the two are not 1-D or differ in length.

    >>> actual_rate([0, 1, 2, 2], [0, 1, 2, 0])
    0.25
    """
    true, given = _pair(true, given)
    return float((true != given).mean()) if len(true) else 0.0


def transition_matrix(true: ArrayLike, given: ArrayLike, num_classes: int) -> NDArray[np.float64]:
    """Return the empirical P(given = j | true = i) as a (K, K) matrix, row i for true class i.

    Args:
        true: (N,) true labels in [0, K).
        given: (N,) labels as given, in [0, K).
        num_classes: K.

    Returns:
        (K, K) float64. Rows add up to 1; the row of a class without samples is all NaN, since nothing was measured.

    Raises:
        ValueError: where the two are not 1-D, differ in length or hold labels outside [0, K).

    >>> transition_matrix([0, 0, 1, 1], [0, 1, 1, 1], num_classes=2)
    array([[0.5, 0.5],
           [0. , 1. ]])
    """
    true, given = _pair(true, given)
    for labels in (true, given):
        if len(labels) and not (labels.min() >= 0 and labels.max() < num_classes):
            raise ValueError(f"labels must lie in [0, {num_classes}), found {labels.min()} to {labels.max()}")
    counts = np.bincount(true * num_classes + given, minlength=num_classes**2).reshape(num_classes, num_classes)
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
