"""What the losses share: precision, targets, checks and reductions."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from numbers import Integral, Real
from typing import Literal, get_args

import torch
from torch import Tensor, nn

Reduction = Literal["mean", "none", "sum"]


class Loss(nn.Module):
    """Base of all losses: how per-sample values are reduced, and whether the values of targets are checked.

    Args:
        reduction: ``"mean"`` or ``"sum"`` over the batch, or ``"none"`` for one value per sample, shape (N,).
        validate: check the values of targets, not only shapes. Costs a device synchronisation per call.

    Raises:
        ValueError: for an unknown reduction.
    """

    def __init__(self, *, reduction: Reduction = "mean", validate: bool = True) -> None:
        super().__init__()
        check_reduction(reduction)
        self.reduction = reduction
        self.validate = validate

    def settings(self) -> dict[str, object]:
        """Return the loss's own hyper-parameters, as shown by ``repr``."""
        return {}

    def extra_repr(self) -> str:
        """Return the hyper-parameters and the reduction for ``repr``."""
        shown = {**self.settings(), "reduction": self.reduction}
        return ", ".join(f"{name}={value!r}" for name, value in shown.items())


def check_reduction(reduction: str) -> None:
    """Raise ValueError unless the reduction is a known one."""
    if reduction not in get_args(Reduction):
        raise ValueError(f"reduction must be one of 'mean', 'none', 'sum', got {reduction!r}")


def reduce(values: Tensor, reduction: Reduction) -> Tensor:
    """Reduce per-sample values (N,) to their mean, their sum, or not at all."""
    if reduction == "mean":
        return values.mean()
    return values.sum() if reduction == "sum" else values


def without_autocast(tensor: Tensor) -> AbstractContextManager:
    """Return a context in which autocast leaves the operations on the tensor's device alone."""
    return torch.autocast(tensor.device.type, enabled=False)


def check_tensor(value: Tensor, name: str, shape: str = "(N, K)") -> None:
    """Raise TypeError unless the value is a tensor; ``shape`` says in the message what was expected."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor of shape {shape}, got {describe(value)}")


def describe(value: object) -> str:
    """Return what a message says about a value of the wrong type: its type, with its shape, length or value.

    >>> describe([1, 2]), describe(None), describe(0.3), describe(torch.zeros(2, 3))
    ('list of length 2', 'None', 'float 0.3', 'torch.Tensor of shape (2, 3)')
    """
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    if isinstance(shape := getattr(value, "shape", None), tuple):
        return f"{name} of shape {tuple(shape)}"
    if isinstance(value, list | tuple | dict | set):
        return f"{name} of length {len(value)}"
    text = repr(value)
    return "None" if value is None else f"{name} {text}" if len(text) <= 40 else name


def upcast(logits: Tensor, name: str = "logits") -> Tensor:
    """Return logits (N, K) in float32, or in float64 where they are float64.

    Raises:
        TypeError: if they are no tensor.
        ValueError: if they are not a floating-point matrix with at least two columns.
    """
    check_tensor(logits, name)
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"{name} must have shape (N, K) with K >= 2 classes, got {tuple(logits.shape)}")
    if not logits.is_floating_point():
        raise ValueError(f"{name} must be floating point, got {logits.dtype}")
    return logits if logits.dtype == torch.float64 else logits.float()


def label_distribution(target: Tensor, like: Tensor, *, validate: bool) -> Tensor:
    """Return the target as a probability matrix with the shape and dtype of ``like``.

    Args:
        target: class indices (N,) of an integer dtype, or a floating-point probability matrix (N, K).
        like: matrix (N, K), usually the logits.
        validate: check that indices lie in [0, K), or that rows are non-negative and sum to 1.

    Raises:
        TypeError: if it is no tensor.
        ValueError: for another shape or dtype and, if ``validate``, for such values.
    """
    samples, classes = like.shape
    check_tensor(target, "target", f"({samples},), integer class indices, or ({samples}, {classes}), probabilities")
    integer = not (target.is_floating_point() or target.is_complex() or target.dtype == torch.bool)
    if integer and target.shape == (samples,):
        if validate and values_can_be_checked(target):
            _check_indices(target, classes)
        return torch.zeros_like(like).scatter(1, target.long().unsqueeze(1), 1.0)
    if target.is_floating_point() and target.shape == like.shape:
        if validate and values_can_be_checked(target):
            check_probabilities(target, "target")
        return target.to(like.dtype)
    raise ValueError(
        f"target must be integer class indices of shape ({samples},) or floating-point probabilities of shape "
        f"({samples}, {classes}), got {target.dtype} of shape {tuple(target.shape)}"
    )


def values_can_be_checked(tensor: Tensor) -> bool:
    """Tell whether looking at the tensor's values is possible here: not while compiling or capturing a CUDA graph."""
    if torch.compiler.is_compiling():
        return False
    return not (tensor.is_cuda and torch.cuda.is_current_stream_capturing())


