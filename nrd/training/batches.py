"""An epoch's batches: views are made on the device, for many batches at a time."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from nrd.augment.views import View
from nrd.data.device import Part
from nrd.methods.base import Batch
from nrd.randomness import generator

# Images augmented at a time. A CPU is fastest while they fit its caches; a GPU wants few, large launches.
CHUNK_SIZES = {"cpu": 1024, "cuda": 8192}


def chunk_size_for(device: torch.device, wanted: int = 0) -> int:
    """Return how many images to augment at a time: as wanted, or what suits the device."""
    return wanted or CHUNK_SIZES.get(device.type, 1024)


# For each role, the parameters of each of its views, for all images of an epoch.
Draws = dict[str, list[dict[str, Tensor]]]


def draw_views(
    views: Mapping[str, View], counts: Mapping[str, int], number: int, size: tuple[int, int], key: tuple[int, int]
) -> Draws:
    """Draw all views of an epoch: a pure function of its arguments.

    Args:
        views: view of each role.
        counts: how many views of each role a step wants.
        number: of images in the epoch.
        size: height and width of an image.
        key: (seed, epoch).
    """
    return {
        role: [views[role].draw(number, *size, generator(*key, role, index)) for index in range(count)]
        for role, count in counts.items()
    }


class DrawAhead:
    """Draws the next epoch's views on the host while the device trains this one. Changes no result.

    Args:
        views: view of each role.
        counts: how many views of each role a step wants.
        seed: of the run.
        epochs: of the run; nothing is drawn for those after the last.
    """

    def __init__(self, views: Mapping[str, View], counts: Mapping[str, int], seed: int, epochs: int) -> None:
        self.views, self.counts, self.seed, self.epochs = views, counts, seed, epochs
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="draws")
        self.ahead: tuple[tuple, Future] | None = None

    def __call__(self, number: int, size: tuple[int, int], epoch: int) -> Draws:
        """Return an epoch's draws, and start on the next one's."""
        wanted = (number, size, (self.seed, epoch))
        if self.ahead is not None and self.ahead[0] == wanted:
            draws = self.ahead[1].result()
        else:
            draws = draw_views(self.views, self.counts, *wanted)
        self.ahead = None
        if epoch + 1 < self.epochs:
            following = (number, size, (self.seed, epoch + 1))
            self.ahead = following, self.pool.submit(draw_views, self.views, self.counts, *following)
        return draws


def make_batches(
    part: Part,
    order: Tensor,
    views: Mapping[str, View],
    counts: Mapping[str, int],
    key: tuple[int, int],
    chunk_size: int,
    draws: Draws | None = None,
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
        draws: made beforehand with the same key; None draws here.
    """
    steps, batch_size = order.shape
    if draws is None:
        draws = draw_views(views, counts, order.numel(), part.images.shape[-2:], key)
    order = order.to(part.images.device)
    given, true = part.given[order], part.true[order]
    chunk_steps = max(1, chunk_size // batch_size)
    for first in range(0, steps, chunk_steps):
        last = min(first + chunk_steps, steps)
        span = slice(first * batch_size, last * batch_size)
        images = part.images[order[first:last].reshape(-1)]
        made = {
            role: [_make(views[role], images, draw, span).split(batch_size) for draw in of_role]
            for role, of_role in draws.items()
        }
        for step in range(first, last):
            of_step = {role: [view[step - first] for view in of_role] for role, of_role in made.items()}
            yield Batch(of_step, given[step], order[step]), true[step]


def _make(view: View, images: Tensor, draw: dict[str, Tensor], span: slice) -> Tensor:
    made = view(images, {name: values[span] for name, values in draw.items()})
    return made.contiguous(memory_format=torch.channels_last)
