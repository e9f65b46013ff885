"""How fast the views are, beside torchvision's transforms image by image and, where installed, kornia's on the batch.

They take turns, and each reports its fastest turn, so that other programs on the machine disturb both alike.
Seconds are the process's own CPU seconds; set the number of threads before measuring.
"""

import importlib.util
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from nrd.augment import create_view

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
SIZE, PADDING = 32, 4  # of the images, and of the crop
TURNS = 5


def _policies() -> dict[str, list[Any]]:
    """Return torchvision's policy for each view that it has one for."""
    from torchvision.transforms import v2

    return {
        "none": [],
        "crop": [],
        # torchvision has no RandAugment in ildoonet's parametrisation; its own takes the same time.
        "gjs": [v2.RandAugment(1, 3)],
        "paper": [v2.RandAugment(1, 3)],
        "autoaugment": [v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)],
        "augmix": [v2.AugMix()],
        "color_jitter": [v2.ColorJitter(0.4, 0.4, 0.4)],
    }


def torchvision_pipeline(view: str) -> Callable[[Any], Tensor]:
    """Return torchvision's pipeline of one image for a view, without the cutout, which it does not have."""
    from torchvision.transforms import v2

    frame = [] if view == "none" else [v2.RandomCrop(SIZE, PADDING), v2.RandomHorizontalFlip()]
    scale = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    return v2.Compose([*_policies()[view], *frame, *scale])


def kornia_pipeline(view: str) -> Callable[[Tensor], Tensor] | None:
    """Return kornia's pipeline of a uint8 batch for a view, or None where kornia or a counterpart is missing.

    It is not the same policy: RandAugment and AutoAugment draw their operations once for the whole batch (magnitude
    signs, crops and flips per image), work on floats that no step rounds to grey levels, and there is no AugMix.
    """
    if importlib.util.find_spec("kornia") is None:
        return None
    import kornia.augmentation as K
    from kornia.augmentation.auto import AutoAugment, RandAugment

    policies: dict[str, list[Any]] = {
        "none": [],
        "crop": [],
        "gjs": [RandAugment(1, 3)],
        "paper": [RandAugment(1, 3)],
        "autoaugment": [AutoAugment("cifar10")],
        "color_jitter": [K.ColorJiggle(0.4, 0.4, 0.4)],
    }
    if view not in policies:
        return None
    frame = [] if view == "none" else [K.RandomCrop((SIZE, SIZE), PADDING), K.RandomHorizontalFlip()]
    normalise = K.Normalize(torch.tensor(MEAN), torch.tensor(STD))
    pipeline = K.AugmentationSequential(*policies[view], *frame, normalise)
    return lambda images: pipeline(images.to(torch.float32) / 255)


def _images_per_second(function: Callable[[], int], seconds: float) -> float:
    start, images = time.process_time(), 0
    while (spent := time.process_time() - start) < seconds or not images:
        images += function()
    return images / spent


def _measure(name: str, images: Tensor, seconds: float) -> dict[str, Any]:
    from torchvision.transforms.functional import to_pil_image

    view, generator = create_view(name, MEAN, STD, PADDING), torch.Generator().manual_seed(0)
    pipeline, tensors = torchvision_pipeline(name), list(images[:64])
    pictures = [to_pil_image(image) for image in tensors]

    def ours() -> int:
        return len(view(images, view.draw(len(images), SIZE, SIZE, generator)))

    def each(inputs: list[Any]) -> Callable[[], int]:
        return lambda: len([pipeline(image) for image in inputs])

    contestants = {"nrd": ours, "torchvision_pil": each(pictures), "torchvision_tensor": each(tensors)}
    if (batched := kornia_pipeline(name)) is not None:
        contestants["kornia"] = lambda: len(batched(images))
    best = dict.fromkeys(contestants, 0.0)
    for _ in range(TURNS):
        for contestant, function in contestants.items():
            best[contestant] = max(best[contestant], _images_per_second(function, seconds / TURNS))
    faster = best["nrd"] / max(best["torchvision_pil"], best["torchvision_tensor"])
    row = {"view": name, "batch": len(images), **best, "times_faster": faster}
    if "kornia" in best:
        row |= {"times_faster_than_kornia": best["nrd"] / best["kornia"], "kornia_version": version("kornia")}
    return row


def measure(
    views: Sequence[str] = ("crop", "gjs", "paper", "autoaugment", "augmix"),
    batch: int = 512,
    seconds: float = 2.0,
    images: Tensor | None = None,
) -> list[dict[str, Any]]:
    """Measure views on 32×32 colour images, on the CPU.

    Args:
        views: names of views that torchvision has a counterpart of.
        batch: images at a time; torchvision takes them one by one.
        seconds: CPU seconds per view and contestant.
        images: uint8 ``(N, 3, 32, 32)`` to draw the batch from, or None for noise.

    Returns:
        For each view ``view``, ``batch``, images per CPU-second ``nrd``, ``torchvision_pil`` and
        ``torchvision_tensor``, and ``times_faster``: than the faster of torchvision's two. Where kornia is installed
        and has a counterpart, ``kornia``, ``times_faster_than_kornia`` and ``kornia_version``.

    Raises:
        ValueError: for a view without a counterpart in torchvision.

    >>> measure(["crop"], batch=8, seconds=0.01)[0]["times_faster"] > 0
    True
    """
    unknown = set(views) - set(_policies())
    if unknown:
        raise ValueError(f"torchvision has no counterpart of {', '.join(sorted(unknown))}")
    if images is None:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(256, (batch, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    return [_measure(name, images[:batch], seconds) for name in views]
