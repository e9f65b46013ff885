"""Losses of one prediction and one label: cross-entropy and its noise-robust relatives.

Notation: p = softmax(logits), y the label as a distribution (a one-hot vector for class indices), K classes, k runs
over classes. Written for one sample; ``reduction`` is over the batch.
"""

import math
from abc import abstractmethod

import torch
from torch import Tensor

from nrd.losses.base import (
    Loss,
    Reduction,
    check_coefficients,
    check_fraction,
    check_tensor,
    label_distribution,
    reduce,
    upcast,
    without_autocast,
)

P_MIN = 1e-7  # probabilities are kept above this before a logarithm or a power is taken
Y_MIN = 1e-4  # the same for labels in reverse cross-entropy, where it sets the size of the loss


class LabelLoss(Loss):
    """A loss of log-probabilities and a label; subclasses write ``per_sample``."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, a scalar or, with ``reduction="none"``, shape (N,).

        Args:
            logits: shape (N, K), any floating-point dtype.
            target: class indices (N,), or a probability matrix (N, K).

        Raises:
            TypeError: for anything but tensors.
            ValueError: for a wrong shape or dtype and, if ``validate``, for indices out of range or rows that are no
                distributions.
        """
        check_tensor(logits, "logits")
        with without_autocast(logits):
            log_p = upcast(logits).log_softmax(-1)
            y = label_distribution(target, log_p, validate=self.validate)
            return reduce(self.per_sample(log_p, y), self.reduction)

    @abstractmethod
    def per_sample(self, log_p: Tensor, y: Tensor) -> Tensor:
        """Return one value per sample, shape (N,), from log-probabilities and label distributions, both (N, K)."""
        raise NotImplementedError


class CrossEntropy(LabelLoss):
    """Cross-entropy: CE = −Σ_k y_k ln p_k.

    Source: C. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, section 4.3.4: the negative logarithm
    of a multiclass logistic model's likelihood. The baseline "CE" of all papers on noisy labels.

    Args:
        reduction: ``"mean"``, ``"none"`` or ``"sum"``.
        validate: check the values of targets.

    >>> logits = torch.tensor([[2.0, 0.0, -1.0]])
    >>> round(CrossEntropy()(logits, torch.tensor([0])).item(), 4)
    0.1698
    >>> round(CrossEntropy()(logits, torch.tensor([[0.5, 0.5, 0.0]])).item(), 4)
    1.1698
    """

    def per_sample(self, log_p: Tensor, y: Tensor) -> Tensor:
        """Return −Σ_k y_k ln p_k."""
        return cross_entropy(log_p, y)


class Bootstrapping(LabelLoss):
    """Soft bootstrapping: BS = −Σ_k q_k ln max(p_k, 1e-7) with q = (1−β) y + β p.

    The prediction inside q is not detached. β is the weight of the *prediction*, as in the papers that report this
    baseline; in Reed et al. it is that of the label.

    Source: S. Reed, H. Lee, D. Anguelov, C. Szegedy, D. Erhan, A. Rabinovich, "Training Deep Neural Networks on Noisy
    Labels with Bootstrapping", arXiv 1412.6596, 2014.

    Args:
        beta: weight of the prediction in the target, in [0, 1); 0 is cross-entropy with its logarithm clamped.
        reduction: ``"mean"``, ``"none"`` or ``"sum"``.
        validate: check the values of targets.

    Raises:
        ValueError: for a β outside [0, 1).

    >>> logits = torch.tensor([[2.0, 0.0, -1.0]])
    >>> round(Bootstrapping(beta=0.5)(logits, torch.tensor([0])).item(), 4)
    0.3471
    """

    def __init__(self, beta: float, *, reduction: Reduction = "mean", validate: bool = True) -> None:
        super().__init__(reduction=reduction, validate=validate)
        self.beta = check_fraction("beta", beta, high_open=True)

    def settings(self) -> dict[str, object]:
        """Return β."""
        return {"beta": self.beta}

    def per_sample(self, log_p: Tensor, y: Tensor) -> Tensor:
        """Return −Σ_k q_k ln max(p_k, 1e-7)."""
        q = (1 - self.beta) * y + self.beta * log_p.exp()
        return cross_entropy(log_p.clamp(min=math.log(P_MIN)), q)


