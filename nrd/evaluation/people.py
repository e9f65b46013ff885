"""How well predicted probabilities match people's: CIFAR-10H, about 50 classifications per CIFAR-10 test image.

Peterson et al. 2019, Human Uncertainty Makes Classification More Robust. Arrays in, numbers out; no torch.
"""

import numpy as np

from nrd.metrics import SMALLEST_PROBABILITY, Floats


def human_cross_entropy(probabilities: Floats, human: Floats) -> float:
    """Mean cross-entropy of people's distribution and the predicted one, in nats; the least is people's own entropy.

    Args:
        probabilities: predicted, ``(N, K)``; those below float16's resolution count as half of it.
        human: shares of people's answers, ``(N, K)``.
    """
    probabilities, human = _checked(probabilities, human)
    return float(-(human * np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))).sum(axis=1).mean())


def entropy(probabilities: Floats) -> Floats:
    """Entropy of each row of ``(N, K)`` probabilities, ``(N,)``, in nats.

    >>> entropy(np.array([[1.0, 0.0], [0.5, 0.5]])).round(4).tolist()
    [0.0, 0.6931]
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    positive = np.where(probabilities > 0, probabilities, 1.0)
    return np.abs((positive * np.log(positive)).sum(axis=1))  # abs: 0.0 instead of -0.0


def entropy_correlation(probabilities: Floats, human: Floats) -> float:
    """Spearman's rank correlation of predicted and people's entropies over images; NaN if either is constant.

    Takes and refuses what :func:`human_cross_entropy` does.
    """
    probabilities, human = _checked(probabilities, human)
    # Rounded: the same answers for other classes have the same entropy, whatever order its terms were added in.
    ours, theirs = (_ranks(entropy(values).round(10)) for values in (probabilities, human))
    if np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        return float("nan")
    return float(np.corrcoef(ours, theirs)[0, 1])


def _ranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of theirs. Most of people's entropies are exactly zero."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _checked(probabilities: Floats, human: Floats) -> tuple[Floats, Floats]:
    probabilities, human = (np.asarray(values, dtype=np.float64) for values in (probabilities, human))
    if probabilities.ndim != 2 or probabilities.shape != human.shape or not len(human):
        raise ValueError(f"expected two (N, K) arrays of probabilities, got {probabilities.shape} and {human.shape}")
    return probabilities, human
