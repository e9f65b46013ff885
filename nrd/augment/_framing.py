"""Cropping, flipping and blanking rectangles, with one place per image."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from nrd.augment._tensors import Fill, check_images, check_levels, fill_colour, per_image, send


def crop_and_flip(
    images: Tensor, top: Tensor, left: Tensor, flipped: Tensor | None = None, padding: int = 4, fill: Fill = 0
) -> Tensor:
    """Pad each image, cut a window of its own size out of it and mirror it, in one gather.

    Args:
        images: uint8 ``(N, C, H, W)``.
        top: ``(N,)`` whole numbers from 0 to twice the padding: the window's first row in the padded image.
        left: the same for the window's first column.
        flipped: ``(N,)`` booleans, or None for no mirroring.
        padding: pixels added on every side.
        fill: grey level or colour of the padding.

    Returns:
        uint8 ``(N, C, H, W)``.

    >>> image = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8)
    >>> crop_and_flip(image, torch.tensor([1]), torch.tensor([2]), torch.tensor([True]), padding=1)[0, 0, 0].tolist()
    [0, 7, 6, 5, 4, 3, 2, 1]
    """
    check_images(images)
    height, width = images.shape[2:]
    device = images.device
    rows = per_image(top, images, torch.int64)[:, None] + torch.arange(height, device=device)
    columns = per_image(left, images, torch.int64)[:, None]
    x = torch.arange(width, device=device)
    if flipped is None:
        columns = columns + x
    else:
        columns = columns + torch.where(per_image(flipped, images, torch.bool)[:, None], width - 1 - x, x)
    index = (rows * (width + 2 * padding))[:, :, None] + columns[:, None]
    padded = _pad(images, padding, fill).flatten(2)
    return padded.gather(2, index.flatten(1)[:, None].expand(-1, images.shape[1], -1)).view(images.shape)


def _pad(images: Tensor, padding: int, fill: Fill) -> Tensor:
    if not padding:
        return images
    padded = pad(images, (padding,) * 4)
    colour = fill_colour(fill, images)
    if colour is None:
        return padded
    inside = pad(torch.ones_like(images[:1, :1]), (padding,) * 4).bool()
    return torch.where(inside, padded, colour)


def crop(images: Tensor, top: Tensor, left: Tensor, padding: int = 4, fill: Fill = 0) -> Tensor:
    """Pad each image and cut a window of its own size out of it; arguments as in :func:`crop_and_flip`."""
    return crop_and_flip(images, top, left, None, padding, fill)


def flip(images: Tensor, flipped: Tensor) -> Tensor:
    """Mirror the images whose flag is set.

    Args:
        images: ``(N, C, H, W)``, any type.
        flipped: ``(N,)`` booleans.

    Returns:
        The same shape and type.
    """
    flags = send(flipped, images.device).view(-1, 1, 1, 1)
    return torch.where(flags, images.flip(3), images)


def _rectangle(images: Tensor, top: Tensor, left: Tensor, bottom: Tensor, right: Tensor) -> Tensor:
    """Return a mask ``(N, 1, H, W)`` of the half-open rectangles."""

    def span(start: Tensor, stop: Tensor, length: int) -> Tensor:
        place = torch.arange(length, dtype=torch.int32, device=images.device)
        start, stop = (per_image(edge, images, torch.int32)[:, None] for edge in (start, stop))
        return (place >= start) & (place < stop)

    height, width = images.shape[-2:]
    return (span(top, bottom, height)[:, :, None] & span(left, right, width)[:, None])[:, None]


def erase(images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor, fill: float | Fill = 0) -> Tensor:
    """Fill one rectangle in each image; what lies outside the image is left out.

    Args:
        images: ``(N, C, H, W)``, uint8 or floating.
        top: ``(N,)`` whole numbers, the rectangle's first row; may be negative.
        left: ``(N,)`` whole numbers, its first column.
        height: ``(N,)`` whole numbers; 0 erases nothing.
        width: ``(N,)`` whole numbers.
        fill: a number, or one per channel.

    Returns:
        The same shape and type.

    >>> one = torch.tensor([1])
    >>> erase(torch.ones(1, 1, 8, 8), one - 2, one, 3 * one, one)[0, 0, :3, :3].tolist()
    [[1.0, 0.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0]]
    """
    mask = _rectangle(images, top, left, top + height, left + width)
    if isinstance(fill, Sequence):
        colour = fill_colour(fill, images)
        return images.masked_fill(mask, 0) if colour is None else torch.where(mask, colour, images)
    if fill == 0 and images.dtype == torch.float32:
        # Clearing bits is an order of magnitude faster on the CPU, and leaves no negative zeros as a product would.
        return (images.view(torch.int32) & (~mask).to(torch.int32).neg_()).view(torch.float32)
    check_levels([fill], images)
    return images.masked_fill(mask, fill)


def cutout(images: Tensor, centre_y: Tensor, centre_x: Tensor, size: int, fill: float | Fill = 0) -> Tensor:
    """Fill a square of fixed size around a pixel of each image, clipped at the borders.

    Args:
        images: ``(N, C, H, W)``, uint8 or floating.
        centre_y: ``(N,)`` whole numbers: the square covers ``size`` rows from ``centre_y − size // 2`` on.
        centre_x: ``(N,)`` whole numbers, the same for columns.
        size: the square's side.
        fill: a number, or one per channel.

    Returns:
        The same shape and type.
    """
    side = torch.full_like(centre_y, size)
    return erase(images, centre_y - size // 2, centre_x - size // 2, side, side, fill)
