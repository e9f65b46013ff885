"""An epoch's batches: views are made on the device, for many batches at a time."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from nrd.augment.views import View
from nrd.data.device import Part
from nrd.methods.base import Batch
from nrd.randomness import generator


def make_batches(
    part: Part,
    order: Tensor,
    views: Mapping[str, View],
    counts: Mapping[str, int],
    key: tuple[int, int],
    chunk_size: int,
) -> Iterator[tuple[Batch, Tensor]]:
    """Yield ``(Batch, true labels)`` for each step of an epoch.

    What is drawn for a sample depends on the key, the role, the view's number and the sample's place in the epoch,
    never on the chunks.

    Args:
        part: the training part.
        order: samples of each step, ``(steps, batch_size)`` int64.
        views: view of each role.
        counts: how many views of each role a step wants.
        key: (seed, epoch).
        chunk_size: images augmented at a time, rounded down to whole batches.
    """
    steps, batch_size = order.shape
    height, width = part.images.shape[-2:]
    draws = {
        role: [views[role].draw(order.numel(), height, width, generator(*key, role, index)) for index in range(count)]
        for role, count in counts.items()
    }
    order = order.to(part.images.device)
    chunk_steps = max(1, chunk_size // batch_size)
    for first in range(0, steps, chunk_steps):
        last = min(first + chunk_steps, steps)
        span = slice(first * batch_size, last * batch_size)
        images = part.images[order[first:last].reshape(-1)]
        made = {role: [_make(views[role], images, draw, span) for draw in of_role] for role, of_role in draws.items()}
        for step in range(last - first):
            rows = slice(step * batch_size, (step + 1) * batch_size)
            indices = order[first + step]
            of_step = {role: [view[rows] for view in of_role] for role, of_role in made.items()}
            yield Batch(of_step, part.given[indices], indices), part.true[indices]


def _make(view: View, images: Tensor, draw: dict[str, Tensor], span: slice) -> Tensor:
    made = view(images, {name: values[span] for name, values in draw.items()})
    return made.contiguous(memory_format=torch.channels_last)
