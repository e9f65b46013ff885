"""How predictions on views of an image move while a network trains (the paper's Table 6). Needs no torch."""

import numpy as np

from nrd.metrics import Floats, Integers


def true_class_confidence(probabilities: Floats, true: Integers) -> tuple[Floats, Floats]:
    """Return mean and standard deviation over views of the probability of each image's true class.

    Args:
        probabilities: ``(..., N, V, K)``, for V views of N images.
        true: classes ``(N,)``.

    Returns:
        Two arrays ``(..., N)``.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    places = np.broadcast_to(np.asarray(true)[:, None, None], (*probabilities.shape[:-1], 1))
    chosen = np.take_along_axis(probabilities, places, axis=-1)[..., 0]
    return chosen.mean(axis=-1), chosen.std(axis=-1)
