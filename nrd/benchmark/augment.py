"""How fast the views are, beside torchvision's transforms image by image and, where installed, kornia's on the batch.

They take turns, so that other programs on the machine disturb them alike: each reports its fastest turn, and a ratio is
the median of those of each turn, with the lowest and the highest. Seconds are the process's own CPU seconds; set the
number of threads before measuring. On a GPU ours (and kornia's) are those on the wall, with all work done and the
parameters drawn beforehand, since there the loop draws while the device trains; torchvision's are one CPU process's.
"""

import importlib.util
from collections.abc import Callable, Sequence
from importlib.metadata import version
from statistics import median
from typing import Any

import torch
from torch import Tensor

from nrd.augment import create_view
from nrd.benchmark.peak import clock
from nrd.spec import SpecError

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
SIZE, PADDING = 32, 4  # of the images, and of the crop
TURNS = 15
BATCH = {"cpu": 512, "cuda": 8192}
CPU = torch.device("cpu")


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
        "autoaugment_erasing": [v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)],
        "augmix": [v2.AugMix()],
        "color_jitter": [v2.ColorJitter(0.4, 0.4, 0.4)],
    }


def has_counterpart(view: str) -> bool:
    """Say whether torchvision has the view's policy."""
    return view in _policies()


def check_views(views: Sequence[str]) -> None:
    """Refuse views that cannot be compared.

    Raises:
        SpecError: torchvision has no counterpart of one of them.
    """
    if unknown := sorted(view for view in set(views) if not has_counterpart(view)):
        allowed = ", ".join(_policies())
        raise SpecError(f"views: torchvision has no counterpart of {', '.join(unknown)}; allowed: {allowed}")


def torchvision_pipeline(view: str) -> Callable[[Any], Tensor]:
    """Return torchvision's pipeline of one image for a view, without the cutout, which it does not have."""
    from torchvision.transforms import v2

    frame = [] if view == "none" else [v2.RandomCrop(SIZE, PADDING), v2.RandomHorizontalFlip()]
    scale = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    erasing = [v2.RandomErasing()] if view == "autoaugment_erasing" else []
    return v2.Compose([*_policies()[view], *frame, *scale, *erasing])


def kornia_pipeline(view: str, device: torch.device = CPU) -> Callable[[Tensor], Tensor] | None:
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
    pipeline = K.AugmentationSequential(*policies[view], *frame, normalise).to(device)
    return lambda images: pipeline(images.to(torch.float32) / 255)


def _images_per_second(function: Callable[[], int], seconds: float, device: torch.device) -> float:
    start, images = clock(device), 0
    while (spent := clock(device) - start) < seconds or not images:
        images += function()
    return images / spent


Contestants = dict[str, tuple[Callable[[], int], torch.device]]


def _contestants(name: str, images: Tensor, device: torch.device) -> Contestants:
    """Return what each contestant does in one go, giving its number of images, and the device that does it."""
    from torchvision.transforms.functional import to_pil_image

    view, generator = create_view(name, MEAN, STD, PADDING).to(device), torch.Generator().manual_seed(0)
    pipeline, tensors = torchvision_pipeline(name), list(images[:64])
    pictures = [to_pil_image(image) for image in tensors]
    resident = images.to(device)
    drawn = None if device.type == "cpu" else view.draw(len(images), SIZE, SIZE, generator)

    def ours() -> int:
        return len(view(resident, view.draw(len(images), SIZE, SIZE, generator) if drawn is None else drawn))

    def each(inputs: list[Any]) -> Callable[[], int]:
        return lambda: len([pipeline(image) for image in inputs])

    found = {
        "nrd": (ours, device),
        "torchvision_pil": (each(pictures), CPU),
        "torchvision_tensor": (each(tensors), CPU),
    }
    if (batched := kornia_pipeline(name, device)) is not None:
        found["kornia"] = (lambda: len(batched(resident)), device)
    return found


def _measure(name: str, images: Tensor, seconds: float, device: torch.device) -> dict[str, Any]:
    contestants = _contestants(name, images, device)
    for function, _ in contestants.values():
        function()  # warms up
    turns = [
        {contestant: _images_per_second(function, seconds / TURNS, where) for contestant, (function, where) in tasks}
        for tasks in [contestants.items()] * TURNS
    ]
    row = {"view": name, "device": device.type, "batch": len(images)}
    row |= {contestant: max(turn[contestant] for turn in turns) for contestant in contestants}
    faster_one = [max(turn["torchvision_pil"], turn["torchvision_tensor"]) for turn in turns]
    row |= _ratio("times_faster", [turn["nrd"] / other for turn, other in zip(turns, faster_one, strict=True)])
    if "kornia" in contestants:
        row |= _ratio("times_faster_than_kornia", [turn["nrd"] / turn["kornia"] for turn in turns])
        row["kornia_version"] = version("kornia")
    return row


def _ratio(name: str, ratios: list[float]) -> dict[str, float]:
    """Return the median of the turns, the lowest and the highest: how far it depends on what else the machine does."""
    return {name: median(ratios), f"{name}_lowest": min(ratios), f"{name}_highest": max(ratios)}


def measure(
    views: Sequence[str] = ("crop", "gjs", "paper", "autoaugment", "augmix"),
    batch: int | None = None,
    seconds: float = 2.0,
    images: Tensor | None = None,
    device: torch.device = CPU,
    report: Callable[[list[dict[str, Any]]], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Measure views on 32×32 colour images.

    Args:
        views: names of views that torchvision has a counterpart of.
        batch: images at a time, by default what suits the device; torchvision takes them one by one.
        seconds: for each view and contestant.
        images: uint8 ``(N, 3, 32, 32)`` to draw the batch from, or None for noise.
        device: that augments.
        report: called with the rows so far after each view.

    Returns:
        For each view ``view``, ``device``, ``batch``, images per second ``nrd``, ``torchvision_pil`` and
        ``torchvision_tensor``, and ``times_faster``: than the faster of torchvision's two, the median of the turns with
        ``times_faster_lowest`` and ``times_faster_highest``. Where kornia is installed and has a counterpart,
        ``kornia``, ``times_faster_than_kornia`` with both ends, and ``kornia_version``.

    Raises:
        SpecError: for a view without a counterpart in torchvision.

    >>> measure(["crop"], batch=8, seconds=0.01)[0]["times_faster"] > 0
    True
    """
    check_views(views)
    batch = batch or BATCH.get(device.type, BATCH["cpu"])
    if images is None:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(256, (batch, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    rows = []
    for name in views:
        rows.append(_measure(name, images[:batch], seconds, device))
        report(rows)
    return rows
