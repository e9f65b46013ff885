"""Photometric operations on uint8 batches with one magnitude per image, equal to Pillow's to the last bit.

An operation that maps each grey level of a channel on its own is a table of 256 entries per image (and per
channel, where it depends on the channel's histogram). The tables follow the definitions of Pillow's ``ImageOps``
and ``ImageEnhance``, including their rounding: Pillow blends in float32 and truncates.
"""

import torch
from torch import Tensor

from nrd.augment._tensors import check_images, per_image, truncate


def apply_table(images: Tensor, table: Tensor) -> Tensor:
    """Map every grey level through a table.

    Args:
        images: uint8 ``(N, C, H, W)``.
        table: ``(N, C, 256)`` or ``(N, 1, 256)``, any type.

    Returns:
        ``(N, C, H, W)`` in the type of the table.

    >>> levels = torch.arange(256, dtype=torch.uint8)
    >>> apply_table(torch.tensor([[[[0, 7]]]], dtype=torch.uint8), (255 - levels).view(1, 1, 256)).tolist()
    [[[[255, 248]]]]
    """
    number, channels = images.shape[:2]
    levels = images.flatten(2).long()
    return table.expand(number, channels, 256).gather(2, levels).view(images.shape)


def _levels(images: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.arange(256, dtype=dtype, device=images.device)


def _blend(degenerate: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """Blend as ``PIL.Image.blend`` does: float32, one rounding per operation, clipped, truncated."""
    # Product and sum stay two kernels: fused, they would round once and now and then give another grey level.
    # Types are converted first: operations on two types at once are not vectorised.
    blended = images.to(torch.float32).sub_(degenerate).mul_(factor).add_(degenerate)
    return truncate(blended.clamp_(0, 255))


def grayscale(images: Tensor) -> Tensor:
    """Return the luma of a uint8 batch as int32 ``(N, 1, H, W)``, rounded as Pillow's mode "L" is.

    >>> grayscale(torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1)).item()
    76
    """
    if images.shape[1] == 1:
        return images.int()
    red, green, blue = images.int().unbind(1)
    return red.mul_(19595).add_(green.mul_(38470)).add_(blue.mul_(7471)).add_(0x8000).bitwise_right_shift_(16)[:, None]


def brightness(images: Tensor, factor: Tensor | float) -> Tensor:
    """Blend each image with black: 0 gives black, 1 the image.

    Args:
        images: uint8 ``(N, C, H, W)``.
        factor: ``(N,)`` floats, or one number for all.

    Returns:
        uint8 ``(N, C, H, W)``.

    >>> brightness(torch.full((1, 1, 8, 8), 100, dtype=torch.uint8), 1.5)[0, 0, 0, 0].item()
    150
    """
    check_images(images)
    factor = per_image(factor, images, torch.float32).view(-1, 1, 1, 1)
    return truncate(images.to(torch.float32).mul_(factor).clamp_(0, 255))


def contrast(images: Tensor, factor: Tensor | float) -> Tensor:
    """Blend each image with the (rounded) mean of its luma.

    Args:
        images: uint8 ``(N, C, H, W)``.
        factor: ``(N,)`` floats, or one number for all.

    Returns:
        uint8 ``(N, C, H, W)``.
    """
    check_images(images)
    factor = per_image(factor, images, torch.float32).view(-1, 1, 1, 1)
    luma = grayscale(images).flatten(1)
    pixels = luma.shape[1]
    # Half of the pixel count added before the integer division rounds the mean as int(mean + 0.5) does.
    mean = luma.sum(1).mul_(2).add_(pixels).div(2 * pixels, rounding_mode="floor")
    return _blend(mean.to(torch.float32).view(-1, 1, 1, 1), images, factor)


def color(images: Tensor, factor: Tensor | float) -> Tensor:
    """Blend each image with its grey version; grey images stay as they are.

    Args:
        images: uint8 ``(N, C, H, W)``.
        factor: ``(N,)`` floats, or one number for all.

    Returns:
        uint8 ``(N, C, H, W)``.
    """
    check_images(images)
    if images.shape[1] == 1:
        return images
    factor = per_image(factor, images, torch.float32).view(-1, 1, 1, 1)
    return _blend(grayscale(images).to(torch.float32), images, factor)


def sharpness(images: Tensor, factor: Tensor | float) -> Tensor:
    """Blend each image with a smoothed version (3×3, centre 5, divided by 13); the border stays as it is.

    Args:
        images: uint8 ``(N, C, H, W)``.
        factor: ``(N,)`` floats, or one number for all.

    Returns:
        uint8 ``(N, C, H, W)``.
    """
    check_images(images)
    factor = per_image(factor, images, torch.float32).view(-1, 1, 1)
    width = images.shape[3]
    # Rows laid end to end add up in long runs; what wraps around falls on the border, which is not used.
    wide = images.to(torch.int16).flatten(2)
    columns = wide[..., : -2 * width] + wide[..., width:-width] + wide[..., 2 * width :]
    centre = wide[..., width + 1 : -width - 1]
    total = (columns[..., :-2] + columns[..., 1:-1] + columns[..., 2:]).add_(centre * 4)
    # A sum over 13 is never closer than 1/26 to a half, so float32 rounds it exactly.
    smooth = total.to(torch.float32).mul_(1 / 13).add_(0.5).floor_()
    result = images.clone(memory_format=torch.contiguous_format)  # or what is flattened may be a copy
    blended = result.flatten(2)[..., width + 1 : -width - 1]
    blended.copy_(_blend(smooth, centre, factor))
    for border in (0, -1):
        result[..., border] = images[..., border]
    return result


def posterize(images: Tensor, bits: Tensor | float) -> Tensor:
    """Keep the highest bits of each grey level.

    Args:
        images: uint8 ``(N, C, H, W)``.
        bits: ``(N,)`` whole numbers from 0 (black) to 8 (unchanged), or one for all.

    Returns:
        uint8 ``(N, C, H, W)``.

    >>> posterize(torch.full((1, 1, 8, 8), 200, dtype=torch.uint8), 1)[0, 0, 0, 0].item()
    128
    """
    check_images(images)
    shift = 8 - per_image(bits, images, torch.int32)
    mask = (-1 << shift).to(torch.uint8)
    return images & mask.view(-1, 1, 1, 1)


def solarize(images: Tensor, threshold: Tensor | float) -> Tensor:
    """Invert the grey levels at or above a threshold.

    Args:
        images: uint8 ``(N, C, H, W)``.
        threshold: ``(N,)`` floats, or one number for all; 256 changes nothing.

    Returns:
        uint8 ``(N, C, H, W)``.
    """
    check_images(images)
    # i < t and i < ceil(t) are the same for whole i, and whole numbers survive the conversion.
    threshold = per_image(threshold, images, torch.float64).ceil().view(-1, 1, 1, 1)
    # Compared into bytes: a comparison that makes booleans is not vectorised.
    above = torch.ge(images, threshold.clamp(0, 255).to(torch.uint8), out=torch.empty_like(images))
    # 255 where inverted: v ^ 255 is 255 − v.
    return above.mul_((threshold <= 255).to(torch.uint8) * 255).bitwise_xor_(images)


def solarize_add(images: Tensor, addition: Tensor | float, threshold: float = 128) -> Tensor:
    """Add to every grey level, clip, and solarize what reaches the threshold.

    Args:
        images: uint8 ``(N, C, H, W)``.
        addition: ``(N,)`` floats, or one number for all.
        threshold: the threshold of the solarization, as in ildoonet's RandAugment.

    Returns:
        uint8 ``(N, C, H, W)``.
    """
    check_images(images)
    addition = per_image(addition, images, torch.float64).view(-1, 1, 1)
    levels = truncate((_levels(images, torch.float64) + addition).clamp_(0, 255))
    return apply_table(images, torch.where(levels < threshold, levels, 255 - levels))


def invert(images: Tensor) -> Tensor:
    """Return 255 minus each grey level.

    >>> invert(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))[0, 0, 0, 0].item()
    255
    """
    check_images(images)
    return 255 - images


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel of each image to the full range; a channel of one grey level stays as it is.

    Args:
        images: uint8 ``(N, C, H, W)``.

    Returns:
        uint8 ``(N, C, H, W)``.
    """
    check_images(images)
    flat = images.flatten(2)
    low = flat.amin(2, keepdim=True).to(torch.float64)
    high = flat.amax(2, keepdim=True).to(torch.float64)
    # A number divided by a tensor is computed from the reciprocal and would be one bit off; a tensor is not.
    scale = torch.full_like(low, 255.0).div_(high - low)
    levels = _levels(images, torch.float64)
    table = truncate((levels * scale).add_(-low * scale).clamp_(0, 255))
    return apply_table(images, torch.where(high > low, table, levels.to(torch.uint8)))


def _histogram(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the counts of each channel's grey levels, int32 ``(N, C, 256)``, and each pixel's place in them all."""
    number, channels = images.shape[:2]
    rows = torch.arange(number * channels, dtype=torch.int64, device=images.device).view(number, channels, 1) * 256
    bins = images.flatten(2).long().add_(rows).flatten()
    # bincount looks at its largest value on the host; adding ones leaves a device running, and is faster on a CPU.
    ones = torch.ones_like(bins, dtype=torch.int32)
    counts = torch.zeros(number * channels * 256, dtype=torch.int32, device=images.device)
    return counts.scatter_add_(0, bins, ones).view(number, channels, 256), bins


def equalize(images: Tensor) -> Tensor:
    """Equalise the histogram of each channel of each image.

    Args:
        images: uint8 ``(N, C, H, W)``.

    Returns:
        uint8 ``(N, C, H, W)``. Below 255 pixels more than the brightest level has, nothing changes (so 8×8
        images never do), which is Pillow's definition.
    """
    check_images(images)
    counts, bins = _histogram(images)
    brightest = images.flatten(2).amax(2, keepdim=True).long()
    pixels = images.shape[2] * images.shape[3]
    step = (pixels - counts.gather(2, brightest)).div(255, rounding_mode="floor")
    before = counts.cumsum(2, dtype=torch.int32).sub_(counts)
    before.add_(step.div(2, rounding_mode="floor"))
    # Quotients of such small whole numbers round down to the same number in float64, and faster.
    table = before.to(torch.float64).div_(step.clamp(min=1)).clamp_(max=255)
    identity = _levels(images, torch.uint8)
    return torch.where(step > 0, truncate(table), identity).flatten().index_select(0, bins).view(images.shape)
