"""Instance-dependent noise (Xia et al. 2020, "Part-dependent Label Noise", Algorithm 2)."""

import numpy as np
from numpy.typing import NDArray

RATE_STD = 0.1  # standard deviation of the per-sample rates, before truncation
_ROWS = 2048  # images turned to float64 at a time: 50 MB for 32×32 RGB


def flip_rates(count: int, rate: float, rng: np.random.RandomState) -> NDArray[np.float64]:
    """Draw ``count`` per-sample flip rates from N(η, 0.1²) truncated to [0, 1].

    By rejection, which needs no SciPy: at worst (η = 0 or 1) half of the draws are thrown away.

    >>> flip_rates(3, 0.4, np.random.RandomState(1)).round(2)
    array([0.56, 0.34, 0.35])
    """
    rates = rng.normal(rate, RATE_STD, size=count)
    while (outside := np.flatnonzero((rates < 0) | (rates > 1))).size:
        rates[outside] = rng.normal(rate, RATE_STD, size=outside.size)
    return rates


def label_probabilities(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    rates: NDArray[np.float64],
    num_classes: int,
    rng: np.random.RandomState,
) -> NDArray[np.float64]:
    """Return P(given label | image, true label) for every sample.

    Each true class c has a standard normal projection W_c of shape (S, K), S values per image, drawn in the order
    of the classes. An image x of class y and rate q gives logits x·W_y with −∞ for y; their softmax times q are the
    probabilities of the other classes, 1 − q is y's. Pixels enter as 0…255, as in the authors' code, which makes
    the softmax all but one-hot: an image has *one* class that it is mistaken for.

    Args:
        images: (N, C, H, W) uint8; any layout works, but a layout is a draw of its own.
        labels: (N,) true labels in [0, K).
        rates: (N,) flip rates in [0, 1].
        num_classes: K.
        rng: generator of the projections.

    Returns:
        (N, K) float64, rows adding up to 1.
    """
    pixels = images.reshape(len(images), -1)
    probabilities = np.empty((len(labels), num_classes))
    for true in range(num_classes):
        projection = rng.standard_normal((pixels.shape[1], num_classes))
        members = np.flatnonzero(labels == true)
        for start in range(0, len(members), _ROWS):
            rows = members[start : start + _ROWS]
            logits = pixels[rows].astype(np.float64) @ projection
            logits[:, true] = -np.inf
            odds = np.exp(logits - logits.max(axis=1, keepdims=True))
            probabilities[rows] = odds * (rates[rows] / odds.sum(axis=1))[:, None]
        probabilities[members, true] = 1 - rates[members]
    return probabilities


def instance_dependent(
    labels: NDArray[np.int64],
    rate: float,
    num_classes: int,
    rng: np.random.RandomState,
    images: NDArray[np.uint8],
) -> NDArray[np.int64]:
    """Draw every label once from ``label_probabilities``: the noise of Xia et al. (2020).

    η = 0 returns the labels as they are; the truncated normal would make it 8 % noise. The draw goes through matrix
    products, so that in rare ties of rounding another BLAS may give another label.
    """
    if rate == 0:
        return labels.copy()
    rates = flip_rates(len(labels), rate, rng)
    cumulative = label_probabilities(images, labels, rates, num_classes, rng).cumsum(axis=1)
    # Scaled by its own last value, so that a sum of 1 − 1e-16 cannot leave a draw above every entry.
    draws = rng.random_sample(len(labels)) * cumulative[:, -1]
    return (draws[:, None] >= cumulative).sum(axis=1).astype(np.int64)
