"""Colour jitter and random erasing, with torchvision's distributions."""

import math

import torch
from torch import Tensor

from nrd.augment._operations import Draw, Operations
from nrd.augment._tensors import Fill, check_images
from nrd.augment.functional import erase

Range = float | tuple[float, float]
ATTEMPTS = 10


def _factors(strength: Range, name: str) -> tuple[float, float]:
    low, high = (max(0.0, 1 - strength), 1 + strength) if isinstance(strength, int | float) else strength
    if not 0 <= low <= high:
        raise ValueError(f"{name} {strength!r} gives no range of factors above 0")
    return low, high


class ColorJitter:
    """Change brightness, contrast and saturation by drawn factors, in an order drawn per image.

    Args:
        brightness: factors are uniform in ``[max(0, 1 − brightness), 1 + brightness]``, or in a given range.
        contrast: the same.
        saturation: the same.

    Raises:
        ValueError: for a strength or range below zero.

    Source: ``torchvision.transforms.ColorJitter``, without its hue.

    >>> policy = ColorJitter(0.4, 0.4, 0.4)
    >>> policy.draw(2, 32, 32, torch.Generator().manual_seed(0))["operation"].sort().values.tolist()
    [[0, 1, 2], [0, 1, 2]]
    """

    def __init__(self, brightness: Range = 0.4, contrast: Range = 0.4, saturation: Range = 0.4) -> None:
        self.operations = Operations(("brightness", "contrast", "color"))
        strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
        self.ranges = torch.tensor([_factors(value, name) for name, value in strengths.items()], dtype=torch.float64)

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Draw:
        """Draw the order and the factors for ``n`` images.

        Returns:
            ``operation`` int64 ``(n, 3)`` and ``magnitude`` float64 ``(n, 3)``, the factor of each operation.
        """
        operation = torch.rand(n, 3, generator=generator).argsort(1)
        low, high = self.ranges[operation].unbind(2)
        share = torch.rand(n, 3, dtype=torch.float64, generator=generator)
        return {"operation": operation, "magnitude": low + (high - low) * share}

    def apply(self, images: Tensor, draw: Draw) -> Tensor:
        """Apply a draw to uint8 ``(N, C, H, W)`` images; they are not changed themselves."""
        check_images(images)
        return self.operations.apply(images, draw["operation"], draw["magnitude"])


class RandomErasing:
    """Blank a rectangle of random area and shape.

    Args:
        p: probability that an image loses a rectangle at all.
        scale: smallest and largest share of the image's area.
        ratio: smallest and largest height over width, uniform in its logarithm.
        value: what to fill with.

    Raises:
        ValueError: for a probability, scale or ratio outside its range.

    Source: Zhong et al., "Random Erasing Data Augmentation"; ``torchvision.transforms.RandomErasing``.

    >>> policy = RandomErasing(p=1.0)
    >>> draw = policy.draw(3, 32, 32, torch.Generator().manual_seed(0))
    >>> bool((policy.apply(torch.ones(3, 3, 32, 32), draw) == 0).flatten(1).any(1).all())
    True
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        value: float | Fill = 0,
    ) -> None:
        if not (0 <= p <= 1 and 0 <= scale[0] <= scale[1] <= 1 and 0 < ratio[0] <= ratio[1]):
            raise ValueError(f"cannot erase with {p=}, {scale=}, {ratio=}")
        self.p, self.scale, self.ratio, self.value = p, scale, ratio, value

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Draw:
        """Draw a rectangle for each of ``n`` images.

        Returns:
            ``erase_top``, ``erase_left``, ``erase_height`` and ``erase_width``, int64 ``(n,)``; a height of 0
            where nothing is erased.
        """

        def uniform(low: float, high: float) -> Tensor:
            return torch.rand(n, ATTEMPTS, dtype=torch.float64, generator=generator) * (high - low) + low

        happens = torch.rand(n, generator=generator) < self.p
        area = uniform(*self.scale) * (height * width)
        shape = uniform(math.log(self.ratio[0]), math.log(self.ratio[1])).exp()
        heights, widths = (area * shape).sqrt().round().long(), (area / shape).sqrt().round().long()
        fits = (heights < height) & (widths < width)
        first = fits.int().argmax(1, keepdim=True)
        found = happens & fits.any(1)
        tall, wide = (sizes.gather(1, first)[:, 0].where(found, 0) for sizes in (heights, widths))
        top, left = (torch.rand(n, 2, dtype=torch.float64, generator=generator)).unbind(1)
        return {
            "erase_top": (top * (height - tall + 1)).long(),
            "erase_left": (left * (width - wide + 1)).long(),
            "erase_height": tall,
            "erase_width": wide,
        }

    def apply(self, images: Tensor, draw: Draw) -> Tensor:
        """Apply a draw to ``(N, C, H, W)`` images, uint8 or floating; they are not changed themselves."""
        place = (draw[f"erase_{name}"] for name in ("top", "left", "height", "width"))
        return erase(images, *place, fill=self.value)
