"""Policies: what they draw against their definitions, what they do against Pillow and torchvision."""

import collections
import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision import transforms as T
from torchvision.transforms.autoaugment import AutoAugmentPolicy

from nrd.augment import AugMix, AugMixOriginal, AutoAugment, ColorJitter, RandAugment, RandomErasing, functional
from nrd.augment._operations import GEOMETRIC, NEUTRAL, POINTWISE, Operations
from tests.augment_reference import (
    ENHANCEMENTS,
    TORCHVISION_NAMES,
    colour_images,
    digit_images,
    from_pil,
    ildoonet_randaugment,
    map_images,
    mixture,
    operation,
    real_images,
    sequence,
    to_pil,
    torchvision_level,
    torchvision_operation,
)

POLICIES = {
    "ildoonet": RandAugment(2, 9, "ildoonet"),
    "torchvision": RandAugment(2, 9, "torchvision"),
    "autoaugment": AutoAugment(),
    "augmix": AugMix(),
    "augmix_original": AugMixOriginal(),
    "color_jitter": ColorJitter(),
    "erasing": RandomErasing(),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw_for(policy, images, seed=0):
    return policy.draw(len(images), *images.shape[-2:], generator(seed))


def agrees(observed, expected, level=1e-3):
    """Chi-square: whether counts by outcome agree with probabilities by outcome."""
    assert set(observed) <= {outcome for outcome, share in expected.items() if share > 0}
    total = sum(observed.values())
    outcomes = [outcome for outcome, share in expected.items() if share > 0]
    counts = [observed.get(outcome, 0) for outcome in outcomes]
    return stats.chisquare(counts, [expected[outcome] * total for outcome in outcomes]).pvalue > level


# ---- RandAugment ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [real_images, digit_images, colour_images])
@pytest.mark.parametrize(("num_ops", "magnitude"), [(1, 3), (2, 9), (3, 30)])
def test_ildoonet_equals_pil(num_ops, magnitude, images):
    images = images()[:400]
    policy = RandAugment(num_ops, magnitude, "ildoonet")
    draw = draw_for(policy, images)
    expected = map_images(
        lambda image, *row: ildoonet_randaugment(image, policy.operations.names, *row),
        images,
        *(draw[name].tolist() for name in ("operation", "magnitude", "place")),
    )
    assert torch.equal(policy.apply(images, draw), expected)


def test_ildoonet_draws_its_sixteen_operations_at_magnitude_three():
    """The values that augment_list() of the published code gives at M = 3."""
    factor = 0.1 * (1.9 - 0.1) + 0.1
    values = {"autocontrast": 0.1, "equalize": 0.1, "invert": 0.1, "posterize": 1, "solarize": 25.6}
    values |= {"solarize_add": 11, "cutout": 4, **dict.fromkeys(ENHANCEMENTS, factor)}
    mirrored = {"rotate": 3, "shear_x": 0.03, "shear_y": 0.03, "translate_x": 10, "translate_y": 10}
    expected = dict.fromkeys(values.items(), 1 / 16)
    expected |= {(name, sign * value): 1 / 32 for name, value in mirrored.items() for sign in (1, -1)}
    policy = RandAugment(1, 3, "ildoonet")
    draw = policy.draw(10000, 32, 32, generator())
    names = [policy.operations.names[number] for number in draw["operation"].flatten()]
    observed = collections.Counter(
        (name, round(value, 9)) for name, value in zip(names, draw["magnitude"].flatten().tolist(), strict=True)
    )
    expected = {(name, round(float(value), 9)): share for (name, value), share in expected.items()}
    assert agrees(observed, expected)


@pytest.mark.parametrize("images", [real_images, digit_images, colour_images])
@pytest.mark.parametrize(("num_ops", "magnitude"), [(1, 3), (2, 9), (3, 29)])
def test_torchvision_randaugment_equals_torchvision_on_pil(num_ops, magnitude, images):
    images = images()[:400]
    policy = RandAugment(num_ops, magnitude, "torchvision")
    space = T.RandAugment()._augmentation_space(31, tuple(images.shape[-2:]))
    draw = draw_for(policy, images)
    apply = lambda name, image, argument: torchvision_operation(name, image, argument, space)  # noqa: E731
    expected = map_images(
        lambda image, *row: sequence(image, policy.operations.names, *row, apply),
        images,
        *(draw[name].tolist() for name in ("operation", "magnitude")),
    )
    assert torch.equal(policy.apply(images, draw), expected)


@pytest.mark.parametrize("magnitude", [0, 3, 10, 30])
def test_torchvision_randaugment_draws_its_space(magnitude):
    space = T.RandAugment()._augmentation_space(31, (32, 40))
    policy = RandAugment(1, magnitude, "torchvision")
    draw = policy.draw(10000, 32, 40, generator(magnitude))
    expected = collections.Counter()
    for name, (levels, signed) in space.items():
        level = round(float(levels[magnitude]), 6) if levels.ndim else 0.0
        level = int(level) if name.startswith("Translate") else level
        for sign in (1, -1):
            expected[name, sign * level if signed else level] += 1 / 28
    observed = collections.Counter()
    for number, argument in zip(draw["operation"].flatten(), draw["magnitude"].flatten().tolist(), strict=True):
        name = policy.operations.names[number]
        argument = argument - 1 if name in ENHANCEMENTS else argument
        observed[TORCHVISION_NAMES[name], round(argument, 6)] += 1
    assert agrees(observed, expected)


def test_randaugment_refuses_unknown_settings():
    with pytest.raises(ValueError, match="variant"):
        RandAugment(1, 3, "timm")
    with pytest.raises(ValueError, match="magnitude"):
        RandAugment(1, 31)


# ---- AutoAugment ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [real_images, digit_images, colour_images])
def test_autoaugment_equals_torchvision_on_pil(images):
    images = images()
    policy = AutoAugment()
    space = T.AutoAugment()._augmentation_space(10, tuple(images.shape[-2:]))
    draw = draw_for(policy, images)
    apply = lambda name, image, argument: torchvision_operation(name, image, argument, space)  # noqa: E731
    expected = map_images(
        lambda image, *row: sequence(image, policy.operations.names, *row, apply),
        images,
        *(draw[name].tolist() for name in ("operation", "magnitude")),
    )
    assert torch.equal(policy.apply(images, draw), expected)


def autoaugment_outcomes():
    """Return the probability of every outcome of torchvision's CIFAR-10 policy: two (operation, level) or None."""
    reference = T.AutoAugment(AutoAugmentPolicy.CIFAR10)
    space = reference._augmentation_space(10, (32, 32))
    outcomes = collections.Counter()

    def options(name, probability, bin_):
        levels, signed = space[name]
        level = float(levels[bin_]) if bin_ is not None and levels.ndim else 0.0
        level = float(int(level)) if name.startswith("Translate") else level
        signs = (1, -1) if signed else (1, 1)
        return [(None, 1 - probability), *(((name, round(sign * level, 6)), probability / 2) for sign in signs)]

    for first, second in reference.policies:
        for (one, p), (two, q) in itertools.product(options(*first), options(*second)):
            outcomes[one, two] += p * q / len(reference.policies)
    return outcomes


def test_autoaugment_draws_torchvisions_policies():
    policy = AutoAugment()
    draw = policy.draw(30000, 32, 32, generator())
    observed = collections.Counter()
    for numbers, arguments in zip(draw["operation"].tolist(), draw["magnitude"].tolist(), strict=True):
        outcome = []
        for number, argument in zip(numbers, arguments, strict=True):
            name = policy.operations.names[number] if number >= 0 else None
            argument = argument - 1 if name in ENHANCEMENTS else argument
            outcome.append((TORCHVISION_NAMES[name], round(argument, 6)) if name else None)
        observed[tuple(outcome)] += 1
    assert agrees(observed, autoaugment_outcomes())


# ---- AugMix ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [real_images, digit_images, colour_images])
@pytest.mark.parametrize("options", [{}, {"severity": 8, "width": 2, "depth": 4, "all_ops": False}])
def test_augmix_equals_its_definition_on_pil(options, images):
    images = images()[:200]
    policy = AugMix(**options)
    space = T.AugMix()._augmentation_space(10, tuple(images.shape[-2:]))
    draw = draw_for(policy, images)
    apply = lambda name, image, argument: torchvision_operation(name, image, argument, space, "bilinear")  # noqa: E731
    rows = [draw[name].tolist() for name in ("operation", "magnitude")]
    expected = [
        mixture(to_pil(image), policy.operations.names, *row, weights, apply).to(torch.uint8)
        for image, *row, weights in zip(images, *rows, draw["weights"], strict=True)
    ]
    assert torch.equal(policy.apply(images, draw), torch.stack(expected))


def test_fast_augmix_is_close():
    """A level lost before posterize or equalize can grow, so the bound is on the mean."""
    images = real_images()
    exact, fast = AugMix(), AugMix(interpolation="bilinear_fast")
    draw = draw_for(exact, images)
    difference = (exact.apply(images, draw).float() - fast.apply(images, draw).float()).abs()
    assert difference.mean() < 0.02


@pytest.mark.parametrize("all_ops", [True, False])
def test_augmix_draws_torchvisions_space(all_ops):
    policy = AugMix(severity=3, all_ops=all_ops)
    space = T.AugMix(all_ops=all_ops)._augmentation_space(10, (32, 32))
    draw = policy.draw(3000, 32, 32, generator(1))
    lengths = (draw["operation"] >= 0).sum(2).flatten().tolist()
    assert agrees(collections.Counter(lengths), dict.fromkeys((1, 2, 3), 1 / 3))
    expected, observed = collections.Counter(), collections.Counter()
    for name, (levels, signed) in space.items():
        for bin_, sign in itertools.product(range(3), (1, -1)):
            level = float(levels[bin_]) if levels.ndim else 0.0
            level = int(level) if name.startswith("Translate") else level
            expected[name, round(sign * level if signed else level, 6)] += 1 / (6 * len(space))
    for number, argument in zip(draw["operation"].flatten(), draw["magnitude"].flatten().tolist(), strict=True):
        if number >= 0:
            name = policy.operations.names[number]
            argument = argument - 1 if name in ENHANCEMENTS else argument
            observed[TORCHVISION_NAMES[name], round(argument, 6)] += 1
    assert agrees(observed, expected)


@pytest.mark.parametrize("policy", [AugMix(), AugMixOriginal()])
def test_augmix_weights_are_dirichlet(policy):
    weights = policy.draw(5000, 32, 32, generator(2))["weights"].double()
    assert weights.sum(1).sub(1).abs().max() < 1e-6
    assert stats.kstest(weights[:, 0].numpy(), "uniform").pvalue > 1e-3
    for chain in range(1, 4):
        share = weights[:, chain] / (1 - weights[:, 0])
        assert stats.kstest(share.numpy(), stats.beta(1, 2).cdf).pvalue > 1e-3


def test_augmix_alpha_concentrates_the_weights():
    weights = AugMix(alpha=50.0).draw(2000, 32, 32, generator())["weights"].double()
    assert stats.kstest(weights[:, 0].numpy(), stats.beta(50, 50).cdf).pvalue > 1e-3


def test_augmix_refuses_unknown_settings():
    with pytest.raises(ValueError, match="severity"):
        AugMix(severity=11)
    with pytest.raises(ValueError, match="AugMix needs"):
        AugMix(depth=0)


@pytest.mark.parametrize("images", [real_images, digit_images, colour_images])
@pytest.mark.parametrize("all_ops", [True, False])
def test_original_augmix_equals_its_definition_on_pil(all_ops, images):
    images = images()[:100]
    policy = AugMixOriginal(all_ops=all_ops)
    draw = draw_for(policy, images)
    apply = lambda name, image, argument: operation(name, image, argument, "bilinear")  # noqa: E731
    rows = [draw[name].tolist() for name in ("operation", "magnitude")]
    expected = [
        mixture(to_pil(image), policy.operations.names, *row, weights, apply)
        for image, *row, weights in zip(images, *rows, draw["weights"], strict=True)
    ]
    assert torch.equal(policy.apply(images, draw), torch.stack(expected))


def original_argument(name, level, random, size=32):
    """Return the argument that google-research/augmix gives an operation for a level."""
    whole = lambda highest: int(level * highest / 10)  # noqa: E731
    real = lambda highest: float(level) * highest / 10.0  # noqa: E731
    sign = -1 if random.uniform() > 0.5 else 1
    if name in ("autocontrast", "equalize"):
        return 0
    if name in ENHANCEMENTS:
        return real(1.8) + 0.1
    return {
        "posterize": 4 - whole(4),
        "rotate": sign * whole(30),
        "solarize": 256 - whole(256),
        "shear_x": sign * real(0.3),
        "shear_y": sign * real(0.3),
        "translate_x": sign * whole(size / 3),
        "translate_y": sign * whole(size / 3),
    }[name]


def test_original_augmix_draws_its_definition():
    policy = AugMixOriginal(severity=3, all_ops=True)
    draw = policy.draw(3000, 32, 32, generator(4))
    used = draw["operation"] >= 0
    names = [policy.operations.names[number] for number in draw["operation"][used]]
    assert agrees(collections.Counter(names), dict.fromkeys(policy.operations.names, 1 / 13))
    random = np.random.default_rng(0)
    arguments = draw["magnitude"][used].numpy()
    for name in policy.operations.names:
        drawn = arguments[[other == name for other in names]]
        levels = random.uniform(0.1, 3, 3000)
        expected = np.array([original_argument(name, level, random) for level in levels])
        assert np.ptp(expected) == np.ptp(drawn) == 0 or stats.ks_2samp(drawn, expected).pvalue > 1e-3, name


# ---- Colour jitter and erasing --------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [real_images, digit_images])
def test_color_jitter_equals_pil(images):
    images = images()
    policy = ColorJitter(0.8, (0.3, 2.0), 1.0)
    draw = draw_for(policy, images)
    expected = map_images(
        lambda image, *row: sequence(image, policy.operations.names, *row, operation),
        images,
        *(draw[name].tolist() for name in ("operation", "magnitude")),
    )
    assert torch.equal(policy.apply(images, draw), expected)


def test_color_jitter_draws_orders_and_factors():
    draw = ColorJitter(0.4, (0.5, 3.0), 1.5).draw(6000, 32, 32, generator())
    orders = collections.Counter(map(tuple, draw["operation"].tolist()))
    assert agrees(orders, dict.fromkeys(itertools.permutations(range(3)), 1 / 6))
    for number, (low, high) in enumerate([(0.6, 1.4), (0.5, 3.0), (0.0, 2.5)]):
        factors = draw["magnitude"][draw["operation"] == number].numpy()
        assert stats.kstest(factors, stats.uniform(low, high - low).cdf).pvalue > 1e-3
    with pytest.raises(ValueError, match="contrast"):
        ColorJitter(contrast=-1)


@pytest.mark.parametrize("size", [(32, 32), (12, 20)])
def test_erasing_draws_torchvisions_distribution(size):
    torch.manual_seed(0)
    image = torch.zeros(3, *size)
    reference = [T.RandomErasing.get_params(image, (0.02, 0.33), (0.3, 3.3), [0.0])[:4] for _ in range(3000)]
    draw = RandomErasing(p=1.0).draw(5000, *size, generator())
    for values, name in zip(zip(*reference, strict=True), ("top", "left", "height", "width"), strict=True):
        assert stats.ks_2samp(draw[f"erase_{name}"].numpy(), np.array(values)).pvalue > 1e-3, name
    share = (RandomErasing(p=0.3).draw(5000, *size, generator())["erase_height"] > 0).sum().item()
    assert stats.binomtest(share, 5000, 0.3).pvalue > 1e-3


def test_erasing_equals_torchvision():
    images = real_images()[:300].float()
    policy = RandomErasing(value=0.25)
    draw = draw_for(policy, images)
    places = zip(*(draw[f"erase_{name}"].tolist() for name in ("top", "left", "height", "width")), strict=True)
    expected = [
        T.functional.erase(image, *place, torch.tensor(0.25)) for image, place in zip(images, places, strict=True)
    ]
    assert torch.equal(policy.apply(images, draw), torch.stack(expected))


# ---- All policies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", POLICIES)
def test_draws_come_from_the_generator_alone(name):
    policy = POLICIES[name]
    first, again, other = (policy.draw(50, 32, 32, generator(seed)) for seed in (7, 7, 8))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
    assert all(value.shape[0] == 50 and value.device.type == "cpu" for value in first.values())


@pytest.mark.parametrize("name", POLICIES)
def test_applying_leaves_the_images_alone(name):
    images = real_images()[:40]
    before = images.clone()
    result = POLICIES[name].apply(images, draw_for(POLICIES[name], images))
    assert torch.equal(images, before)
    assert not torch.equal(result, before.to(result.dtype))


def test_levels_are_found_by_the_reference():
    """The tests' own decoding: an argument that torchvision cannot produce is refused."""
    space = T.RandAugment()._augmentation_space(31, (32, 32))
    assert torchvision_level("rotate", -3.0, space) == -3.0
    with pytest.raises(AssertionError):
        torchvision_level("rotate", 3.5, space)
    assert from_pil(to_pil(real_images()[0])).equal(real_images()[0])


@pytest.mark.parametrize("name", NEUTRAL)
def test_what_is_left_out_as_neutral_changes_nothing(name):
    images = torch.cat([real_images()[:50], colour_images(20, 32, 32)])
    for sign in (1.0, -1.0) if NEUTRAL[name] == 0 else (1.0,):
        magnitude = torch.full((len(images),), sign * NEUTRAL[name], dtype=torch.float64)
        modes = ("nearest", "bilinear", "bilinear_fast") if name in GEOMETRIC else (None,)
        for mode in modes:
            function = getattr(functional, name)
            assert torch.equal(function(images, magnitude, *([mode] if mode else [])), images)


def test_chains_of_operations_are_those_applied_one_by_one():
    """Operations left out, several chains of one image, and what an image's neighbours draw change no result."""
    names = tuple(name for name in TORCHVISION_NAMES if name != "identity")
    operations = Operations(("identity", *names), "bilinear")
    draw = torch.Generator().manual_seed(5)
    images = real_images()[:40]
    start = torch.arange(40).repeat_interleave(2)
    operation = torch.randint(-1, len(operations.names), (80, 3), generator=draw)
    magnitude = torch.randint(0, 3, (80, 3), generator=draw).double() / 2
    pool, last = operations.run(images, start, operation, magnitude)
    assert torch.equal(pool[:40], images)
    left_out = 0
    for chain in range(80):
        image = images[start[chain]][None]
        for number, value in zip(operation[chain].tolist(), magnitude[chain].tolist(), strict=True):
            name = operations.names[number] if number >= 0 else "identity"
            left_out += name == "identity" or NEUTRAL.get(name) == value
            if name in GEOMETRIC:
                image = GEOMETRIC[name](image, torch.tensor([value], dtype=torch.float64), "bilinear", 0)
            elif name != "identity":
                image = POINTWISE[name](image, torch.tensor([value], dtype=torch.float64))
        assert torch.equal(pool[last[chain]], image[0]), (chain, operation[chain], magnitude[chain])
    assert len(pool) == 40 + 240 - left_out
