"""Geometric operations on uint8 batches with one magnitude per image, sampling as Pillow's affine transform does.

A matrix ``(a, b, c, d, e, f)`` gives for the output pixel ``(x, y)`` the place ``(a·x + b·y + c, d·x + e·y + f)``
of the input, with pixel centres at halves. Pillow walks the nearest pixels in fixed point with 16 binary places,
steps through pure scalings in floating point, and samples bilinearly in float64 with truncation: so does this.

Images that share a matrix share its index map, which is most of them in a policy with discrete magnitudes.
"""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor

from nrd.augment._tensors import Fill, blocks, check_images, fill_colour, send, truncate

Interpolation = Literal["nearest", "bilinear", "bilinear_fast"]
Matrix = tuple[float, float, float, float, float, float]
# Images that share a matrix, on average, from which it pays to take each such run by itself.
IMAGES_PER_RUN = 4
# Of matrices that a CPU has met, some 40 kB each at 32×32: AugMix has twenty, a RandAugment as many per magnitude.
MAPS_KEPT = 128


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


def _is_translation(matrix: Matrix) -> bool:
    """Say whether the matrix moves by whole pixels, for which all ways of sampling agree."""
    a, b, c, d, e, f = matrix
    return (a, b, d, e) == (1.0, 0.0, 0.0, 1.0) and c == int(c) and f == int(f)


