"""Vicinal predictions: what a network says of an image on average over views of it (the paper's section 3)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from nrd.augment.views import View
from nrd.randomness import generator

Predictor = Callable[[Tensor], Tensor]
BATCH = 500  # images at a time
SMALLEST = 2.0**-149  # the smallest positive float32


@dataclass(frozen=True)
class Vicinal:
    """Predictions averaged over views; the paper says predictions, its authors' working code averages logits.

    Attributes:
        probabilities: mean of the views' softmax probabilities, ``(N, K)`` float32.
        logits: mean of the views' logits, ``(N, K)`` float32.
        draws: number of views per image.
    """

    probabilities: Tensor
    logits: Tensor
    draws: int


@torch.no_grad()
def vicinal_predictions(
    predictor: Predictor,
    images: Tensor,
    view: View,
    draws: int,
    seed: int,
    drawn_one: Callable[[], None] = lambda: None,
) -> Vicinal:
    """Average a network's predictions over drawn views of each image.

    Draw v of all images comes from the generator keyed (seed, "vicinal", v): the first draws are the same however
    many are taken, and the batch does not matter.

    Args:
        predictor: a network in evaluation mode; maps normalised images ``(B, C, H, W)`` to logits ``(B, K)``.
        images: uint8 ``(N, C, H, W)``.
        view: what is drawn; it normalises.
        draws: views per image, at least 1.
        seed: of the draws.
        drawn_one: called after each draw of all images, to show progress.
    """
    if draws < 1:
        raise ValueError(f"draws: expected at least 1, got {draws}")
    probabilities = logits = 0
    for number in range(draws):
        drawn = view_logits(predictor, images, view, seed, number)
        probabilities, logits = probabilities + drawn.softmax(dim=1), logits + drawn
        drawn_one()
    return Vicinal(probabilities / draws, logits / draws, draws)


@torch.no_grad()
def view_logits(predictor: Predictor, images: Tensor, view: View, seed: int, number: int) -> Tensor:
    """Return the logits ``(N, K)`` float32 on one drawn view per image; arguments as above, ``number`` is v."""
    draw = view.draw(len(images), *images.shape[-2:], generator(seed, "vicinal", number))
    parts = []
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        own = {key: value[part].to(images.device) for key, value in draw.items()}
        batch = view(images[part], own).contiguous(memory_format=torch.channels_last)
        parts.append(predictor(batch).float())
    return torch.cat(parts)


def true_label_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each sample with respect to its true label, ``(N,)`` float64, in nats.

    Taken from logits by log-softmax: a memorised wrong label reaches 30 nats, where a float32 probability is lost.

    Args:
        logits: ``(N, K)``.
        labels: true labels ``(N,)``.
    """
    return cross_entropy(logits.double(), labels, reduction="none")


def vicinal_losses(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of mean probabilities ``(N, K)`` with respect to the true labels, ``(N,)`` float64, in nats.

    A probability that float32 cannot hold counts as the smallest that it can (103 nats).
    """
    chosen = probabilities.double().gather(1, labels[:, None])[:, 0]
    return -chosen.clamp_min(SMALLEST).log()
