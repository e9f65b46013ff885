"""Image operations on uint8 batches ``(N, C, H, W)`` with one magnitude per image, equal to Pillow's.

Every operation takes one or three channels and works on CPU and CUDA; an image's result does not depend on the
others in its batch. Magnitudes are tensors ``(N,)`` or one number for all images.
"""

from nrd.augment._framing import crop, crop_and_flip, cutout, erase, flip
from nrd.augment._geometric import affine, rotate, shear_x, shear_y, translate_x, translate_y
from nrd.augment._photometric import (
    apply_table,
    autocontrast,
    brightness,
    color,
    contrast,
    equalize,
    grayscale,
    invert,
    posterize,
    sharpness,
    solarize,
    solarize_add,
)

__all__ = [
    "affine",
    "apply_table",
    "autocontrast",
    "brightness",
    "color",
    "contrast",
    "crop",
    "crop_and_flip",
    "cutout",
    "equalize",
    "erase",
    "flip",
    "grayscale",
    "invert",
    "posterize",
    "rotate",
    "sharpness",
    "shear_x",
    "shear_y",
    "solarize",
    "solarize_add",
    "translate_x",
    "translate_y",
]
