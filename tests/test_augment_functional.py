"""Every operation against Pillow, pixel by pixel, with a magnitude of its own for every image."""

import functools
import math

import pytest
import torch
from torchvision.transforms import functional as TF

from nrd.augment import functional as F
from tests.augment_reference import (
    BATCHES,
    batch,
    draw_rectangle,
    geometric,
    map_images,
    operation,
    real_images,
    transform,
)

GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
RANGES = {
    "brightness": (0.0, 3.0),
    "color": (0.0, 3.0),
    "contrast": (0.0, 3.0),
    "sharpness": (0.0, 3.0),
    "posterize": (1, 9),
    "solarize": (0.0, 256.0),
    "solarize_add": (0.0, 110.0),
    "rotate": (-180.0, 180.0),
    "shear_x": (-1.0, 1.0),
    "shear_y": (-1.0, 1.0),
    "translate_x": (-12.0, 12.0),
    "translate_y": (-12.0, 12.0),
}


def random_magnitudes(name, number, seed=0):
    generator = torch.Generator().manual_seed(seed)
    low, high = RANGES[name]
    values = torch.rand(number, dtype=torch.float64, generator=generator) * (high - low) + low
    return values.floor() if name == "posterize" else values


@pytest.mark.parametrize("images", BATCHES)
@pytest.mark.parametrize("name", ["brightness", "color", "contrast", "sharpness", "posterize", "solarize"])
def test_photometric_operation_equals_pil(name, images):
    images = batch(images)
    values = random_magnitudes(name, len(images))
    expected = map_images(lambda image, value: operation(name, image, value), images, values.tolist())
    assert torch.equal(getattr(F, name)(images, values), expected)


@pytest.mark.parametrize("images", BATCHES)
@pytest.mark.parametrize("name", ["autocontrast", "equalize", "invert"])
def test_operation_without_magnitude_equals_pil(name, images):
    images = batch(images)
    expected = map_images(lambda image: operation(name, image, None), images)
    assert torch.equal(getattr(F, name)(images), expected)


def test_solarize_add_equals_its_definition():
    images = real_images()
    values = random_magnitudes("solarize_add", len(images))
    expected = map_images(lambda image, value: operation("solarize_add", image, value), images, values.tolist())
    assert torch.equal(F.solarize_add(images, values), expected)


@pytest.mark.parametrize("factor", [0.0, 0.28, 0.73, 1.0, 1.27, 1.9])
@pytest.mark.parametrize("name", ["brightness", "color", "contrast", "sharpness"])
def test_policy_factors_equal_pil(name, factor):
    images = real_images()[:300]
    expected = map_images(lambda image: operation(name, image, factor), images)
    assert torch.equal(getattr(F, name)(images, factor), expected)


def test_posterize_to_no_bits_is_black():
    assert not F.posterize(real_images()[:5], 0).any()


def test_solarize_at_whole_thresholds():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(3, -1, -1, -1)
    thresholds = [0.0, 128.0, 256.0]
    expected = map_images(lambda image, value: operation("solarize", image, value), images, thresholds)
    assert torch.equal(F.solarize(images, torch.tensor(thresholds)), expected)


@pytest.mark.parametrize("images", BATCHES)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("name", GEOMETRIC)
def test_geometric_operation_equals_pil(name, interpolation, images):
    images = batch(images)
    values = random_magnitudes(name, len(images))
    expected = map_images(lambda image, value: geometric(name, image, value, interpolation), images, values.tolist())
    assert torch.equal(getattr(F, name)(images, values, interpolation), expected)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("name", GEOMETRIC)
def test_geometric_operation_at_round_values(name, interpolation):
    """Zero, quarter turns, whole pixels and tenths: where a rounding rule shows on a whole row of pixels."""
    scale = {"rotate": 15.0, "shear_x": 0.02, "shear_y": 0.02}.get(name, 0.5)
    values = [step * scale for step in range(-25, 26)]
    images = real_images()[: len(values)]
    expected = map_images(lambda image, value: geometric(name, image, value, interpolation), images, values)
    result = getattr(F, name)(images, torch.tensor(values, dtype=torch.float64), interpolation)
    assert torch.equal(result, expected)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("fill", [77, (125, 123, 114)])
