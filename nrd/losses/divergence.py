"""The Jensen-Shannon divergence of several distributions and the losses made of it: JS, GJS and NRD."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from nrd.losses.base import (
    Loss,
    Reduction,
    as_count,
    as_numbers,
    check_fraction,
    check_probabilities,
    check_reduction,
    check_tensor,
    describe,
    label_distribution,
    reduce,
    upcast,
    values_can_be_checked,
    without_autocast,
)

M_MIN = 1e-7  # the mixture is kept above this before its logarithm is taken

KLWeights = Literal["pi", "uniform"]


def js_divergence(
    distributions: Sequence[Tensor],
    weights: Sequence[float],
    *,
    kl_weights: KLWeights = "pi",
    reduction: Reduction = "mean",
    validate: bool = True,
) -> Tensor:
    """Return the generalised Jensen-Shannon divergence of several distributions.

    D_π(d₁, …, d_M) = Σ_j π_j KL(d_j ‖ m), with m = Σ_j π_j d_j clamped to [1e-7, 1], natural logarithms and 0 ln 0 = 0.
    It lies between 0 and the entropy of π.

    Source: J. Lin, "Divergence Measures Based on the Shannon Entropy", IEEE Transactions on Information Theory, 1991;
    equation 19 of the NRD paper.

    Args:
        distributions: M matrices of the same shape (N, K), rows summing to 1.
        weights: π, M non-negative numbers that sum to 1.
        kl_weights: ``"pi"``, or ``"uniform"`` for (1/M) Σ_j KL(d_j ‖ m), where π enters through m alone (see
            ``NRDLoss``).
        reduction: ``"mean"``, ``"none"`` or ``"sum"`` over the N rows.
        validate: check that rows are distributions. Costs a device synchronisation.

    Returns:
        A scalar or, with ``reduction="none"``, shape (N,).

    Raises:
        TypeError: for anything but tensors and numbers.
        ValueError: for unequal shapes, weights of another number or that do not sum to 1, an unknown ``kl_weights`` or
            ``reduction`` and, if ``validate``, for rows that are no distributions.

    >>> certain, undecided = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]])
    >>> round(js_divergence([certain, undecided], [0.5, 0.5]).item(), 4)
    0.2158
    >>> js_divergence([undecided, undecided, undecided], [0.2, 0.6, 0.2]).item()
    0.0
    """
    check_reduction(reduction)
    _check_kl_weights(kl_weights)
    weights = as_numbers(weights, "weights")
    _check_weights(weights)
    stacked = isinstance(distributions, Tensor) and distributions.ndim == 3
    distributions = _views(list(distributions) if stacked else distributions, "distributions")
    if len(distributions) != len(weights):
        raise ValueError(f"expected one weight per distribution, got {len(distributions)} and {len(weights)}")
    with without_autocast(distributions[0]):
        matrices = _matrices(distributions, "distributions")
        if validate and values_can_be_checked(matrices[0]):
            for index, matrix in enumerate(distributions):
                check_probabilities(matrix, f"distributions[{index}]")
        return reduce(_divergence(matrices, weights, kl_weights), reduction)


class JensenShannon(Loss):
    """Jensen-Shannon loss: D_π(y, p) / Z with π = (π₁, 1−π₁) and Z = −(1−π₁) ln(1−π₁).

    The scaled loss tends to cross-entropy as π₁ → 0 and, slowly, to 1 − p_y, half the mean absolute error, as π₁ → 1.

    Source: E. Englesson, H. Azizpour, "Generalized Jensen-Shannon Divergence Loss for Learning with Noisy Labels",
    NeurIPS 2021.

    Args:
        pi1: weight π₁ of the label, in (0, 1).
        scale: divide by Z.
        reduction: ``"mean"``, ``"none"`` or ``"sum"``.
        validate: check the values of targets.

    Raises:
        ValueError: for a π₁ outside (0, 1).

    >>> logits = torch.tensor([[2.0, 0.0, -1.0]])
    >>> round(JensenShannon(pi1=0.5)(logits, torch.tensor([0])).item(), 4)
    0.1658
    """

    def __init__(self, pi1: float, scale: bool = True, *, reduction: Reduction = "mean", validate: bool = True) -> None:
        super().__init__(reduction=reduction, validate=validate)
        self.pi1 = check_fraction("pi1", pi1, low_open=True, high_open=True)
        self.scale = scale
        self._weights = (self.pi1, 1 - self.pi1)
        self._z = _z(self.pi1) if scale else 1.0

    def settings(self) -> dict[str, object]:
        """Return π₁ and whether the loss is scaled."""
        return {"pi1": self.pi1, "scale": self.scale}

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
            p = upcast(logits).softmax(-1)
            y = label_distribution(target, p, validate=self.validate)
            return reduce(_divergence([y, p], self._weights) / self._z, self.reduction)


class GeneralizedJensenShannon(Loss):
    """Generalised Jensen-Shannon loss: D_π(y, p⁽¹⁾, …, p⁽ⱽ⁾) / Z over V views of the same images.

    π = (π₁, (1−π₁)/V, …, (1−π₁)/V) and Z = −(1−π₁) ln(1−π₁). It is a Jensen-Shannon loss of the views' mean prediction
    plus (1−π₁) times the divergence between the views, which asks for consistent predictions. CIFAR results are those
    of the scaled loss, WebVision results those of the unscaled one.

    Source: E. Englesson, H. Azizpour, "Generalized Jensen-Shannon Divergence Loss for Learning with Noisy Labels",
    NeurIPS 2021.

    Args:
        pi1: weight π₁ of the label, in (0, 1).
        num_views: number V of predictions per image.
        scale: divide by Z.
        reduction: ``"mean"``, ``"none"`` or ``"sum"``.
        validate: check the values of targets.

    Raises:
        ValueError: for a π₁ outside (0, 1) or less than one view.

    >>> views = [torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([[0.0, 2.0, -1.0]])]
    >>> round(GeneralizedJensenShannon(pi1=0.5)(views, torch.tensor([0])).item(), 4)
    1.1093
    """

    def __init__(
        self,
        pi1: float = 0.3,
        num_views: int = 2,
        scale: bool = True,
        *,
        reduction: Reduction = "mean",
        validate: bool = True,
    ) -> None:
        super().__init__(reduction=reduction, validate=validate)
        self.pi1 = check_fraction("pi1", pi1, low_open=True, high_open=True)
        self.num_views = as_count(num_views, "num_views")
        self.scale = scale
        self._weights = (self.pi1, *[(1 - self.pi1) / self.num_views] * self.num_views)
        self._z = _z(self.pi1) if scale else 1.0

    def settings(self) -> dict[str, object]:
        """Return π₁, the number of views and whether the loss is scaled."""
        return {"pi1": self.pi1, "num_views": self.num_views, "scale": self.scale}

    def forward(self, logits: Sequence[Tensor], target: Tensor) -> Tensor:
        """Return the loss, a scalar or, with ``reduction="none"``, shape (N,).

        Args:
            logits: a list of ``num_views`` matrices (N, K), any floating-point dtype.
            target: class indices (N,), or a probability matrix (N, K).

        Raises:
            TypeError: for anything but tensors.
            ValueError: for another number of views, a wrong shape or dtype and, if ``validate``, for indices out of
                range or rows that are no distributions.
        """
        views = _views(logits, "logits", self.num_views)
        with without_autocast(views[0]):
            predictions = [view.softmax(-1) for view in _matrices(views, "logits")]
            y = label_distribution(target, predictions[0], validate=self.validate)
            return reduce(_divergence([y, *predictions], self._weights) / self._z, self.reduction)


class NRDLoss(Loss):
    """Noise-robust distillation: D_π(y, y_s, y_t) / Z of the label, the student's and the teacher's prediction.

    With D_π(d₁, d₂, d₃) = Σ_j π_j KL(d_j ‖ m), m = Σ_j π_j d_j clamped to [1e-7, 1] and Z = −(1−π₁) ln(1−π₁). The
    teacher's prediction y_t is a constant: no gradient flows into it, whatever it was computed with. Given V teacher
    views, y_t is the mean of their probabilities.

    The paper writes no 1/Z (``scale=False``); the Jensen-Shannon losses that it compares with on CIFAR have it.

    ``kl_weights="uniform"`` is another reading of the scaled loss, (1/M) Σ_j KL(d_j ‖ m) / Z, where π enters through m
    and Z alone. At π₁ = 0.9 it is about five times larger.

    Source: "Neural Vicinal Risk Minimization: Noise-robust Distillation for Noisy Labels", equations 19, 22 and 25 to
    27, Algorithm 1; π₁ = 0 (``scale=False``) leaves the neural vicinal risk alone, equation 18.

    Args:
        pi: weights in the order label, student, teacher: (π₁, π₂, π₃); with S > 1 student views (label, student …,
            teacher), S + 2 numbers. Non-negative, summing to 1, those of the students positive.
        scale: divide by Z.
        kl_weights: ``"pi"`` or ``"uniform"``.
        stop_gradient: ``False`` lets the gradient flow into the teacher's prediction too (an ablation).
        reduction: ``"mean"``, ``"none"`` or ``"sum"``.
        validate: check the values of targets.

    Raises:
        ValueError: for weights as above, for π₁ = 0 with ``scale`` (Z would be 0) or with uniform KL weights (the label
            would come back), for an unknown ``kl_weights``.

    >>> student, teacher = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([[0.0, 2.0, -1.0]])
    >>> loss = NRDLoss(pi=(0.2, 0.6, 0.2))
    >>> round(loss(student, teacher, torch.tensor([0])).item(), 4)
    1.4917
    >>> round(loss(student, [teacher, student], torch.tensor([0])).item(), 4)
    0.5908
    """

    def __init__(
        self,
        pi: Sequence[float] = (0.2, 0.6, 0.2),
        scale: bool = True,
        kl_weights: KLWeights = "pi",
        *,
        stop_gradient: bool = True,
        reduction: Reduction = "mean",
        validate: bool = True,
    ) -> None:
        super().__init__(reduction=reduction, validate=validate)
        self.pi = as_numbers(pi, "pi", "numbers (label, student ..., teacher)")
        self.scale = scale
        self.kl_weights = kl_weights
        self.stop_gradient = stop_gradient
        self._check()
        self.num_student_views = len(self.pi) - 2
        self._z = _z(self.pi[0]) if scale else 1.0

    def _check(self) -> None:
        _check_kl_weights(self.kl_weights)
        if len(self.pi) < 3:
            raise ValueError(f"pi must be (label, student, teacher) or (label, student ..., teacher), got {self.pi}")
        _check_weights(self.pi, "pi")
        if min(self.pi[1:-1]) == 0:
            raise ValueError(f"each student's weight in pi must be positive, got {self.pi}")
        if max(self.pi) == 1:
            raise ValueError(f"pi must give weight to two distributions at least, got {self.pi}")
        if self.pi[0] == 0 and self.scale:
            raise ValueError("pi[0] = 0 makes the scale Z = -(1 - pi[0]) ln(1 - pi[0]) zero: use scale=False")
        if self.pi[0] == 0 and self.kl_weights == "uniform":
            raise ValueError("pi[0] = 0 leaves the label out, uniform KL weights bring it back: use kl_weights='pi'")

    def settings(self) -> dict[str, object]:
        """Return π and the options."""
        return {
            "pi": self.pi,
            "scale": self.scale,
            "kl_weights": self.kl_weights,
            "stop_gradient": self.stop_gradient,
        }

    def forward(
        self, student_logits: Tensor | Sequence[Tensor], teacher_logits: Tensor | Sequence[Tensor], target: Tensor
    ) -> Tensor:
        """Return the loss, a scalar or, with ``reduction="none"``, shape (N,).

        Args:
            student_logits: shape (N, K), or a list of as many as ``pi`` has student weights.
            teacher_logits: shape (N, K), or a list of any number V ≥ 1 whose probabilities are averaged.
            target: class indices (N,), or a probability matrix (N, K).

        Raises:
            TypeError: for anything but tensors.
            ValueError: for another number of student views, a wrong shape or dtype and, if ``validate``, for indices
                out of range or rows that are no distributions.
        """
        students = _views(student_logits, "student_logits", self.num_student_views)
        teachers = _views(teacher_logits, "teacher_logits")
        if self.stop_gradient:
            teachers = [teacher.detach() for teacher in teachers]
        with without_autocast(students[0]):
            matrices = _matrices([*students, *teachers], "student_logits and teacher_logits")
            predictions = [matrix.softmax(-1) for matrix in matrices]
            y_s, y_t = predictions[: len(students)], predictions[len(students) :]
            mean_y_t = sum(y_t[1:], start=y_t[0]) / len(y_t)
            y = label_distribution(target, mean_y_t, validate=self.validate)
            divergence = _divergence([y, *y_s, mean_y_t], self.pi, self.kl_weights)
            return reduce(divergence / self._z, self.reduction)


def _divergence(distributions: Sequence[Tensor], weights: Sequence[float], kl_weights: KLWeights = "pi") -> Tensor:
    """Return the divergence per row, shape (N,).

    Finite, with a finite gradient, for probabilities that are exactly 0: their logarithm is taken of the smallest
    normal number, and m ≥ 1e-7.
    """
    terms = [(d, weight) for d, weight in zip(distributions, weights, strict=True) if weight > 0]
    mixture = sum((weight * d for d, weight in terms[1:]), start=terms[0][1] * terms[0][0])
    log_m = mixture.clamp(M_MIN, 1.0).log()
    if kl_weights == "uniform":
        terms = [(d, 1 / len(distributions)) for d in distributions]
    divergences = [weight * _kl(d, log_m) for d, weight in terms]
    return sum(divergences[1:], start=divergences[0])


def _kl(d: Tensor, log_m: Tensor) -> Tensor:
    """Return Σ_k d_k (ln d_k − ln m_k) per row."""
    return (d * (d.clamp(min=torch.finfo(d.dtype).tiny).log() - log_m)).sum(-1)


def _z(pi1: float) -> float:
    """Return the scale −(1−π₁) ln(1−π₁)."""
    return -(1 - pi1) * math.log1p(-pi1)


def _views(logits: Tensor | Sequence[Tensor], name: str, number: int | None = None) -> list[Tensor]:
    """Return one matrix or several as a list of the expected length."""
    if not isinstance(logits, Tensor | list | tuple):
        raise TypeError(f"{name} must be a torch.Tensor of shape (N, K) or a list of them, got {describe(logits)}")
    views = [logits] if isinstance(logits, Tensor) else list(logits)
    for index, view in enumerate(views):
        check_tensor(view, f"{name}[{index}]")
    if not views or (number is not None and len(views) != number):
        expected = "at least one view" if number is None else f"{number} view(s)"
        raise ValueError(f"{name} must hold {expected}, got {len(views)}")
    return views


def _matrices(tensors: Sequence[Tensor], name: str) -> list[Tensor]:
    """Return matrices of one shape and of one dtype, float32 or float64."""
    matrices = [upcast(tensor, name) for tensor in tensors]
    if any(matrix.shape != matrices[0].shape for matrix in matrices):
        raise ValueError(f"{name} must have one shape (N, K), got {[tuple(matrix.shape) for matrix in matrices]}")
    if any(matrix.dtype != matrices[0].dtype for matrix in matrices):
        return [matrix.double() for matrix in matrices]
    return matrices


def _check_weights(weights: tuple[float, ...], name: str = "weights") -> None:
    if not weights or min(weights) < 0 or not abs(math.fsum(weights) - 1) <= 1e-6:
        raise ValueError(f"{name} must be non-negative and sum to 1, got {weights}")


def _check_kl_weights(kl_weights: str) -> None:
    if kl_weights not in get_args(KLWeights):
        raise ValueError(f"kl_weights must be 'pi' or 'uniform', got {kl_weights!r}")
