"""Views: named pipelines from uint8 images to normalised tensors.

==================== ==============================================================================
``none``             normalise
``crop``             crop → flip → normalise
``gjs``              RandAugment (ildoonet) → crop → flip → normalise → cutout 16
``paper``            RandAugment (torchvision) → crop → flip → normalise → cutout 5
``autoaugment``      AutoAugment (CIFAR-10) → crop → flip → normalise
``augmix``           AugMix (torchvision) → crop → flip → normalise
``augmix_original``  crop → flip → AugMix (its authors') → normalise
``autoaugment_erasing``  AutoAugment → crop → flip → normalise → random erasing
``color_jitter``     colour jitter → crop → flip → normalise
==================== ==============================================================================

Cutout and random erasing fill with 0 after the normalisation, the mean colour.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nrd.augment import policies
from nrd.augment._tensors import BLOCK, blocks, check_images
from nrd.augment.functional import crop_and_flip, cutout
from nrd.augment.policies import Draw, Policy


class View:
    """A pipeline from uint8 images to normalised float32, with its parameters drawn beforehand.

    Args:
        mean: per channel, in units of [0, 1].
        std: per channel, in units of [0, 1].
        padding: of the random crop; 0 leaves the crop out.
        flip: whether half of the images are mirrored.
        before: policy applied before the crop.
        after: policy applied after it, which may return floats between 0 and 255.
        cutout_size: side of the square blanked after normalisation; 0 for none.
        erasing: random erasing after normalisation.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        padding: int = 4,
        flip: bool = True,
        before: Policy | None = None,
        after: Policy | None = None,
        cutout_size: int = 0,
        erasing: policies.RandomErasing | None = None,
    ) -> None:
        if len(mean) != len(std) or not all(value > 0 for value in std):
            raise ValueError(f"mean {mean} and std {std} need one value per channel, and std above 0")
        self.padding, self.flip = padding, flip
        self.before, self.after, self.cutout_size, self.erasing = before, after, cutout_size, erasing
        # Divided by as tensors: dividing by a number is a multiplication on some devices and rounds differently.
        self.mean, self.std = (torch.tensor(list(values)).view(1, -1, 1, 1) for values in (mean, std))
        self.scale = torch.tensor(255.0)

    def to(self, device: torch.device | str) -> "View":
        """Move the normalisation's constants to a device; returns the view itself."""
        self.mean, self.std, self.scale = (value.to(device) for value in (self.mean, self.std, self.scale))
        return self

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Draw:
        """Draw all parameters for ``n`` images.

        Args:
            n: number of images.
            height: of the images, in pixels.
            width: of the images, in pixels.
            generator: a CPU generator.

        Returns:
            CPU tensors whose first dimension is ``n``.
        """
        draw: Draw = {}
        for policy in (self.before, self.after, self.erasing):
            if policy is not None:
                draw |= policy.draw(n, height, width, generator)
        if self.padding:
            for name in ("crop_top", "crop_left"):
                draw[name] = torch.randint(2 * self.padding + 1, (n,), generator=generator)
        if self.flip:
            draw["flip"] = torch.randint(2, (n,), generator=generator).bool()
        if self.cutout_size:
            draw["cutout_y"] = torch.randint(height, (n,), generator=generator)
            draw["cutout_x"] = torch.randint(width, (n,), generator=generator)
        return draw

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        """Apply a draw.

        Args:
            images: uint8 ``(N, C, H, W)``, on the view's device.
            draw: of as many images.

        Returns:
            float32 ``(N, C, H, W)``, normalised.

        Raises:
            TypeError: if the images are not uint8.
            ValueError: if their channels are not those of the normalisation.
        """
        check_images(images)
        if images.shape[1] != self.mean.shape[1]:
            raise ValueError(f"images have {images.shape[1]} channels, the normalisation {self.mean.shape[1]}")
        if self.before is not None:
            images = self.before.apply(images, draw)
        if self.after is not None:
            images = self.after.apply(self._frame(images, draw), draw)
        result = torch.empty(images.shape, dtype=torch.float32, device=images.device)
        # Nothing here is in double precision, so blocks may be larger than a policy's.
        for block in blocks(images, 4 * BLOCK):
            self._finish(images[block], {name: value[block] for name, value in draw.items()}, result[block])
        return result

    def _frame(self, images: Tensor, draw: Draw) -> Tensor:
        if not self.padding and not self.flip:
            return images
        nowhere = torch.zeros(len(images), dtype=torch.int64)
        top, left = (draw.get(name, nowhere) for name in ("crop_top", "crop_left"))
        return crop_and_flip(images, top, left, draw.get("flip"), self.padding)

    def _finish(self, images: Tensor, draw: Draw, result: Tensor) -> None:
        """Frame and normalise into the result, and blank what is to be blanked."""
        framed = self._frame(images, draw) if self.after is None else images
        torch.div(framed, self.scale, out=result).sub_(self.mean).div_(self.std)
        if self.cutout_size:
            result.copy_(cutout(result, draw["cutout_y"], draw["cutout_x"], self.cutout_size))
        if self.erasing is not None:
            result.copy_(self.erasing.apply(result, draw))


