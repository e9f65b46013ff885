"""Operations by name, applied to the images of a batch that drew them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nrd.augment import functional as F
from nrd.augment._geometric import Interpolation
from nrd.augment._tensors import Fill, blocks, send

Draw = dict[str, Tensor]
NO_OPERATION = -1

POINTWISE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "autocontrast": lambda images, magnitude: F.autocontrast(images),
    "brightness": F.brightness,
    "color": F.color,
    "contrast": F.contrast,
    "equalize": lambda images, magnitude: F.equalize(images),
    "identity": lambda images, magnitude: images,
    "invert": lambda images, magnitude: F.invert(images),
    "posterize": F.posterize,
    "sharpness": F.sharpness,
    "solarize": F.solarize,
    "solarize_add": F.solarize_add,
}
GEOMETRIC: dict[str, Callable[[Tensor, Tensor, Interpolation, Fill], Tensor]] = {
    "rotate": F.rotate,
    "shear_x": F.shear_x,
    "shear_y": F.shear_y,
    "translate_x": F.translate_x,
    "translate_y": F.translate_y,
}
# With this argument an operation changes no pixel. A third of AugMix's operations are drawn so.
NEUTRAL = {**dict.fromkeys(GEOMETRIC, 0.0), "brightness": 1.0, "color": 1.0, "contrast": 1.0, "sharpness": 1.0}


@dataclass(frozen=True)
class Operations:
    """A policy's list of operations and how it samples.

    Attributes:
        names: the operations in the order in which a draw numbers them.
        interpolation: of the geometric ones, see :func:`nrd.augment.functional.affine`.
        fill: grey level or colour where a geometric operation finds no pixel.
        extra: operations of the policy's own, each given the images, magnitudes and ``(G, 2)`` places in [0, 1).
    """

    names: Sequence[str]
    interpolation: Interpolation = "nearest"
    fill: Fill = 0
    extra: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] | None = None

    def apply(self, images: Tensor, operation: Tensor, magnitude: Tensor, place: Tensor | None = None) -> Tensor:
        """Apply to each image its own operations, one after the other.

        Args:
            images: uint8 ``(N, C, H, W)``.
            operation: ``(N, steps)`` numbers of operations on the CPU; -1 leaves an image alone.
            magnitude: ``(N, steps)`` float64 on the CPU, the arguments of the operations.
            place: ``(N, steps, 2)`` floats on the CPU for the extra operations.

        Returns:
            uint8 ``(N, C, H, W)``, in the order of the images; they are not changed themselves.
        """
        pool, last = self.run(images, torch.arange(len(images)), operation, magnitude, place)
        return pool.index_select(0, send(last, images.device))

    def run(
        self, images: Tensor, start: Tensor, operation: Tensor, magnitude: Tensor, place: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Apply chains of operations, and leave the results where they were made.

        Args:
            images: uint8 ``(N, C, H, W)``.
            start: ``(M,)`` int64 on the CPU: the image that each chain begins with.
            operation: ``(M, steps)``, as for :meth:`apply`.
            magnitude: the same.
            place: ``(M, steps, 2)``.

        Returns:
            A pool of images uint8 ``(N + R, C, H, W)``, the given ones and all R results, and ``(M,)`` int64 on the
            CPU: where in it each chain's last image lies.
        """
        chain, groups = self._plan(operation, magnitude)
        source, last = _places(len(images), start, chain, groups)
        pool = torch.empty(len(images) + len(chain), *images.shape[1:], dtype=torch.uint8, device=images.device)
        pool[: len(images)] = images
        results = pool[len(images) :]
        source = send(source, images.device)
        for step, name, part in groups:
            values = magnitude[chain[part], step]
            places = None if place is None else place[chain[part], step]
            for block in blocks(results[part]):
                chosen = pool.index_select(0, source[part][block])
                # What the operation makes goes to its own place: a chain's next one fetches it from there.
                results[part][block] = self._one(name, chosen, values[block], None if places is None else places[block])
        return pool, last

    def _one(self, name: str, images: Tensor, magnitude: Tensor, place: Tensor | None) -> Tensor:
        if name in GEOMETRIC:
            return GEOMETRIC[name](images, magnitude, self.interpolation, self.fill)
        if self.extra and name in self.extra:
            return self.extra[name](images, magnitude, place)
        return POINTWISE[name](images, magnitude)

    def _plan(self, operation: Tensor, magnitude: Tensor) -> tuple[Tensor, list[tuple[int, str, slice]]]:
        """Leave out what changes nothing, and sort the rest by step, operation and magnitude.

        Images that share a geometric map then lie side by side. All sizes are known on the host, so that a device is
        never waited for.

        Returns:
            The chain of each result, and the step, name and slice of each group of results.
        """
        neutral = torch.tensor([NEUTRAL.get(name, math.nan) for name in self.names], dtype=torch.float64)
        idle = torch.tensor([name == "identity" for name in self.names])
        active = (operation != NO_OPERATION) & ~idle[operation] & (magnitude != neutral[operation])
        chain, step = active.nonzero().unbind(1)
        chosen = magnitude[chain, step].argsort(stable=True)
        group = (step * len(self.names) + operation[chain, step])[chosen]
        order = group.argsort(stable=True)
        sizes = torch.bincount(group, minlength=operation.shape[1] * len(self.names)).tolist()
        groups, begin = [], 0
        for number, size in enumerate(sizes):
            if size:
                step_number, name = divmod(number, len(self.names))
                groups.append((step_number, self.names[name], slice(begin, begin + size)))
                begin += size
        return chain[chosen[order]], groups


def _places(number: int, start: Tensor, chain: Tensor, groups: list[tuple[int, str, slice]]) -> tuple[Tensor, Tensor]:
    """Return which image of the pool each result is made from, and where each chain ends."""
    last, source = start.clone(), torch.empty_like(chain)
    for _, _, part in groups:
        of_group = chain[part]
        source[part] = last[of_group]
        last[of_group] = torch.arange(number + part.start, number + part.stop)
    return source, last
