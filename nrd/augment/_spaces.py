"""Which operations the published policies know, and what their magnitudes mean.

Each space maps an operation to ``(magnitudes, signed)``: the arguments for every bin, as float64, and whether the
sign is drawn. Bins are float32 ``linspace`` values widened to float64, because that is what torchvision passes on.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Space = dict[str, tuple[Tensor, bool]]


def _bins(low: float, high: float, bins: int) -> Tensor:
    return torch.linspace(low, high, bins).to(torch.float64)


def _nothing(bins: int) -> Tensor:
    return torch.zeros(bins, dtype=torch.float64)


def _bits(most: int, bins: int) -> Tensor:
    return (most - (torch.arange(bins) / ((bins - 1) / 4)).round()).to(torch.float64)


def _convert(function: Callable[[float], float], levels: Tensor) -> Tensor:
    return torch.tensor([function(level) for level in levels.tolist()], dtype=torch.float64)


def shear_x_through_angle(level: float) -> float:
    """Return the shear that torchvision makes of a level: to degrees and back, so an ulp or two away from it."""
    return math.tan(math.radians(math.degrees(math.atan(level))))


def shear_y_through_angle(level: float) -> float:
    """Return the same for the other axis, where torchvision divides a sine by a cosine."""
    angle = math.radians(math.degrees(math.atan(level)))
    return math.sin(angle) / math.cos(angle)


def _geometry(bins: int, reach_x: float, reach_y: float) -> Space:
    """Shears up to 0.3, whole-pixel translations up to the reach, rotations up to 30 degrees."""
    shear = _bins(0.0, 0.3, bins)
    return {
        "shear_x": (_convert(shear_x_through_angle, shear), True),
        "shear_y": (_convert(shear_y_through_angle, shear), True),
        "translate_x": (_bins(0.0, reach_x, bins).trunc(), True),
        "translate_y": (_bins(0.0, reach_y, bins).trunc(), True),
        "rotate": (_bins(0.0, 30.0, bins), True),
    }


def _enhancements(bins: int) -> Space:
    """Strengths up to 0.9; the argument is 1 plus or minus the strength, so the sign is not simply a factor."""
    return {name: (_bins(0.0, 0.9, bins), True) for name in ("brightness", "color", "contrast", "sharpness")}


ENHANCEMENTS = frozenset(_enhancements(1))


def randaugment(bins: int, height: int, width: int) -> Space:
    """Return torchvision's space for RandAugment: 14 operations, among them the identity.

    Source: ``torchvision.transforms.RandAugment``.
    """
    return {
        "identity": (_nothing(bins), False),
        **_geometry(bins, 150.0 / 331.0 * width, 150.0 / 331.0 * height),
        **_enhancements(bins),
        "posterize": (_bits(8, bins), False),
        "solarize": (_bins(255.0, 0.0, bins), False),
        "autocontrast": (_nothing(bins), False),
        "equalize": (_nothing(bins), False),
    }


def autoaugment(bins: int, height: int, width: int) -> Space:
    """Return torchvision's space for AutoAugment: RandAugment's without the identity, with inversion."""
    space = randaugment(bins, height, width)
    del space["identity"]
    return {**space, "invert": (_nothing(bins), False)}


def augmix(bins: int, height: int, width: int, all_ops: bool) -> Space:
    """Return torchvision's space for AugMix: 9 operations, or 13 with the four enhancements.

    Source: ``torchvision.transforms.AugMix``.
    """
    return {
        **_geometry(bins, width / 3.0, height / 3.0),
        "posterize": (_bits(4, bins), False),
        "solarize": (_bins(255.0, 0.0, bins), False),
        "autocontrast": (_nothing(bins), False),
        "equalize": (_nothing(bins), False),
        **(_enhancements(bins) if all_ops else {}),
    }


class Table:
    """A space as tensors, for looking up many draws at once.

    Attributes:
        names: the operations, in the order in which draws number them.
    """

    def __init__(self, space: Space) -> None:
        self.names = tuple(space)
        self.levels = torch.stack([levels for levels, _ in space.values()])
        self.signed = torch.tensor([signed for _, signed in space.values()])
        self.offset = torch.tensor([float(name in ENHANCEMENTS) for name in space], dtype=torch.float64)

    def magnitude(self, operation: Tensor, level: Tensor, negative: Tensor) -> Tensor:
        """Return the arguments of drawn operations, all tensors of one shape.

        Args:
            operation: numbers of operations.
            level: bins.
            negative: booleans: whether the sign, where there is one, is minus.

        Returns:
            float64, the argument of each operation.
        """
        value = self.levels[operation, level]
        value = torch.where(negative & self.signed[operation], -value, value)
        return self.offset[operation] + value
