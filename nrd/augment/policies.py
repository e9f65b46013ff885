"""Augmentation policies: what is drawn for an image, and its application to a batch.

A policy keeps the two apart. ``draw(n, height, width, generator)`` returns CPU tensors whose first dimension is
``n``; ``apply(images, draw)`` is a function of its arguments alone. Chunks of a draw are taken with
``{name: value[i:j] for name, value in draw.items()}`` and give each image the result that the whole gives.
"""

from typing import Protocol

import torch
from torch import Tensor

from nrd.augment._augmix import AugMix, AugMixOriginal
from nrd.augment._jitter import ColorJitter, RandomErasing
from nrd.augment._operations import Draw
from nrd.augment._randaugment import AutoAugment, RandAugment

__all__ = ["AugMix", "AugMixOriginal", "AutoAugment", "ColorJitter", "Draw", "Policy", "RandAugment", "RandomErasing"]


class Policy(Protocol):
    """What every policy offers."""

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Draw:
        """Draw the parameters for ``n`` images of a size."""
        ...

    def apply(self, images: Tensor, draw: Draw) -> Tensor:
        """Apply a draw to as many images."""
        ...
