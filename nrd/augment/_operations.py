"""Operations by name, applied to the images of a batch that drew them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nrd.augment import functional as F
from nrd.augment._geometric import Interpolation
from nrd.augment._tensors import Fill, blocks

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
        """Apply to each image its own operation.

        Args:
            images: uint8 ``(N, C, H, W)``.
            operation: ``(N,)`` numbers of operations on the CPU; -1 leaves an image alone.
            magnitude: ``(N,)`` float64 on the CPU, the arguments of the operations.
            place: ``(N, 2)`` floats on the CPU for the extra operations.

        Returns:
            uint8 ``(N, C, H, W)``, in the order of the images.
        """
        if not len(images):
            return images
        # Sorted by operation, then magnitude: images that share a geometric map lie side by side. All sizes are
        # known on the host, so a device is never waited for.
        order = magnitude.argsort(stable=True)
        order = order[operation[order].argsort(stable=True)]
        sizes = torch.bincount(operation + 1, minlength=len(self.names) + 1).tolist()
        magnitude, place = magnitude[order], None if place is None else place[order]
        images = images.index_select(0, order.to(images.device, non_blocking=True))
        results, start = [], 0
        for name, size in zip(("identity", *self.names), sizes, strict=True):
            results += self._apply_one(name, images, magnitude, place, slice(start, start + size))
            start += size
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order))
        return torch.cat(results).index_select(0, back.to(images.device, non_blocking=True))

    def _apply_one(
        self, name: str, images: Tensor, magnitude: Tensor, place: Tensor | None, part: slice
    ) -> Iterator[Tensor]:
        images, magnitude = images[part], magnitude[part]
        if name == "identity":
            yield images
            return
        if name in GEOMETRIC:
            yield GEOMETRIC[name](images, magnitude, self.interpolation, self.fill)
            return
        for block in blocks(images):
            if self.extra and name in self.extra:
                yield self.extra[name](images[block], magnitude[block], place[part][block])
            else:
                yield POINTWISE[name](images[block], magnitude[block])