Builder = Callable[..., dict[str, Any]]


def _none() -> dict[str, Any]:
    return {"padding": 0, "flip": False}


def _crop() -> dict[str, Any]:
    return {}


def _gjs(num_ops: int = 1, magnitude: int = 3, cutout: int = 16) -> dict[str, Any]:
    return {"before": policies.RandAugment(num_ops, magnitude, "ildoonet"), "cutout_size": cutout}


def _paper(num_ops: int = 1, magnitude: int = 3, cutout: int = 5) -> dict[str, Any]:
    return {"before": policies.RandAugment(num_ops, magnitude, "torchvision"), "cutout_size": cutout}


def _autoaugment() -> dict[str, Any]:
    return {"before": policies.AutoAugment()}


def _autoaugment_erasing() -> dict[str, Any]:
    return {"before": policies.AutoAugment(), "erasing": policies.RandomErasing()}


def _augmix(
    severity: int = 3, width: int = 3, depth: int = -1, alpha: float = 1.0, all_ops: bool = True
) -> dict[str, Any]:
    return {"before": policies.AugMix(severity, width, depth, alpha, all_ops)}


def _augmix_original(
    severity: float = 3, width: int = 3, depth: int = -1, alpha: float = 1.0, all_ops: bool = False
) -> dict[str, Any]:
    return {"after": policies.AugMixOriginal(severity, width, depth, alpha, all_ops)}


def _color_jitter(brightness: float = 0.4, contrast: float = 0.4, saturation: float = 0.4) -> dict[str, Any]:
    return {"before": policies.ColorJitter(brightness, contrast, saturation)}


# What each view adds to the crop and the flip; the keyword arguments are its options.
VIEWS: dict[str, Builder] = {
    "none": _none,
    "crop": _crop,
    "gjs": _gjs,
    "paper": _paper,
    "autoaugment": _autoaugment,
    "augmix": _augmix,
    "augmix_original": _augmix_original,
    "autoaugment_erasing": _autoaugment_erasing,
    "color_jitter": _color_jitter,
}


def create_view(
    name: str,
    mean: Sequence[float],
    std: Sequence[float],
    padding: int = 4,
    flip: bool = True,
    **options: Any,
) -> View:
    """Create a view by name.

    Args:
        name: one of ``VIEWS``.
        mean: per channel, in units of [0, 1].
        std: per channel, in units of [0, 1].
        padding: of the random crop, in pixels; ``none`` has no crop whatever it is.
        flip: whether half of the images are mirrored; ``none`` mirrors none.
        options: the view's own, for example ``magnitude`` of ``gjs``.

    Returns:
        The view, on the CPU.

    Raises:
        ValueError: for an unknown name.
        TypeError: for an option that the view does not have.

    >>> view = create_view("gjs", mean=(0.5,) * 3, std=(0.25,) * 3, magnitude=9)
    >>> images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    >>> draw = view.draw(4, 32, 32, torch.Generator().manual_seed(0))
    >>> view(images, draw).dtype
    torch.float32
    """
    if name not in VIEWS:
        raise ValueError(f"unknown view {name!r}: expected one of {', '.join(VIEWS)}")
    return View(mean, std, **{"padding": padding, "flip": flip, **VIEWS[name](**options)})
