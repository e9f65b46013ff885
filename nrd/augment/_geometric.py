"""Geometric operations on uint8 batches with one magnitude per image, sampling as Pillow's affine transform does.

A matrix ``(a, b, c, d, e, f)`` gives for the output pixel ``(x, y)`` the place ``(a·x + b·y + c, d·x + e·y + f)``
of the input, with pixel centres at halves. Pillow walks the nearest pixels in fixed point with 16 binary places,
steps through pure scalings in floating point, and samples bilinearly in float64 with truncation: so does this.

Images that share a matrix share its index map, which is most of them in a policy with discrete magnitudes.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from nrd.augment._tensors import Fill, check_images, fill_colour

Interpolation = Literal["nearest", "bilinear", "bilinear_fast"]
Matrix = tuple[float, float, float, float, float, float]


def shear_x_matrix(level: float) -> Matrix:
    """Return the matrix that shifts each row by ``level`` times its height."""
    return (1.0, level, 0.0, 0.0, 1.0, 0.0)


def shear_y_matrix(level: float) -> Matrix:
    """Return the matrix that shifts each column by ``level`` times its place."""
    return (1.0, 0.0, 0.0, level, 1.0, 0.0)


def translate_x_matrix(pixels: float) -> Matrix:
    """Return the matrix that moves the content ``pixels`` to the right."""
    return (1.0, 0.0, -pixels, 0.0, 1.0, 0.0)


def translate_y_matrix(pixels: float) -> Matrix:
    """Return the matrix that moves the content ``pixels`` down."""
    return (1.0, 0.0, 0.0, 0.0, 1.0, -pixels)


def rotate_matrix(degrees: float, height: int, width: int) -> Matrix:
    """Return the matrix that turns counter-clockwise about the centre, rounded to 15 places as Pillow does."""
    angle = -math.radians(degrees % 360.0)
    cosine, sine = round(math.cos(angle), 15), round(math.sin(angle), 15)
    minus = round(-math.sin(angle), 15)
    centre_x, centre_y = width / 2, height / 2
    shift_x = cosine * -centre_x + sine * -centre_y + 0.0 + centre_x
    shift_y = minus * -centre_x + cosine * -centre_y + 0.0 + centre_y
    return (cosine, sine, shift_x, minus, cosine, shift_y)


def _nearest_map(matrices: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return for each matrix the flat index of the nearest pixel and whether it is inside, both ``(M, H·W)``."""
    a, b, c, d, e, f = matrices.unsqueeze(-1).unbind(1)
    x = torch.arange(width, device=matrices.device)
    y = torch.arange(height, device=matrices.device)
    start_x, start_y = c + a * 0.5 + b * 0.5, f + d * 0.5 + e * 0.5

    def fixed(value: Tensor) -> Tensor:
        return (value * 65536.0 + 0.5).floor().to(torch.int32)

    x32, y32 = x.to(torch.int32), y.to(torch.int32)
    column = ((fixed(start_x) + fixed(a) * x32)[:, None] + (fixed(b) * y32)[:, :, None]).bitwise_right_shift_(16)
    row = ((fixed(start_y) + fixed(d) * x32)[:, None] + (fixed(e) * y32)[:, :, None]).bitwise_right_shift_(16)
    scaling = ((b == 0) & (d == 0)).unsqueeze(-1)
    scaled_x = (start_x + a * x).floor().to(torch.int32)[:, None]
    scaled_y = (start_y + e * y).floor().to(torch.int32)[:, :, None]
    column, row = torch.where(scaling, scaled_x, column), torch.where(scaling, scaled_y, row)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    index = (row * width + column).mul_(inside)
    return index.long().flatten(1), inside.flatten(1)


