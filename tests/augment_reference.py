"""Images to compare on, and the operations as Pillow and torchvision do them, one image at a time."""

import functools
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageOps
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F
from torchvision.transforms.autoaugment import _apply_op

RESAMPLE = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR}
MODE = {"nearest": InterpolationMode.NEAREST, "bilinear": InterpolationMode.BILINEAR}
BATCHES = ("cifar", "digits", "colour", "flat")


@functools.cache
def cifar_images():
    """Return the first 1000 CIFAR-10 images, or None where the dataset is not there."""
    path = Path(os.environ.get("NRD_DATA", "data")) / "cifar-10-batches-py" / "data_batch_1"
    if not path.is_file():
        return None
    with path.open("rb") as file:
        pixels = pickle.load(file, encoding="bytes")[b"data"][:1000]
    return torch.from_numpy(pixels.copy()).view(-1, 3, 32, 32)


@functools.cache
def digit_images():
    """Return 300 of scikit-learn's digits: uint8 ``(300, 1, 8, 8)``."""
    datasets = pytest.importorskip("sklearn.datasets")
    pixels = datasets.load_digits().images[:300] * (255 / 16)
    return torch.from_numpy(pixels.astype(np.uint8)).unsqueeze(1)


@functools.cache
def colour_images(number=200, height=40, width=24):
    """Return smooth random colour images with noise, of every contrast."""
    random = np.random.default_rng(5)
    images = []
    for _ in range(number):
        coarse = random.integers(0, 256, (5, 4, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), dtype=float)
        noisy = smooth * random.uniform(0.1, 1) + random.uniform(0, 60) + random.normal(0, 8, smooth.shape)
        images.append(noisy.clip(0, 255).astype(np.uint8))
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


@functools.cache
def flat_images():
    """Return images that are constant, two-valued or noise: where histograms degenerate."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(256, (60, 3, 16, 16), dtype=torch.uint8, generator=generator)
    images[:20] = images[:20, :, :1, :1]
    images[20:40] = torch.where(images[20:40] < 128, images[20:40, :, :1, :1], images[20:40, :, 1:2, 1:2])
    return images


def batch(name):
    """Return a batch of images by name; skips the test where it is CIFAR-10 and that is not there."""
    images = {"cifar": cifar_images, "digits": digit_images, "colour": colour_images, "flat": flat_images}[name]()
    if images is None:
        pytest.skip("CIFAR-10 is not in NRD_DATA")
    return images


def real_images():
    """Return CIFAR-10 images where they are, otherwise random ones of another size."""
    images = cifar_images()
    return colour_images() if images is None else images


def to_pil(image):
    """Return one ``(C, H, W)`` image as Pillow's."""
    if image.shape[0] == 1:
        return Image.fromarray(image[0].numpy())
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def from_pil(image):
    """Return a Pillow image as ``(C, H, W)``."""
    array = np.array(image)
    return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1).copy())


def transform(image, matrix, interpolation="nearest", fill=0):
    """Apply an affine matrix as Pillow does."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix, RESAMPLE[interpolation], fillcolor=fill)


def solarize_add(image, addition, threshold=128):
    """Add, clip, truncate and solarize, as ildoonet's RandAugment does in numpy."""
    added = (np.array(image).astype(int) + addition).clip(0, 255).astype(np.uint8)
    return ImageOps.solarize(Image.fromarray(added), threshold)


def draw_rectangle(image, corners, colour):
    """Return a copy with a filled rectangle, both corners included."""
    image = image.copy()
    ImageDraw.Draw(image).rectangle(corners, colour)
    return image


POINTWISE = {
    "autocontrast": lambda image, _: F.autocontrast(image),
    "brightness": F.adjust_brightness,
    "color": F.adjust_saturation,
    "contrast": F.adjust_contrast,
    "equalize": lambda image, _: F.equalize(image),
    "identity": lambda image, _: image,
    "invert": lambda image, _: F.invert(image),
    "posterize": lambda image, bits: F.posterize(image, int(bits)),
    "sharpness": F.adjust_sharpness,
    "solarize": F.solarize,
    "solarize_add": solarize_add,
}