def test_fill_equals_pil(fill, interpolation):
    images = real_images()[:200]
    values = random_magnitudes("rotate", len(images))
    colour = (fill,) * 3 if isinstance(fill, int) else fill
    expected = map_images(
        lambda image, value: geometric("rotate", image, value, interpolation, colour), images, values.tolist()
    )
    assert torch.equal(F.rotate(images, values, interpolation, fill), expected)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_general_affine_equals_pil(interpolation):
    images = real_images()
    random = torch.randn(len(images), 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    matrices = random * torch.tensor([0.3, 0.3, 8, 0.3, 0.3, 8]) + torch.tensor([1.0, 0, 0, 0, 1, 0])
    matrices[::3, 1] = matrices[::3, 3] = 0  # pure scalings take another way through Pillow
    expected = map_images(lambda image, matrix: transform(image, matrix, interpolation), images, matrices.tolist())
    assert torch.equal(F.affine(images, matrices, interpolation), expected)


@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y"])
def test_fast_bilinear_is_within_a_level_on_one_pixel_in_ten_thousand(name):
    images = real_images()
    values = random_magnitudes(name, len(images))
    expected = map_images(lambda image, value: geometric(name, image, value, "bilinear"), images, values.tolist())
    difference = (getattr(F, name)(images, values, "bilinear_fast").int() - expected.int()).abs()
    assert difference.max() <= 1
    assert difference.count_nonzero() <= 1e-4 * difference.numel()


@pytest.mark.parametrize("value", [0.05, 0.1, 0.2, 0.3, 0.5, 1.5, 9.9, 30.0])
@pytest.mark.parametrize("name", GEOMETRIC)
def test_fast_bilinear_is_within_a_level_at_round_magnitudes(name, value):
    """There it is off more often: many exact values are whole, and Pillow's may end just below them."""
    for images in (real_images()[:200], batch("colour")[:, :, :33, :17], batch("flat")):
        exact, fast = (getattr(F, name)(images, value, mode).int() for mode in ("bilinear", "bilinear_fast"))
        assert (fast - exact).abs().max() <= 1
        assert (fast != exact).double().mean() <= 0.05


def test_how_images_lie_in_memory_changes_nothing():
    """Transposed, channels last, every second column, and expanded: each operation gives what it gives for a copy."""
    images = real_images()[:20]
    inputs = (images.transpose(2, 3), images.to(memory_format=torch.channels_last), images[..., ::2], images.flip(3))
    inputs += (images.transpose(0, 1).contiguous().transpose(0, 1), images[:1].expand(20, -1, -1, -1))
    half = torch.full((20,), 5)
    framed = {
        "crop": lambda images: F.crop(images, half, half),
        "crop_and_flip": lambda images: F.crop_and_flip(images, half, half, half > 0),
        "cutout": lambda images: F.cutout(images, half, half, 4),
        "erase": lambda images: F.erase(images, half, half, half, half, (1, 2, 3)),
        "flip": lambda images: F.flip(images, half > 0),
        "apply_table": lambda images: F.apply_table(images, torch.arange(255, -1, -1).expand(20, 1, 256)),
        "grayscale": F.grayscale,
    }
    for name in F.__all__:
        function = framed.get(name) or functools.partial(call, name)
        for lying in inputs:
            copy = lying.contiguous().clone()
            assert torch.equal(function(lying), function(copy)), (name, lying.stride())
            assert torch.equal(lying, copy), "the input is not changed"


def call(name, images):
    """Call an operation with magnitudes of its own for each image."""
    function = getattr(F, name)
    if name in ("autocontrast", "equalize", "invert"):
        return function(images)
    if name == "affine":
        return function(images, torch.tensor([[0.9, 0.2, 1.0, -0.1, 1.1, 0.0]]).expand(len(images), -1), "bilinear")
    return function(images, random_magnitudes(name, len(images)))


@pytest.mark.parametrize("images", ["digits", "colour"])
@pytest.mark.parametrize("fill", [0, 9])
@pytest.mark.parametrize("padding", [1, 4])
def test_crop_and_flip_equal_torchvision(padding, fill, images):
    images = batch(images)
    height, width = images.shape[-2:]
    generator = torch.Generator().manual_seed(0)
    top, left = (torch.randint(2 * padding + 1, (len(images),), generator=generator) for _ in range(2))
    flipped = torch.randint(2, (len(images),), generator=generator).bool()

    def reference(image, top, left, flipped):
        window = TF.crop(TF.pad(image, padding, fill), top, left, height, width)
        return TF.hflip(window) if flipped else window

    expected = map_images(reference, images, top.tolist(), left.tolist(), flipped.tolist())
    assert torch.equal(F.crop_and_flip(images, top, left, flipped, padding, fill), expected)
    assert torch.equal(F.flip(F.crop(images, top, left, padding, fill), flipped), expected)


@pytest.mark.parametrize("size", [1, 4, 5, 16])
def test_cutout_clears_a_clipped_square(size):
    images = real_images()[:100].clamp(min=1)
    height, width = images.shape[-2:]
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(height, (len(images),), generator=generator)
    x = torch.randint(width, (len(images),), generator=generator)
    result = F.cutout(images, y, x, size)
    for before, after, row, column in zip(images, result, y.tolist(), x.tolist(), strict=True):
        expected = before.clone()
        expected[
            :, max(0, row - size // 2) : row - size // 2 + size, max(0, column - size // 2) : column - size // 2 + size
        ] = 0
        assert torch.equal(after, expected)


def test_erase_equals_pil_rectangle():
    images = batch("colour")
    generator = torch.Generator().manual_seed(0)
    top, left = (torch.randint(30, (len(images),), generator=generator) for _ in range(2))
    height, width = (torch.randint(1, 20, (len(images),), generator=generator) for _ in range(2))

    def reference(image, top, left, height, width):
        return draw_rectangle(image, (left, top, left + width - 1, top + height - 1), (125, 123, 114))

    expected = map_images(reference, images, *(value.tolist() for value in (top, left, height, width)))
    assert torch.equal(F.erase(images, top, left, height, width, (125, 123, 114)), expected)


def test_erase_leaves_floats_alone_outside():
    images = torch.rand(4, 3, 16, 16)
    four = torch.full((4,), 4)
    result = F.erase(images, four, four, four, four, 0.5)
    expected = images.clone()
    expected[:, :, 4:8, 4:8] = 0.5
    assert torch.equal(result, expected)
    assert torch.equal(F.erase(images, four, four, 0 * four, four), images)


def test_empty_batches_pass_through():
    nothing = torch.zeros(0, 3, 32, 32, dtype=torch.uint8)
    none = torch.zeros(0, dtype=torch.float64)
    for name in GEOMETRIC:
        assert getattr(F, name)(nothing, none).shape == nothing.shape
    for name in ("brightness", "color", "contrast", "sharpness", "posterize", "solarize", "solarize_add"):
        assert getattr(F, name)(nothing, none).shape == nothing.shape
    for name in ("autocontrast", "equalize", "invert"):
        assert getattr(F, name)(nothing).shape == nothing.shape


def test_inputs_are_not_changed():
    images = real_images()[:10]
    before = images.clone()
    for name in (*GEOMETRIC, "brightness", "color", "contrast", "sharpness"):
        getattr(F, name)(images, 0.5)
    assert torch.equal(images, before)


def test_wrong_arguments_are_refused():
    images = real_images()[:3]
    with pytest.raises(TypeError, match="uint8"):
        F.invert(images.float())
    with pytest.raises(ValueError, match="shape"):
        F.invert(images[0])
    with pytest.raises(ValueError, match="one value for each of 3"):
        F.brightness(images, torch.ones(2))
    with pytest.raises(ValueError, match="one magnitude for each of 3"):
        F.rotate(images, torch.ones(2))
    with pytest.raises(ValueError, match="unknown interpolation"):
        F.rotate(images, torch.ones(3), "bicubic")
    with pytest.raises(ValueError, match="fill"):
        F.rotate(images, torch.ones(3), fill=(1, 2))
    for fill in (300, -1, (0, 256, 0)):
        for function in (F.rotate, F.shear_x):
            with pytest.raises(ValueError, match="0 to 255"):
                function(images, torch.ones(3), fill=fill)
        one = torch.ones(3, dtype=torch.int64)
        with pytest.raises(ValueError, match="0 to 255"):
            F.erase(images, one, one, one, one, fill)
        with pytest.raises(ValueError, match="0 to 255"):
            F.crop(images, one, one, fill=fill)
    with pytest.raises(ValueError, match="matrices"):
        F.affine(images, torch.ones(2, 6))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_equals_cpu():
    images = real_images()[:200]
    device = images.cuda()
    for name in RANGES:
        values = random_magnitudes(name, len(images))
        assert torch.equal(getattr(F, name)(device, values).cpu(), getattr(F, name)(images, values)), name
    for name in GEOMETRIC:
        values = random_magnitudes(name, len(images))
        for mode in ("bilinear", "bilinear_fast"):
            assert torch.equal(getattr(F, name)(device, values, mode).cpu(), getattr(F, name)(images, values, mode))
    for name in ("autocontrast", "equalize", "invert"):
        assert torch.equal(getattr(F, name)(device).cpu(), getattr(F, name)(images)), name


def test_rotation_turns_counter_clockwise():
    image = torch.zeros(1, 1, 9, 9, dtype=torch.uint8)
    image[0, 0, 4, 8] = 255  # east
    assert F.rotate(image, 90.0)[0, 0, 0, 4] == 255  # north
    assert math.isclose(F.rotate(image, 360.0)[0, 0, 4, 8].item(), 255)
