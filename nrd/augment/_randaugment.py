"""RandAugment, in the two parametrisations that go by the name, and AutoAugment's CIFAR-10 policy."""

from typing import Literal

import torch
from torch import Tensor

from nrd.augment import _spaces
from nrd.augment._geometric import Interpolation
from nrd.augment._operations import NO_OPERATION, Draw, Operations
from nrd.augment._tensors import Fill, check_images
from nrd.augment.functional import erase

# Operation, lowest and highest value: https://github.com/ildoonet/pytorch-randaugment, augment_list() of the
# fork's default. Magnitude 30 gives the highest.
ILDOONET = {
    "autocontrast": (0.0, 1.0),
    "equalize": (0.0, 1.0),
    "invert": (0.0, 1.0),
    "rotate": (0.0, 30.0),
    "posterize": (0.0, 4.0),
    "solarize": (0.0, 256.0),
    "solarize_add": (0.0, 110.0),
    "color": (0.1, 1.9),
    "contrast": (0.1, 1.9),
    "brightness": (0.1, 1.9),
    "sharpness": (0.1, 1.9),
    "shear_x": (0.0, 0.3),
    "shear_y": (0.0, 0.3),
    "cutout": (0.0, 40.0),
    "translate_x": (0.0, 100.0),
    "translate_y": (0.0, 100.0),
}
MIRRORED = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
CUTOUT_COLOUR = (125, 123, 114)


def cutout_absolute(images: Tensor, size: Tensor, place: Tensor) -> Tensor:
    """Draw a grey square of each image's own size, as ildoonet's ``CutoutAbs`` does.

    The square reaches from the truncated corner to the truncated opposite corner *inclusive*, so that size 4
    covers five pixels, and at the upper and left borders it is moved inside instead of clipped.

    Args:
        images: uint8 ``(N, C, H, W)``.
        size: ``(N,)`` float64.
        place: ``(N, 2)`` float64 in [0, 1): where in (1, H] and (1, W] the centre lies.

    Returns:
        uint8 ``(N, C, H, W)``.
    """
    spans = []
    for axis, length in enumerate(images.shape[-2:]):
        # numpy.random.uniform(w) is what the original calls: it draws between w and 1.
        centre = length - (length - 1) * place[:, axis]
        start = (centre - size / 2).clamp(min=0).trunc()
        stop = (start + size).clamp(max=length).trunc() + 1
        spans.append((start, stop - start))
    (top, height), (left, width) = spans
    return erase(images, top, left, height, width, CUTOUT_COLOUR)


class RandAugment:
    """Apply ``num_ops`` operations drawn per image, all at one magnitude.

    The two variants differ far more than their shared name says. At magnitude 3, *ildoonet*'s posterizes to one
    bit, inverts, translates by 10 pixels and takes colour down to a factor of 0.28; *torchvision*'s stays within
    nine per cent of the identity.

    Args:
        num_ops: operations per image, one after the other.
        magnitude: from 0 to 30.
        variant: ``ildoonet`` (16 operations) or ``torchvision`` (14 with the identity, 31 bins).
        interpolation: of the geometric operations.
        fill: grey level or colour where they find no pixel.

    Raises:
        ValueError: for an unknown variant or a magnitude outside its range.

    >>> policy = RandAugment(num_ops=2, magnitude=9, variant="torchvision")
    >>> draw = policy.draw(5, 32, 32, torch.Generator().manual_seed(0))
    >>> {name: tuple(value.shape) for name, value in draw.items()}
    {'operation': (5, 2), 'magnitude': (5, 2)}
    >>> policy.apply(torch.zeros(5, 3, 32, 32, dtype=torch.uint8), draw).shape
    torch.Size([5, 3, 32, 32])
    """

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: int = 9,
        variant: Literal["ildoonet", "torchvision"] = "torchvision",
        interpolation: Interpolation = "nearest",
        fill: Fill = 0,
    ) -> None:
        if variant not in ("ildoonet", "torchvision"):
            raise ValueError(f"unknown variant {variant!r}: expected ildoonet or torchvision")
        if not 0 <= magnitude <= 30:
            raise ValueError(f"magnitude {magnitude} is not between 0 and 30")
        self.num_ops, self.magnitude, self.variant = num_ops, magnitude, variant
        names = tuple(ILDOONET) if variant == "ildoonet" else tuple(_spaces.randaugment(31, 1, 1))
        self.operations = Operations(names, interpolation, fill, {"cutout": cutout_absolute})

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Draw:
        """Draw operations and their arguments for ``n`` images.

        Returns:
            ``operation`` int64 ``(n, num_ops)`` and ``magnitude`` float64 ``(n, num_ops)``; the ildoonet variant
            adds ``place`` float64 ``(n, num_ops, 2)``, where its cutout goes.
        """
        shape = (n, self.num_ops)
        operation = torch.randint(len(self.operations.names), shape, generator=generator)
        negative = torch.randint(2, shape, generator=generator).bool()
        if self.variant == "torchvision":
            table = _spaces.Table(_spaces.randaugment(31, height, width))
            level = torch.full(shape, self.magnitude)
            return {"operation": operation, "magnitude": table.magnitude(operation, level, negative)}
        values = torch.tensor([self._ildoonet_value(name) for name in ILDOONET], dtype=torch.float64)[operation]
        mirrored = torch.tensor([name in MIRRORED for name in ILDOONET])[operation]
        return {
            "operation": operation,
            "magnitude": torch.where(negative & mirrored, -values, values),
            "place": torch.rand(*shape, 2, dtype=torch.float64, generator=generator),
        }

    def _ildoonet_value(self, name: str) -> float:
        low, high = ILDOONET[name]
        value = float(self.magnitude) / 30 * float(high - low) + low
        return float(max(1, int(value))) if name == "posterize" else value

    def apply(self, images: Tensor, draw: Draw) -> Tensor:
        """Apply a draw to uint8 ``(N, C, H, W)`` images; they are not changed themselves."""
        check_images(images)
        return self.operations.apply(images, draw["operation"], draw["magnitude"], draw.get("place"))


