"""Operations by name, applied to the images of a batch that drew them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nrd.augment import functional as F
from nrd.augment._geometric import Interpolation
from nrd.augment._tensors import Fill

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

    def apply_(self, images: Tensor, operation: Tensor, magnitude: Tensor, place: Tensor | None = None) -> Tensor:
        """Replace each image by the result of its own operation, in place.

        Args:
            images: uint8 ``(N, C, H, W)``.
            operation: ``(N,)`` numbers of operations on the CPU; -1 leaves an image alone.
            magnitude: ``(N,)`` float64 on the CPU, the arguments of the operations.
            place: ``(N, 2)`` floats on the CPU for the extra operations.

        Returns:
            The images.
        """
        # The groups' sizes are known on the host, so a device is never waited for.
        order = operation.argsort(stable=True)
        sizes = torch.bincount(operation + 1, minlength=len(self.names) + 1).tolist()
        groups = order.split(sizes)[1:]
        for name, group in zip(self.names, groups, strict=True):
            if not len(group) or name == "identity":
                continue
            rows = group.to(images.device, non_blocking=True)
            chosen = images.index_select(0, rows)
            result = self._apply_one(name, chosen, magnitude[group], None if place is None else place[group])
            images.index_copy_(0, rows, result)
        return images

    def _apply_one(self, name: str, images: Tensor, magnitude: Tensor, place: Tensor | None) -> Tensor:
        if self.extra and name in self.extra:
            return self.extra[name](images, magnitude, place)
        if name in GEOMETRIC:
            return GEOMETRIC[name](images, magnitude, self.interpolation, self.fill)
        return POINTWISE[name](images, magnitude)
