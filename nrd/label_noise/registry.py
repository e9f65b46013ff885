"""The names of the noise definitions, and the one function that applies them."""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nrd.label_noise import definitions
from nrd.label_noise.instance import instance_dependent
from nrd.label_noise.measure import actual_rate, transition_matrix


@dataclass(frozen=True)
class NoiseDefinition:
    """A definition of label noise.

    Attributes:
        draw: ``(labels, rate, num_classes, rng)``, and ``images`` where they are needed, to new labels.
        num_classes: the number of classes that the definition is made for; None for any.
        needs_images: whether ``draw`` takes the images as its fifth argument.
    """

    draw: Callable[..., NDArray[np.int64]]
    num_classes: int | None = None
    needs_images: bool = False


NOISES: dict[str, NoiseDefinition] = {
    "none": NoiseDefinition(definitions.none),
    "symmetric": NoiseDefinition(definitions.symmetric),
    "symmetric-exclusive": NoiseDefinition(definitions.symmetric_exclusive),
    "asymmetric-cifar10-sequential": NoiseDefinition(definitions.asymmetric_cifar10_sequential, num_classes=10),
    "asymmetric-cifar10-independent": NoiseDefinition(definitions.asymmetric_cifar10_independent, num_classes=10),
    "asymmetric-cifar100-superclass": NoiseDefinition(definitions.asymmetric_cifar100_superclass, num_classes=100),
    "asymmetric-cifar100-block5": NoiseDefinition(definitions.asymmetric_cifar100_block5, num_classes=100),
    "pair": NoiseDefinition(definitions.pair),
    "instance-dependent": NoiseDefinition(instance_dependent, needs_images=True),
}


@dataclass(frozen=True, eq=False)
class CorruptedLabels:
    """Labels after noise, and what the noise did.

    Attributes:
        labels: (N,) int64.
        actual_rate: measured share of changed labels, in [0, 1].
        transition_matrix: (K, K) float64, measured P(given = j | true = i); NaN rows for classes without samples.
    """

    labels: NDArray[np.int64]
    actual_rate: float
    transition_matrix: NDArray[np.float64]


HUMAN = "labels that people gave are read from their publishers' files by nrd.data.human_labels.load_cifar_n"


def _checked_labels(labels: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    array = np.asarray(labels)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(f"labels must be a 1-D array of integers, not {array.dtype} of shape {array.shape}")
    if not _is_whole(num_classes) or num_classes < 2:
        raise ValueError(f"num_classes must be a whole number and at least 2, not {num_classes!r}")
    if array.size and not (array.min() >= 0 and array.max() < num_classes):
        raise ValueError(f"labels must lie in [0, {num_classes}), found {array.min()} to {array.max()}")
    return array.astype(np.int64)


def _checked_definition(noise: str, rate: float, num_classes: int) -> NoiseDefinition:
    if noise not in NOISES:
        raise ValueError(f"unknown noise {noise!r}; known: {', '.join(NOISES)}; {HUMAN}")
    if not (isinstance(rate, Real) and 0 <= rate <= 1):  # also refuses NaN
        raise ValueError(f"noise rate must lie in [0, 1], not {rate!r}")
    if noise == "none" and rate != 0:
        raise ValueError(f"noise 'none' has rate 0, not {rate}")
    definition = NOISES[noise]
    if definition.num_classes not in (None, num_classes):
        raise ValueError(f"noise {noise!r} is defined for {definition.num_classes} classes, not {num_classes}")
    return definition


def _checked_seed(seed: int) -> int:
    """Return a seed that gives the same labels again: None would be another one each time."""
    if not _is_whole(seed) or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be a whole number in [0, 2**32), not {seed!r}")
    return int(seed)


def _checked_images(images: NDArray[np.uint8] | None, noise: str, count: int) -> NDArray[np.uint8]:
    expected = f"{count} images as a uint8 array of shape ({count}, C, H, W)"
    if images is None:
        raise ValueError(f"noise {noise!r} needs the images: {expected}")
    if not isinstance(images, np.ndarray):
        kind = f"{type(images).__module__}.{type(images).__name__}".removeprefix("builtins.")
        raise TypeError(f"expected {expected}, not a {kind}")
    if images.dtype != np.uint8 or images.ndim < 2 or len(images) != count:
        raise ValueError(f"expected {expected}, not {images.dtype} of shape {images.shape}")
    return images


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def corrupt(
    labels: ArrayLike,
    noise: str,
    rate: float,
    num_classes: int,
    seed: int,
    *,
    images: NDArray[np.uint8] | None = None,
) -> CorruptedLabels:
    """Apply a noise definition to true labels.

    The same arguments give the same labels on every machine and NumPy version (instance-dependent noise: up to the
    rounding of matrix products).

    Args:
        labels: (N,) integers in [0, K): the true labels.
        noise: a name from ``NOISES``.
        rate: η in [0, 1], as the definition means it; what it led to is the result's ``actual_rate``.
        num_classes: K.
        seed: in [0, 2³²).
        images: (N, C, H, W) uint8, for instance-dependent noise only.

    Returns:
        The new labels with their measured rate and transition matrix; ``labels`` itself is left alone.

    Raises:
        ValueError: for an unknown name, a rate, seed or labels out of range, a number of classes that the definition is
            not made for, or images missing, not uint8 or not as many as the labels.
        TypeError: for images that are no array.

    >>> noisy = corrupt([0, 1, 2] * 100, "pair", 0.45, num_classes=3, seed=0)
    >>> noisy.transition_matrix.round(2)
    array([[0.55, 0.45, 0.  ],
           [0.  , 0.52, 0.48],
           [0.5 , 0.  , 0.5 ]])
    """
    definition = _checked_definition(noise, rate, num_classes)
    true = _checked_labels(labels, num_classes)
    arguments = [true, rate, num_classes, np.random.RandomState(_checked_seed(seed))]
    if definition.needs_images:
        arguments.append(_checked_images(images, noise, len(true)))
    noisy = definition.draw(*arguments)
    return CorruptedLabels(noisy, actual_rate(true, noisy), transition_matrix(true, noisy, num_classes))