# Two operations each with probability and bin (of ten): AutoAugment, Cubuk et al. 2019, table 7, in torchvision's
# numbering. A dash stands for an operation without a magnitude.
CIFAR10_POLICY = """
invert .1 - contrast .2 6
rotate .7 2 translate_x .3 9
sharpness .8 1 sharpness .9 3
shear_y .5 8 translate_y .7 9
autocontrast .5 - equalize .9 -
shear_y .2 7 posterize .3 7
color .4 3 brightness .6 7
sharpness .3 9 brightness .7 9
equalize .6 - equalize .5 -
contrast .6 7 sharpness .6 5
color .7 7 translate_x .5 8
equalize .3 - autocontrast .4 -
translate_y .4 3 sharpness .2 6
brightness .9 6 color .2 8
solarize .5 2 invert 0 -
equalize .2 - autocontrast .6 -
equalize .2 - equalize .6 -
color .9 9 equalize .6 -
autocontrast .8 - solarize .2 8
brightness .1 3 color .7 0
solarize .4 5 autocontrast .9 -
translate_y .9 9 translate_y .7 9
autocontrast .9 - solarize .8 3
equalize .8 - invert .1 -
translate_y .7 9 autocontrast .9 -
"""


class AutoAugment:
    """Apply one of the 25 sub-policies found for CIFAR-10, drawn per image.

    Args:
        interpolation: of the geometric operations.
        fill: grey level or colour where they find no pixel.

    >>> policy = AutoAugment()
    >>> policy.draw(3, 32, 32, torch.Generator().manual_seed(0))["operation"].shape
    torch.Size([3, 2])
    """

    def __init__(self, interpolation: Interpolation = "nearest", fill: Fill = 0) -> None:
        self.operations = Operations(tuple(_spaces.autoaugment(10, 1, 1)), interpolation, fill)
        words = [line.split() for line in CIFAR10_POLICY.split("\n") if line]
        number = {name: place for place, name in enumerate(self.operations.names)}
        self._operation = torch.tensor([[number[row[0]], number[row[3]]] for row in words])
        self._probability = torch.tensor([[float(row[1]), float(row[4])] for row in words])
        self._level = torch.tensor([[int(row[i].replace("-", "0")) for i in (2, 5)] for row in words])

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Draw:
        """Draw a sub-policy for each of ``n`` images, and which of its two operations take place.

        Returns:
            ``operation`` int64 ``(n, 2)`` with -1 for one that does not take place, ``magnitude`` float64 ``(n, 2)``.
        """
        table = _spaces.Table(_spaces.autoaugment(10, height, width))
        chosen = torch.randint(len(self._operation), (n,), generator=generator)
        happens = torch.rand(n, 2, generator=generator) <= self._probability[chosen]
        negative = torch.randint(2, (n, 2), generator=generator) == 0
        operation = self._operation[chosen]
        return {
            "operation": operation.where(happens, NO_OPERATION),
            "magnitude": table.magnitude(operation, self._level[chosen], negative),
        }

    def apply(self, images: Tensor, draw: Draw) -> Tensor:
        """Apply a draw to uint8 ``(N, C, H, W)`` images; they are not changed themselves."""
        check_images(images)
        return self.operations.apply(images, draw["operation"], draw["magnitude"])
