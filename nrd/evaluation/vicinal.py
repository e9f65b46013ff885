"""Vicinal predictions: what a network says of an image on average over views of it (the paper's section 3)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import cross_entropy

from nrd.augment.views import View
from nrd.randomness import generator

Predictor = Callable[[Tensor], Tensor]
BATCH = 500  # images at a time


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
def vicinal_predictions(predictor: Predictor, images: Tensor, view: View, draws: int, seed: int) -> Vicinal:
    """Average a network's predictions over drawn views of each image.

    Draw v of all images comes from the generator keyed (seed, "vicinal", v): the first draws are the same however
    many are taken, and the batch does not matter.

    Args:
        predictor: a network in evaluation mode; maps normalised images ``(B, C, H, W)`` to logits ``(B, K)``.
        images: uint8 ``(N, C, H, W)``.
        view: what is drawn; it normalises.
        draws: views per image, at least 1.
        seed: of the draws.
    """
    if draws < 1:
        raise ValueError(f"draws: expected at least 1, got {draws}")
    probabilities = logits = 0
    for number in range(draws):
        drawn = view_logits(predictor, images, view, seed, number)
        probabilities, logits = probabilities + drawn.softmax(dim=1), logits + drawn
    return Vicinal(probabilities / draws, logits / draws, draws)


@torch.no_grad()
def view_logits(predictor: Predictor, images: Tensor, view: View, seed: int, number: int) -> Tensor:
    """Return the logits ``(N, K)`` float32 on one drawn view per image; arguments as above, ``number`` is v."""
    draw = view.draw(len(images), *images.shape[-2:], generator(seed, "vicinal", number))
    parts = []
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        own = {key: value[part] for key, value in draw.items()}
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


def density_auroc(plain: ArrayLike, vicinal: ArrayLike) -> float:
    """Area under the ROC curve that separates plain from vicinal cross-entropies; 0.5: the same distribution.

    It is the probability that a plain value is larger than a vicinal one, ties counting half: above 0.5 where views
    bring the true label nearer.

    Args:
        plain: cross-entropies ``(N,)`` without views, in nats.
        vicinal: cross-entropies ``(M,)`` of vicinal predictions, in nats.
    """
    from sklearn.metrics import roc_auc_score

    plain, vicinal = np.asarray(plain, dtype=np.float64), np.asarray(vicinal, dtype=np.float64)
    origin = np.repeat([1, 0], [len(plain), len(vicinal)])
    return float(roc_auc_score(origin, np.concatenate([plain, vicinal])))
