"""Methods that are one loss over one view: the paper's baselines CE, BS, LS, SCE, GCE, NCE+RCE and JS."""

from typing import Any

from nrd import losses
from nrd.methods.base import SingleViewMethod


class CE(SingleViewMethod):
    """Cross-entropy."""

    def __init__(self, **common: Any) -> None:
        super().__init__(losses.CrossEntropy(validate=False), **common)


class BS(SingleViewMethod):
    """Soft bootstrapping (Reed et al. 2015)."""

    def __init__(self, beta: float, **common: Any) -> None:
        super().__init__(losses.Bootstrapping(beta, validate=False), **common)


class LS(SingleViewMethod):
    """Label smoothing (Szegedy et al. 2016)."""

    def __init__(self, epsilon: float, **common: Any) -> None:
        super().__init__(losses.LabelSmoothing(epsilon, validate=False), **common)


class SCE(SingleViewMethod):
    """Symmetric cross-entropy (Wang et al. 2019)."""

    def __init__(self, alpha: float, beta: float, **common: Any) -> None:
        super().__init__(losses.SymmetricCrossEntropy(alpha, beta, validate=False), **common)


class GCE(SingleViewMethod):
    """Generalized cross-entropy (Zhang & Sabuncu 2018)."""

    def __init__(self, q: float, **common: Any) -> None:
        super().__init__(losses.GeneralizedCrossEntropy(q, validate=False), **common)


class NCEAndRCE(SingleViewMethod):
    """Normalised plus reverse cross-entropy (Ma et al. 2020)."""

    def __init__(self, alpha: float, beta: float, **common: Any) -> None:
        super().__init__(losses.NCEAndRCE(alpha, beta, validate=False), **common)


class JS(SingleViewMethod):
    """Jensen-Shannon divergence between label and prediction (Englesson & Azizpour 2021)."""

    def __init__(self, pi1: float, scale: bool = True, **common: Any) -> None:
        super().__init__(losses.JensenShannon(pi1, scale=scale, validate=False), **common)