def _fixed_places(coefficients: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return columns ``(M, H, W)`` and rows ``(M, H, W)`` of the nearest pixels, walked in 16.16 fixed point."""
    a, b, c, d, e, f = coefficients.unsqueeze(-1).unbind(1)
    starts = torch.stack([c + a * 0.5 + b * 0.5, f + d * 0.5 + e * 0.5])
    steps = torch.stack([torch.stack([a, d]), torch.stack([b, e])])
    start, (along, down) = ((value * 65536.0 + 0.5).floor().to(torch.int32) for value in (starts, steps))
    x, y = (torch.arange(length, dtype=torch.int32, device=a.device) for length in (width, height))
    places = (start + along * x)[:, :, None] + (down * y)[..., None]
    return tuple(places.bitwise_right_shift_(16))


def _scaled_places(coefficients: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return columns ``(M, 1, W)`` and rows ``(M, H, 1)`` of the nearest pixels of pure scalings."""
    a, b, c, d, e, f = coefficients.unsqueeze(-1).unbind(1)
    x, y = (torch.arange(length, device=a.device) for length in (width, height))
    column = ((c + a * 0.5 + b * 0.5) + a * x).floor().to(torch.int32)
    row = ((f + d * 0.5 + e * 0.5) + e * y).floor().to(torch.int32)
    return column[:, None], row[:, :, None]


def _nearest_map(matrices: list[Matrix], height: int, width: int, device: torch.device) -> dict[str, Tensor]:
    """Return for each matrix the flat index of the nearest pixel and whether it is inside, both ``(M, H·W)``."""
    coefficients = send(torch.tensor(matrices, dtype=torch.float64), device)
    scaling = [b == d == 0 for _, b, _, d, _, _ in matrices]
    if all(scaling):
        column, row = _scaled_places(coefficients, height, width)
    else:
        column, row = _fixed_places(coefficients, height, width)
        stepped = [flag and not _is_translation(matrix) for flag, matrix in zip(scaling, matrices, strict=True)]
        if any(stepped):
            chosen = send(torch.tensor(stepped), device).view(-1, 1, 1)
            scaled_column, scaled_row = _scaled_places(coefficients, height, width)
            column, row = torch.where(chosen, scaled_column, column), torch.where(chosen, scaled_row, row)
    # The sign bit of v | (length − 1 − v) says that v is outside.
    inside = ((column | (width - 1 - column)) | (row | (height - 1 - row))) >= 0
    index = (row * width + column) * inside
    return {"index": index.long().flatten(1), "inside": inside.flatten(1)}


def _moved_axes(matrices: list[Matrix]) -> str:
    """Say which axes need interpolation: a shear leaves the other axis on its pixel centres."""
    axes = "x" if any((a, b) != (1.0, 0.0) or c != int(c) for a, b, c, *_ in matrices) else ""
    return axes + ("y" if any((d, e) != (0.0, 1.0) or f != int(f) for *_, d, e, f in matrices) else "")


def _bilinear_map(
    matrices: list[Matrix], height: int, width: int, device: torch.device, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return for each matrix the neighbours' indices, the weights and the mask, each ``(M, H·W)``.

    The entry ``index00`` is the neighbour to the upper left, ``index01`` the one to its right; what an axis without
    interpolation would not use is left out.
    """
    coefficients = send(torch.tensor(matrices, dtype=torch.float64), device)
    a, b, c, d, e, f = coefficients[:, :, None, None].unbind(1)
    x = torch.arange(width, dtype=torch.float64, device=device) + 0.5
    y = torch.arange(height, dtype=torch.float64, device=device).unsqueeze(-1) + 0.5
    x_in, y_in = a * x + b * y + c, d * x + e * y + f
    inside = (x_in >= 0) & (x_in < width) & (y_in >= 0) & (y_in < height)
    x_in, y_in = x_in - 0.5, y_in - 0.5
    left, top = x_in.floor(), y_in.floor()
    axes = _moved_axes(matrices)
    columns = [(left + i).clamp_(0, width - 1).long() for i in ((0, 1) if "x" in axes else (0,))]
    rows = [(top + i).clamp_(0, height - 1).long() * width for i in ((0, 1) if "y" in axes else (0,))]
    maps = {f"index{i}{j}": row + column for i, row in enumerate(rows) for j, column in enumerate(columns)}
    weights = {"x": x_in - left, "y": y_in - top}
    maps |= {f"weight_{axis}": weights[axis].to(dtype) for axis in axes} | {"inside": inside}
    return {key: value.flatten(1) for key, value in maps.items()}


def _mix(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """Return ``first + (second − first)·weight`` in the weight's type, each operation rounded on its own."""
    if first.dtype == torch.uint8:
        # Converted before they are added: operations on two types at once are not vectorised.
        first = first.to(torch.int16)
        return second.to(torch.int16).sub_(first).to(weight.dtype).mul_(weight).add_(first.to(weight.dtype))
    return second.sub_(first).mul_(weight).add_(first)


def _sample(flat: Tensor, maps: dict[str, Tensor]) -> Tensor:
    """Sample uint8 ``(N, C, P)`` images at maps ``(N, 1, P)`` or ``(1, 1, P)`` of either kind."""

    def pixels(key: str) -> Tensor:
        return flat.gather(2, maps[key].expand(flat.shape))

    if "index" in maps:
        return pixels("index")
    if "weight_x" not in maps:
        value = _mix(pixels("index00"), pixels("index10"), maps["weight_y"])
    else:
        value = _mix(pixels("index00"), pixels("index01"), maps["weight_x"])
        if "weight_y" in maps:
            below = _mix(pixels("index10"), pixels("index11"), maps["weight_x"])
            value = _mix(value, below, maps["weight_y"])
    if value.dtype == torch.float32:
        # A value that is whole in float64 may come out just below it here; truncation must not lose a level.
        value.add_(1e-5)
    return truncate(value)


def _warp(images: Tensor, matrices: list[Matrix], which: list[int], interpolation: Interpolation, fill: Fill) -> Tensor:
    """Apply to image ``i`` the matrix ``matrices[which[i]]``."""
    if interpolation not in ("nearest", "bilinear", "bilinear_fast"):
        raise ValueError(f"unknown interpolation {interpolation!r}: expected nearest, bilinear or bilinear_fast")
    if not len(images):
        return images.clone()
    colour = fill_colour(fill, images)
    results = []
    for part, maps in _parts(images, matrices, which, interpolation):
        result, inside = _sample(images[part].flatten(2), maps), maps["inside"]
        results.append(result.mul_(inside) if colour is None else torch.where(inside, result, colour.flatten(2)))
    return torch.cat(results).view(images.shape)


def _parts(
    images: Tensor, matrices: list[Matrix], which: list[int], interpolation: Interpolation
) -> Iterator[tuple[slice, dict[str, Tensor]]]:
    """Yield slices of the images with their maps, ``(1, 1, P)`` for a slice that shares a matrix.

    On a CPU each run of images with one matrix shares its map, which saves spreading it, and the map is kept; a device
    is given all images at once. Matrices that hardly repeat are spread in either case.
    """
    shape = (*images.shape[2:], images.device, interpolation)
    runs = [(place, len(list(run))) for place, run in groupby(which)]
    if images.device.type == "cpu" and len(images) >= IMAGES_PER_RUN * len(runs):
        start = 0
        for place, length in runs:
            yield slice(start, start + length), _kept_maps(matrices[place], *shape)
            start += length
        return
    maps = _maps(matrices, *shape)
    chosen = send(torch.tensor(which), images.device)
    for block in blocks(images):
        yield block, {key: value.index_select(0, chosen[block]) for key, value in maps.items()}


def _maps(
    matrices: list[Matrix], height: int, width: int, device: torch.device, interpolation: Interpolation
) -> dict[str, Tensor]:
    """Return the maps of matrices ``(M, 1, P)``."""
    if interpolation == "nearest" or all(map(_is_translation, matrices)):
        maps = _nearest_map(matrices, height, width, device)
    else:
        dtype = torch.float64 if interpolation == "bilinear" else torch.float32
        maps = _bilinear_map(matrices, height, width, device, dtype)
    return {key: value[:, None] for key, value in maps.items()}


@lru_cache(maxsize=MAPS_KEPT)
def _kept_maps(
    matrix: Matrix, height: int, width: int, device: torch.device, interpolation: Interpolation
) -> dict[str, Tensor]:
    return _maps([matrix], height, width, device, interpolation)


def affine(images: Tensor, matrices: Tensor, interpolation: Interpolation = "nearest", fill: Fill = 0) -> Tensor:
    """Transform each image by its own matrix, as ``PIL.Image.transform(size, AFFINE, matrix)`` does.

    Args:
        images: uint8 ``(N, C, H, W)``, sides below 32768.
        matrices: ``(N, 6)`` floats, from output to input; taken in float64.
        interpolation: ``nearest``, ``bilinear`` (float64, equal to Pillow) or ``bilinear_fast`` (float32, one grey
            level off on fewer than one pixel in ten thousand, and at round magnitudes, where many exact values are
            whole and Pillow's may end just below them, on up to a few in a hundred).
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
