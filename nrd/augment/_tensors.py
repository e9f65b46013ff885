"""Checks and small helpers shared by the batched image operations."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

Fill = int | Sequence[int]
# Values per block on the CPU: temporaries in double precision then stay in the cache and below the size from which
# the allocator asks the system for fresh pages every time, which costs several times the arithmetic.
BLOCK = 200_000


def blocks(images: Tensor, values: int = BLOCK) -> Iterator[slice]:
    """Yield slices that cut a batch into cache-sized pieces on the CPU, and leave it whole elsewhere.

    >>> list(blocks(torch.zeros(100, 3, 32, 32)))
    [slice(0, 65, None), slice(65, 130, None)]
    """
    step = max(1, values // max(1, images[:1].numel())) if images.device.type == "cpu" else max(1, len(images))
    return (slice(start, start + step) for start in range(0, len(images), step))


def send(values: Tensor, device: torch.device) -> Tensor:
    """Move values from the host without waiting for the device.

    Pageable memory would have to be staged first, for which the host may wait until the device has caught up.
    """
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


def truncate(values: Tensor) -> Tensor:
    """Return uint8 of values in [0, 256), without their fractions."""
    # From a float straight to uint8 takes a CPU three times as long as the detour; any other device has no detour.
    return (values.to(torch.int16) if values.device.type == "cpu" else values).to(torch.uint8)


def check_images(images: Tensor) -> None:
    """Refuse anything but a uint8 batch ``(N, C, H, W)`` with one or three channels.

    Raises:
        TypeError: if the images are not uint8.
        ValueError: if the batch is not four-dimensional with one or three channels.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"expected uint8 images, got {images.dtype}")
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"expected images of shape (N, 1 or 3, H, W), got {tuple(images.shape)}")


def per_image(values: Tensor | float, images: Tensor, dtype: torch.dtype) -> Tensor:
    """Return one value per image, ``(N,)``, on the device of the images; a plain number serves all images.

    Raises:
        ValueError: if there is not exactly one value per image.
    """
    if not isinstance(values, Tensor):
        return torch.full((len(images),), values, dtype=dtype, device=images.device)
    if values.shape != (len(images),):
        raise ValueError(f"expected one value for each of {len(images)} images, got shape {tuple(values.shape)}")
    # Converted before the move: a double of the host must not be rounded differently on a device.
    return send(values.to(dtype), images.device)


def check_levels(values: Sequence[float], images: Tensor) -> None:
    """Refuse what is no grey level; images of floats take any number.

    Raises:
        ValueError: if images are uint8 and a value lies outside 0 to 255.
    """
    if images.dtype == torch.uint8 and not all(0 <= value <= 255 for value in values):
        raise ValueError(f"fill {', '.join(map(str, values))}: grey levels go from 0 to 255")


def fill_colour(fill: Fill, images: Tensor) -> Tensor | None:
    """Return the fill as ``(1, C, 1, 1)`` in the images' type, or None where it is 0 in every channel.

    A colour given for RGB fills grey images with its luma.

    Raises:
        ValueError: if a sequence has neither one value per channel nor three, or a value is no grey level.
    """
    channels = images.shape[1]
    values = [fill] * channels if isinstance(fill, int) else list(fill)
    check_levels(values, images)
    if channels == 1 and len(values) == 3:
        red, green, blue = values
        values = [(19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16]
    if len(values) != channels:
        raise ValueError(f"fill {fill!r} does not have one value for each of {channels} channels")
    if not any(values):
        return None
    return send(torch.tensor(values, dtype=images.dtype).view(1, -1, 1, 1), images.device)