class LabelSmoothing(LabelLoss):
    """Label smoothing as a divergence: LS = KL(q ‖ p) with q = (1−ε) y + ε/K, and no factor 1/(1−ε).

    It is ``torch.nn.functional.cross_entropy(..., label_smoothing=ε)`` less the entropy of q, a constant: the
    gradient is the same, and the least value is 0.

    Source: C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna, "Rethinking the Inception Architecture for
    Computer Vision", CVPR 2016. For noisy labels: M. Lukasik, S. Bhojanapalli, A. Menon, S. Kumar, "Does label
    smoothing mitigate label noise?", ICML 2020.

    Args:
        epsilon: the share ε of the label that is spread over all K classes, in [0, 1); 0 is cross-entropy.
        reduction: ``"mean"``, ``"none"`` or ``"sum"``.
        validate: check the values of targets.

    Raises:
        ValueError: for an ε outside [0, 1).

    >>> logits = torch.tensor([[2.0, 0.0, -1.0]])
    >>> round(LabelSmoothing(epsilon=0.3)(logits, torch.tensor([0])).item(), 4)
    0.0308
    """

    def __init__(self, epsilon: float, *, reduction: Reduction = "mean", validate: bool = True) -> None:
        super().__init__(reduction=reduction, validate=validate)
        self.epsilon = check_fraction("epsilon", epsilon, high_open=True)

    def settings(self) -> dict[str, object]:
        """Return ε."""
        return {"epsilon": self.epsilon}

    def per_sample(self, log_p: Tensor, y: Tensor) -> Tensor:
        """Return Σ_k q_k (ln q_k − ln p_k)."""
        q = (1 - self.epsilon) * y + self.epsilon / y.shape[1]
        log_q = q.clamp(min=torch.finfo(q.dtype).tiny).log()
        return (q * (log_q - log_p)).sum(-1)


class SymmetricCrossEntropy(LabelLoss):
    """Symmetric cross-entropy: SCE = α CE + β RCE.

    RCE = −Σ_k clamp(p_k, 1e-7, 1) · ln clamp(y_k, 1e-4, 1), which for a class index is close to 9.21 (1 − p_y).

    Source: Y. Wang, X. Ma, Z. Chen, Y. Luo, J. Yi, J. Bailey, "Symmetric Cross Entropy for Robust Learning with Noisy
    Labels", ICCV 2019.

    Args:
        alpha: weight of the cross-entropy, at least 0.
        beta: weight of the reverse cross-entropy, at least 0.
        reduction: ``"mean"``, ``"none"`` or ``"sum"``.
        validate: check the values of targets.

    Raises:
        ValueError: for a negative weight, or two weights of 0.

    >>> logits = torch.tensor([[2.0, 0.0, -1.0]])
    >>> round(SymmetricCrossEntropy(alpha=0.1, beta=1.0)(logits, torch.tensor([0])).item(), 4)
    1.4557
    """

    def __init__(self, alpha: float, beta: float, *, reduction: Reduction = "mean", validate: bool = True) -> None:
        super().__init__(reduction=reduction, validate=validate)
        check_coefficients(alpha=alpha, beta=beta)
        self.alpha, self.beta = float(alpha), float(beta)

    def settings(self) -> dict[str, object]:
        """Return α and β."""
        return {"alpha": self.alpha, "beta": self.beta}

    def per_sample(self, log_p: Tensor, y: Tensor) -> Tensor:
        """Return α CE + β RCE."""
        return self.alpha * cross_entropy(log_p, y) + self.beta * reverse_cross_entropy(log_p, y)