def _check_indices(target: Tensor, classes: int) -> None:
    outside = (target < 0) | (target >= classes)
    if outside.any():
        raise ValueError(f"class indices must lie in [0, {classes}), got {target[outside][0].item()}")


def check_probabilities(matrix: Tensor, name: str) -> None:
    """Raise ValueError unless every row is non-negative and sums to 1 within 1e-3 (1e-2 for half precision)."""
    tolerance = 1e-2 if matrix.dtype in (torch.float16, torch.bfloat16) else 1e-3
    values = matrix.detach().double()
    sums = values.sum(-1)
    if not ((values >= 0).all() and ((sums - 1).abs() <= tolerance).all()):
        raise ValueError(
            f"each row of {name} must be non-negative and sum to 1, got a smallest value of {values.min().item():.4g} "
            f"and row sums in [{sums.min().item():.4g}, {sums.max().item():.4g}]"
        )


def as_number(value: float, name: str) -> float:
    """Return a number as a float.

    Raises:
        TypeError: it is none.
    """
    # Numbers of NumPy and tensors without a dimension are welcome.
    if isinstance(value, bool) or not (isinstance(value, Real) or getattr(value, "ndim", None) == 0):
        raise TypeError(f"{name} must be a number, got {describe(value)}")
    return float(value)


def as_numbers(values: Sequence[float], name: str, what: str = "numbers") -> tuple[float, ...]:
    """Return a list of numbers as floats; ``what`` says in the message which.

    Raises:
        TypeError: it is none, or holds something else.
    """
    listed = isinstance(values, Sequence) and not isinstance(values, str)
    if not listed and getattr(values, "ndim", None) != 1:
        raise TypeError(f"{name} must be a list of {what}, got {describe(values)}")
    return tuple(as_number(value, f"{name}[{index}]") for index, value in enumerate(values))


def as_count(value: int, name: str) -> int:
    """Return a whole number of at least 1 as an int.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} must be at least 1 and whole, got {value!r}")
    return int(value)


def check_fraction(name: str, value: float, *, low_open: bool = False, high_open: bool = False) -> float:
    """Return the value as a float if it lies between 0 and 1, ends included unless said otherwise."""
    value = as_number(value, name)
    above = value > 0 if low_open else value >= 0
    below = value < 1 if high_open else value <= 1
    if not (above and below):
        interval = f"{'(' if low_open else '['}0, 1{')' if high_open else ']'}"
        raise ValueError(f"{name} must lie in {interval}, got {value}")
    return value


def check_coefficients(**coefficients: float) -> None:
    """Raise ValueError unless every coefficient is finite and non-negative, and at least one positive."""
    values = [as_number(value, name) for name, value in coefficients.items()]
    if not all(0 <= value < math.inf for value in values) or max(values) == 0:
        raise ValueError(f"{' and '.join(coefficients)} must be finite, >= 0 and not all 0, got {coefficients}")
