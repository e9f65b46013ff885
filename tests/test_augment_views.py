"""Views against the same pipelines built from Pillow and torchvision, one image at a time."""

import subprocess
import sys

import pytest
import torch
from scipy import stats
from torchvision import transforms as T
from torchvision.transforms import functional as TF

from nrd.augment import VIEWS, create_view
from tests.augment_reference import (
    colour_images,
    digit_images,
    from_pil,
    ildoonet_randaugment,
    mixture,
    operation,
    real_images,
    sequence,
    to_pil,
    torchvision_operation,
)

COLOUR = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616)}
GREY = {"mean": (0.3053,), "std": (0.3764,)}
SPACES = {
    "paper": lambda size: T.RandAugment()._augmentation_space(31, size),
    "autoaugment": lambda size: T.AutoAugment()._augmentation_space(10, size),
    "autoaugment_erasing": lambda size: T.AutoAugment()._augmentation_space(10, size),
    "augmix": lambda size: T.AugMix()._augmentation_space(10, size),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def constants(images):
    return GREY if images.shape[1] == 1 else COLOUR


def policy_names(view):
    return (view.before or view.after).operations.names


def apply_before(name, view, image, row):
    """Apply the policy that comes before the crop, on a Pillow image."""
    if name in ("none", "crop", "augmix_original"):
        return image
    names, operations, arguments = policy_names(view), row["operation"].tolist(), row["magnitude"].tolist()
    if name == "gjs":
        return ildoonet_randaugment(image, names, operations, arguments, row["place"].tolist())
    if name == "color_jitter":
        return sequence(image, names, operations, arguments, operation)
    space = SPACES[name](image.size[::-1])
    mode = "bilinear" if name == "augmix" else "nearest"
    apply = lambda name, image, argument: torchvision_operation(name, image, argument, space, mode)  # noqa: E731
    if name == "augmix":
        return to_pil(mixture(image, names, operations, arguments, row["weights"], apply).to(torch.uint8))
    return sequence(image, names, operations, arguments, apply)


def blank(image, row, name, cutout_size):
    """Cut out or erase from a normalised image."""
    height, width = image.shape[-2:]
    if name in ("gjs", "paper"):
        top, left = int(row["cutout_y"]) - cutout_size // 2, int(row["cutout_x"]) - cutout_size // 2
        bottom, right = min(top + cutout_size, height), min(left + cutout_size, width)
        top, left = max(top, 0), max(left, 0)
        return TF.erase(image, top, left, bottom - top, right - left, torch.tensor(0.0))
    if name == "autoaugment_erasing":
        place = (int(row[f"erase_{side}"]) for side in ("top", "left", "height", "width"))
        return TF.erase(image, *place, torch.tensor(0.0))
    return image


def reference(name, view, image, row, padding, flip, mean, std):
    """Return one image's view by Pillow and torchvision."""
    height, width = image.shape[-2:]
    picture = apply_before(name, view, to_pil(image), row)
    if name != "none" and padding:
        picture = TF.crop(TF.pad(picture, padding), int(row["crop_top"]), int(row["crop_left"]), height, width)
    if name != "none" and flip and row["flip"]:
        picture = TF.hflip(picture)
    if name == "augmix_original":
        apply = lambda name, image, argument: operation(name, image, argument, "bilinear")  # noqa: E731
        rows = row["operation"].tolist(), row["magnitude"].tolist(), row["weights"]
        levels = mixture(picture, policy_names(view), *rows, apply).div(255)
    else:
        levels = TF.convert_image_dtype(from_pil(picture), torch.float32)
    return blank(TF.normalize(levels, mean, std), row, name, view.cutout_size)


def rows_of(draw):
    """Yield each image's entries of a draw."""
    for place in range(len(next(iter(draw.values()), []))):
        yield {key: value[place] for key, value in draw.items()}


@pytest.mark.parametrize(
    ("images", "padding", "flip"), [(real_images, 4, True), (digit_images, 1, False), (colour_images, 0, True)]
)
@pytest.mark.parametrize("name", VIEWS)
def test_view_equals_pil_and_torchvision(name, images, padding, flip):
    images = images()[:100]
    settings = constants(images)
    view = create_view(name, **settings, padding=padding, flip=flip)
    draw = view.draw(len(images), *images.shape[-2:], generator())
    rows = rows_of(draw) if draw else ({} for _ in images)
    expected = [
        reference(name, view, image, row, padding, flip, **settings) for image, row in zip(images, rows, strict=True)
    ]
    result = view(images, draw)
    assert result.dtype == torch.float32 and result.is_contiguous()
    assert torch.equal(result, torch.stack(expected))


@pytest.mark.parametrize("name", VIEWS)
def test_result_does_not_depend_on_the_chunk(name):
    images = real_images().repeat(4, 1, 1, 1)[:700]
    view = create_view(name, **COLOUR)
    draw = view.draw(700, *images.shape[-2:], generator(1))
    whole = view(images, draw)
    for size, stop in ((1, 60), (7, 210), (64, 700)):
        for start in range(0, stop, size):
            part = slice(start, start + size)
            chunk = view(images[part], {key: value[part] for key, value in draw.items()})
            assert torch.equal(chunk, whole[part])
    chosen = torch.randperm(700, generator=generator())[:100]
    assert torch.equal(view(images[chosen], {key: value[chosen] for key, value in draw.items()}), whole[chosen])


@pytest.mark.parametrize("name", VIEWS)
def test_draws_come_from_the_generator_alone(name):
    view = create_view(name, **COLOUR)
    first, again, other = (view.draw(40, 32, 32, generator(seed)) for seed in (5, 5, 6))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert name == "none" or any(not torch.equal(first[key], other[key]) for key in first)
    assert all(value.shape[0] == 40 and value.device.type == "cpu" for value in first.values())


def test_frame_is_drawn_uniformly():
    draw = create_view("gjs", **COLOUR, padding=2).draw(9000, 12, 20, generator())
    for name, outcomes in {"crop_top": 5, "crop_left": 5, "flip": 2, "cutout_y": 12, "cutout_x": 20}.items():
        counts = torch.bincount(draw[name].long(), minlength=outcomes)
        assert len(counts) == outcomes and stats.chisquare(counts.numpy()).pvalue > 1e-3, name


def test_options_reach_the_policies():
    assert create_view("gjs", **COLOUR, num_ops=2, magnitude=9, cutout=8).cutout_size == 8
    assert create_view("paper", **COLOUR).cutout_size == 5
    draw = create_view("augmix", **COLOUR, width=2, depth=5).draw(3, 32, 32, generator())
    assert draw["operation"].shape == (3, 2, 5)
    assert set(create_view("crop", **COLOUR, padding=0, flip=False).draw(3, 32, 32, generator())) == set()
    assert "flip" not in create_view("gjs", **GREY, padding=1, flip=False).draw(3, 8, 8, generator())


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="unknown view"):
        create_view("simclr", **COLOUR)
    with pytest.raises(TypeError, match="magnitude"):
        create_view("crop", **COLOUR, magnitude=3)
    with pytest.raises(ValueError, match="std"):
        create_view("crop", mean=(0.5,), std=(0.0,))
    view = create_view("none", **COLOUR)
    with pytest.raises(TypeError, match="uint8"):
        view(torch.zeros(2, 3, 32, 32), {})
    with pytest.raises(ValueError, match="channels"):
        view(digit_images()[:2], {})


def test_importing_needs_neither_torchvision_nor_pillow():
    code = "import nrd.augment, sys; sys.exit(any(name in sys.modules for name in ('torchvision', 'PIL')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", VIEWS)
def test_cuda_equals_cpu(name):
    images = real_images()
    draw = create_view(name, **COLOUR).draw(len(images), *images.shape[-2:], generator())
    expected = create_view(name, **COLOUR)(images, draw)
    assert torch.equal(create_view(name, **COLOUR).to("cuda")(images.cuda(), draw).cpu(), expected)