def _bilinear_map(matrices: Tensor, height: int, width: int) -> dict[str, Tensor]:
    """Return for each matrix the four neighbours' indices, the two weights and the mask, each ``(M, H·W)``."""
    a, b, c, d, e, f = matrices[:, :, None, None].unbind(1)
    x = torch.arange(width, dtype=torch.float64, device=matrices.device) + 0.5
    y = torch.arange(height, dtype=torch.float64, device=matrices.device).unsqueeze(-1) + 0.5
    x_in, y_in = a * x + b * y + c, d * x + e * y + f
    inside = (x_in >= 0) & (x_in < width) & (y_in >= 0) & (y_in < height)
    x_in, y_in = x_in - 0.5, y_in - 0.5
    left, top = x_in.floor(), y_in.floor()
    columns = [(left + i).clamp_(0, width - 1).long() for i in (0, 1)]
    rows = [(top + i).clamp_(0, height - 1).long() * width for i in (0, 1)]
    maps = {f"{i}{j}": rows[i] + columns[j] for i in (0, 1) for j in (0, 1)}
    maps |= {"x": x_in - left, "y": y_in - top, "inside": inside}
    return {key: value.flatten(1) for key, value in maps.items()}


def _mix(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """Return ``first + (second − first)·weight`` with each operation rounded on its own."""
    return (second - first).mul_(weight).add_(first)


def _sample_bilinear(flat: Tensor, maps: dict[str, Tensor], axes: str, dtype: torch.dtype) -> Tensor:
    """Sample ``(N, C, P)`` images at the maps ``(N, P)``; an axis left out has weight 0 everywhere."""

    def pixels(key: str) -> Tensor:
        return flat.gather(2, maps[key][:, None].expand(-1, flat.shape[1], -1)).to(dtype)

    def weight(key: str) -> Tensor:
        return maps[key].to(dtype)[:, None]

    value = _mix(pixels("00"), pixels("01"), weight("x")) if "x" in axes else pixels("00")
    if "y" in axes:
        below = _mix(pixels("10"), pixels("11"), weight("x")) if "x" in axes else pixels("10")
        value = _mix(value, below, weight("y"))
    if dtype == torch.float32:
        # A value that is whole in float64 may come out just below it here; truncation must not lose a level.
        value.add_(1e-5)
    return value.to(torch.uint8)


def _is_translation(matrix: Matrix) -> bool:
    a, b, c, d, e, f = matrix
    return (a, b, d, e) == (1.0, 0.0, 0.0, 1.0) and c == int(c) and f == int(f)


def _moved_axes(matrices: list[Matrix]) -> str:
    """Say which axes need interpolation: a shear leaves the other axis on its pixel centres."""
    axes = "x" if any((a, b) != (1.0, 0.0) or c != int(c) for a, b, c, *_ in matrices) else ""
    return axes + ("y" if any((d, e) != (0.0, 1.0) or f != int(f) for *_, d, e, f in matrices) else "")


def _warp(images: Tensor, matrices: list[Matrix], which: list[int], interpolation: Interpolation, fill: Fill) -> Tensor:
    """Apply to image ``i`` the matrix ``matrices[which[i]]``."""
    if interpolation not in ("nearest", "bilinear", "bilinear_fast"):
        raise ValueError(f"unknown interpolation {interpolation!r}: expected nearest, bilinear or bilinear_fast")
    number, channels, height, width = images.shape
    if not number:
        return images.clone()
    flat = images.flatten(2)
    table = torch.tensor(matrices, dtype=torch.float64).to(images.device, non_blocking=True)
    chosen = torch.tensor(which).to(images.device, non_blocking=True)
    if interpolation == "nearest" or all(map(_is_translation, matrices)):
        index, inside = (entry.index_select(0, chosen) for entry in _nearest_map(table, height, width))
        result = flat.gather(2, index[:, None].expand(-1, channels, -1))
    else:
        maps = {key: entry.index_select(0, chosen) for key, entry in _bilinear_map(table, height, width).items()}
        dtype = torch.float64 if interpolation == "bilinear" else torch.float32
        inside, result = maps["inside"], _sample_bilinear(flat, maps, _moved_axes(matrices), dtype)
    result, inside = result.view(images.shape), inside.view(number, 1, height, width)
    colour = fill_colour(fill, images)
    return result.mul_(inside) if colour is None else torch.where(inside, result, colour)


def affine(images: Tensor, matrices: Tensor, interpolation: Interpolation = "nearest", fill: Fill = 0) -> Tensor:
    """Transform each image by its own matrix, as ``PIL.Image.transform(size, AFFINE, matrix)`` does.

    Args:
        images: uint8 ``(N, C, H, W)``, sides below 32768.
        matrices: ``(N, 6)`` floats, from output to input; taken in float64.
        interpolation: ``nearest``, ``bilinear`` (float64, equal to Pillow) or ``bilinear_fast`` (float32, a grey
            level off on fewer than one pixel in ten thousand).
        fill: grey level or colour where the input does not reach.

    Returns:
        uint8 ``(N, C, H, W)``.

    Raises:
        ValueError: if there is not one matrix per image, or the interpolation is unknown.
    """
    check_images(images)
    if matrices.shape != (len(images), 6):
        raise ValueError(f"expected matrices of shape ({len(images)}, 6), got {tuple(matrices.shape)}")
    rows = [tuple(row) for row in matrices.to(torch.float64).tolist()]
    places = {row: place for place, row in enumerate(dict.fromkeys(rows))}
    return _warp(images, list(places), [places[row] for row in rows], interpolation, fill)


def _warp_by(
    images: Tensor,
    magnitude: Tensor | float,
    build: Callable[[float], Matrix],
    interpolation: Interpolation,
    fill: Fill,
) -> Tensor:
    check_images(images)
    values = magnitude.tolist() if isinstance(magnitude, Tensor) else [float(magnitude)] * len(images)
    if not isinstance(values, list) or len(values) != len(images):
        raise ValueError(f"expected one magnitude for each of {len(images)} images, got {magnitude!r}")
    places = {value: place for place, value in enumerate(dict.fromkeys(values))}
    return _warp(images, [build(value) for value in places], [places[value] for value in values], interpolation, fill)


def shear_x(images: Tensor, level: Tensor | float, interpolation: Interpolation = "nearest", fill: Fill = 0) -> Tensor:
    """Shift each row to the left by ``level`` times its distance from the top edge.

    Args:
        images: uint8 ``(N, C, H, W)``.
        level: ``(N,)`` floats, or one number for all: the ``b`` of Pillow's affine matrix.
        interpolation: see :func:`affine`.
        fill: see :func:`affine`.

    Returns:
        uint8 ``(N, C, H, W)``.
    """
    return _warp_by(images, level, shear_x_matrix, interpolation, fill)


def shear_y(images: Tensor, level: Tensor | float, interpolation: Interpolation = "nearest", fill: Fill = 0) -> Tensor:
    """Shift each column up by ``level`` times its distance from the left edge; arguments as in :func:`shear_x`."""
    return _warp_by(images, level, shear_y_matrix, interpolation, fill)


def translate_x(
    images: Tensor, pixels: Tensor | float, interpolation: Interpolation = "nearest", fill: Fill = 0
) -> Tensor:
    """Move each image to the right by its number of pixels (to the left where it is negative).

    Args:
        images: uint8 ``(N, C, H, W)``.
        pixels: ``(N,)`` floats, or one number for all.
        interpolation: see :func:`affine`.
        fill: see :func:`affine`.

    Returns:
        uint8 ``(N, C, H, W)``.

    >>> translate_x(torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8), 2)[0, 0, 1].tolist()
    [0, 0, 8, 9, 10, 11, 12, 13]
    """
    return _warp_by(images, pixels, translate_x_matrix, interpolation, fill)


def translate_y(
    images: Tensor, pixels: Tensor | float, interpolation: Interpolation = "nearest", fill: Fill = 0
) -> Tensor:
    """Move each image down by its number of pixels; arguments as in :func:`translate_x`."""
    return _warp_by(images, pixels, translate_y_matrix, interpolation, fill)


def rotate(images: Tensor, degrees: Tensor | float, interpolation: Interpolation = "nearest", fill: Fill = 0) -> Tensor:
    """Turn each image counter-clockwise about its centre, as ``PIL.Image.rotate`` does.

    Args:
        images: uint8 ``(N, C, H, W)``.
        degrees: ``(N,)`` floats, or one number for all.
        interpolation: see :func:`affine`.
        fill: see :func:`affine`.

    Returns:
        uint8 ``(N, C, H, W)``.
    """
    height, width = images.shape[-2:]
    return _warp_by(images, degrees, lambda angle: rotate_matrix(angle, height, width), interpolation, fill)
