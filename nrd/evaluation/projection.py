"""Class probabilities as points in a regular polygon with one vertex per class (the paper's Figure 2a and Table 6)."""

import numpy as np

from nrd.metrics import Floats


def vertices(num_classes: int) -> Floats:
    """Return the polygon's vertices ``(K, 2)`` on the unit circle, class i at the angle 2π/K · (i + ½).

    >>> vertices(4).round(3).tolist()
    [[0.707, 0.707], [-0.707, 0.707], [-0.707, -0.707], [0.707, -0.707]]
    """
    angles = 2 * np.pi / num_classes * (np.arange(num_classes) + 0.5)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def project(probabilities: Floats) -> Floats:
    """Project probabilities ``(..., K)`` linearly to points ``(..., 2)``: the vertices' mean weighted by them.

    A certain prediction lies on its class's vertex, the uniform one in the centre. Different probabilities may fall
    on one point: K - 1 dimensions are shown in two.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    return probabilities @ vertices(probabilities.shape[-1])