class GeneralizedCrossEntropy(LabelLoss):
    """Generalised cross-entropy: GCE = Σ_k y_k (1 − clamp(p_k, 1e-7, 1)^q) / q, between CE (q → 0) and 1 − p_y (q = 1).

    Source: Z. Zhang, M. Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels",
    NeurIPS 2018.

    Args:
        q: the exponent, in (0, 1].
        reduction: ``"mean"``, ``"none"`` or ``"sum"``.
        validate: check the values of targets.

    Raises:
        ValueError: for a q outside (0, 1].

    >>> logits = torch.tensor([[2.0, 0.0, -1.0]])
    >>> round(GeneralizedCrossEntropy(q=0.7)(logits, torch.tensor([0])).item(), 4)
    0.1601
    """

    def __init__(self, q: float, *, reduction: Reduction = "mean", validate: bool = True) -> None:
        super().__init__(reduction=reduction, validate=validate)
        self.q = check_fraction("q", q, low_open=True)

    def settings(self) -> dict[str, object]:
        """Return q."""
        return {"q": self.q}

    def per_sample(self, log_p: Tensor, y: Tensor) -> Tensor:
        """Return Σ_k y_k (1 − p_k^q) / q, as −expm1(q ln p_k) / q: nothing cancels for a small q."""
        log_p = log_p.clamp(min=math.log(P_MIN), max=0.0)
        return (y * -torch.expm1(self.q * log_p)).sum(-1) / self.q


class NCEAndRCE(LabelLoss):
    """Normalised cross-entropy and reverse cross-entropy: α Σ_k y_k ln p_k / Σ_k ln p_k + β RCE.

    RCE is that of ``SymmetricCrossEntropy``.

    Source: X. Ma, H. Huang, Y. Wang, S. Romano, S. Erfani, J. Bailey, "Normalized Loss Functions for Deep Learning with
    Noisy Labels", ICML 2020.

    Args:
        alpha: weight of the normalised cross-entropy, at least 0.
        beta: weight of the reverse cross-entropy, at least 0.
        reduction: ``"mean"``, ``"none"`` or ``"sum"``.
        validate: check the values of targets.

    Raises:
        ValueError: for a negative weight, or two weights of 0.

    >>> logits = torch.tensor([[2.0, 0.0, -1.0]])
    >>> round(NCEAndRCE(alpha=10.0, beta=0.1)(logits, torch.tensor([0])).item(), 4)
    0.4521
    """

    def __init__(self, alpha: float, beta: float, *, reduction: Reduction = "mean", validate: bool = True) -> None:
        super().__init__(reduction=reduction, validate=validate)
        check_coefficients(alpha=alpha, beta=beta)
        self.alpha, self.beta = float(alpha), float(beta)

    def settings(self) -> dict[str, object]:
        """Return α and β."""
        return {"alpha": self.alpha, "beta": self.beta}

    def per_sample(self, log_p: Tensor, y: Tensor) -> Tensor:
        """Return α NCE + β RCE; the denominator of NCE is at most −K ln K and never 0."""
        normalised = (y * log_p).sum(-1) / log_p.sum(-1)
        return self.alpha * normalised + self.beta * reverse_cross_entropy(log_p, y)


class MeanAbsoluteError(LabelLoss):
    """Mean absolute error: MAE = Σ_k |y_k − p_k|, which is 2 (1 − p_y) for a class index.

    The scaled Jensen-Shannon loss tends to half of it, 1 − p_y, as π₁ → 1.

    Source: A. Ghosh, H. Kumar, P. Sastry, "Robust Loss Functions under Label Noise for Deep Neural Networks", AAAI
    2017.

    Args:
        reduction: ``"mean"``, ``"none"`` or ``"sum"``.
        validate: check the values of targets.

    >>> logits = torch.tensor([[2.0, 0.0, -1.0]])
    >>> round(MeanAbsoluteError()(logits, torch.tensor([0])).item(), 4)
    0.3124
    """

    def per_sample(self, log_p: Tensor, y: Tensor) -> Tensor:
        """Return Σ_k |y_k − p_k|."""
        return (y - log_p.exp()).abs().sum(-1)


def cross_entropy(log_p: Tensor, y: Tensor) -> Tensor:
    """Return −Σ_k y_k ln p_k per sample, shape (N,), of two matrices (N, K)."""
    return -(y * log_p).sum(-1)


def reverse_cross_entropy(log_p: Tensor, y: Tensor) -> Tensor:
    """Return −Σ_k clamp(p_k, 1e-7, 1) ln clamp(y_k, 1e-4, 1) per sample, shape (N,), of two matrices (N, K)."""
    return -(log_p.exp().clamp(P_MIN, 1.0) * y.clamp(Y_MIN, 1.0).log()).sum(-1)
