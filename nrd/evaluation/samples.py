"""Predictions on many views of a few images: the paper's Figure 2a and Table 6."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nrd.augment.views import View
from nrd.metrics import Integers
from nrd.randomness import generator


def choose_samples(true: Integers, given: Integers, predicted: Integers, number: int, seed: int) -> NDArray[np.int64]:
    """Draw images whose given labels a network learned: clean ones, then as many mislabeled ones.

    Random, not picked: from the generator keyed (seed, "samples"), among the clean and the mislabeled images that the
    network predicts as they are labeled. There may be fewer than asked for.

    Args:
        true: classes ``(N,)``.
        given: labels ``(N,)``.
        predicted: the network's plain predictions ``(N,)``.
        number: of images of each kind.
        seed: of the draw.

    Returns:
        Their places in the data, at most ``(2 * number,)``: clean first.
    """
    order = torch.randperm(len(true), generator=generator(seed, "samples")).numpy()
    learned, clean = (predicted == given)[order], (true == given)[order]
    return np.concatenate([order[learned & clean][:number], order[learned & ~clean][:number]])


def draw_views(images: Tensor, view: View, draws: int, seed: int, stream: str) -> Tensor:
    """Return ``draws`` views of each image, normalised, ``(N, draws, C, H, W)`` float32.

    Args:
        images: uint8 ``(N, C, H, W)``.
        view: what is drawn.
        draws: views per image.
        seed: with ``stream`` the key of the generator.
        stream: name of the policy.
    """
    repeated = images.repeat_interleave(draws, dim=0)
    draw = view.draw(len(repeated), *images.shape[-2:], generator(seed, stream))
    made = view(repeated, {key: value.to(images.device) for key, value in draw.items()})
    return made.view(len(images), draws, *images.shape[1:])


@torch.no_grad()
def predict_views(predictor: Callable[[Tensor], Tensor], views: Tensor) -> Tensor:
    """Return the softmax probabilities ``(N, draws, K)`` float32 of a network in evaluation mode on drawn views."""
    parts = [predictor(one.contiguous(memory_format=torch.channels_last)).float().softmax(dim=1) for one in views]
    return torch.stack(parts)
