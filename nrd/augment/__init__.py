"""Batched augmentation: uint8 images in, normalised tensors out, every random choice made per image.

>>> from nrd.augment import create_view
>>> view = create_view("augmix", mean=(0.5,), std=(0.25,), padding=1, flip=False)
"""

from nrd.augment import functional
from nrd.augment.policies import AugMix, AugMixOriginal, AutoAugment, ColorJitter, RandAugment, RandomErasing
from nrd.augment.views import VIEWS, View, create_view

__all__ = [
    "VIEWS",
    "AugMix",
    "AugMixOriginal",
    "AutoAugment",
    "ColorJitter",
    "RandAugment",
    "RandomErasing",
    "View",
    "create_view",
    "functional",
]