def geometric(name, image, value, interpolation="nearest", fill=0):
    """Apply one of the five geometric operations to a Pillow image."""
    if name == "rotate":
        return F.rotate(image, value, interpolation=MODE[interpolation], fill=fill)
    matrix = {
        "shear_x": (1, value, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, value, 1, 0),
        "translate_x": (1, 0, -value, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, -value),
    }[name]
    return transform(image, matrix, interpolation, fill)


def operation(name, image, value, interpolation="nearest", fill=0):
    """Apply any operation to a Pillow image."""
    if name in POINTWISE:
        return POINTWISE[name](image, value)
    return geometric(name, image, value, interpolation, fill)


def map_images(function, images, *arguments):
    """Apply a function of a Pillow image and of one entry of each argument to every image."""
    rows = zip(images, *arguments, strict=True)
    return torch.stack([from_pil(function(to_pil(image), *rest)) for image, *rest in rows])


TORCHVISION_NAMES = {
    "autocontrast": "AutoContrast",
    "brightness": "Brightness",
    "color": "Color",
    "contrast": "Contrast",
    "equalize": "Equalize",
    "identity": "Identity",
    "invert": "Invert",
    "posterize": "Posterize",
    "rotate": "Rotate",
    "sharpness": "Sharpness",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "solarize": "Solarize",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
}
ENHANCEMENTS = ("brightness", "color", "contrast", "sharpness")


def torchvision_level(name, argument, space):
    """Return the signed level in torchvision's table that an argument comes from.

    ``space`` is what its ``_augmentation_space`` returns. Levels are float32 numbers widened to float64, shears
    go through an angle, translations are cut to whole pixels and enhancements count from 1.
    """
    levels, signed = space[TORCHVISION_NAMES[name]]
    if levels.ndim == 0:
        assert argument == 0
        return 0.0
    candidates = [sign * float(level) for level in levels for sign in ((1.0, -1.0) if signed else (1.0,))]
    meaning = {"translate_x": int, "translate_y": int, **dict.fromkeys(ENHANCEMENTS, lambda level: 1.0 + level)}
    convert = meaning.get(name, float)
    level = min(candidates, key=lambda candidate: abs(convert(candidate) - argument))
    assert abs(convert(level) - argument) < 1e-12
    return level


def torchvision_operation(name, image, argument, space, interpolation="nearest"):
    """Apply an operation with torchvision's own function for its policies, on a Pillow image."""
    level = torchvision_level(name, argument, space)
    return _apply_op(image, TORCHVISION_NAMES[name], level, MODE[interpolation], None)


def sequence(image, names, operations, arguments, apply):
    """Apply operations by number one after the other; -1 is none."""
    for number, argument in zip(operations, arguments, strict=True):
        if number >= 0:
            image = apply(names[number], image, argument)
    return image


def ildoonet_cutout(image, size, place):
    """Draw ildoonet's CutoutAbs, whose ``numpy.random.uniform(w)`` lies between 1 and w."""
    width, height = image.size
    y, x = (length + (1 - length) * share for length, share in zip((height, width), place, strict=True))
    x0, y0 = int(max(0, x - size / 2.0)), int(max(0, y - size / 2.0))
    x1, y1 = min(width, x0 + size), min(height, y0 + size)
    # On grey images the colour is its luma, as Pillow converts it.
    colour = (
        (125, 123, 114)
        if image.mode == "RGB"
        else Image.new("RGB", (1, 1), (125, 123, 114)).convert("L").getpixel((0, 0))
    )
    return draw_rectangle(image, (x0, y0, x1, y1), colour)


def ildoonet_randaugment(image, names, operations, arguments, places):
    """Apply ildoonet's operations to a Pillow image."""
    for number, argument, place in zip(operations, arguments, places, strict=True):
        name = names[number]
        image = ildoonet_cutout(image, argument, place) if name == "cutout" else operation(name, image, argument)
    return image


def mixture(image, names, operations, arguments, weights, apply):
    """Mix an image with its chains in float32, as torchvision's AugMix does: ``(C, H, W)`` grey levels."""
    mixed = weights[0] * from_pil(image)
    for chain, values, weight in zip(operations, arguments, weights[1:], strict=True):
        mixed.add_(weight * from_pil(sequence(image, names, chain, values, apply)))
    return mixed
