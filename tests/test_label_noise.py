"""Label noise on labels made here: what each definition promises, its frozen draws and its errors."""

import hashlib
import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from nrd.label_noise import CIFAR100_SUPERCLASSES, NOISES, actual_rate, corrupt, transition_matrix
from nrd.label_noise.definitions import count_of

CIFAR10_FLIPS = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}  # truck→automobile, bird→airplane, deer→horse, cat↔dog
RATES = st.integers(0, 100).map(lambda percent: percent / 100)
SEEDS = st.integers(0, 2**32 - 1)


def cyclic(classes, size=50_000):
    return np.arange(size) % classes


def label_arrays(classes):
    return hnp.arrays(np.int64, st.integers(1, 300), elements=st.integers(0, classes - 1))


def classes_of(noise, default):
    return NOISES[noise].num_classes or default


def digest(labels):
    return hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()


# --- measures


def test_transition_matrix_and_rate_of_a_counted_example():
    true = [0, 0, 0, 0, 1, 1, 1, 1, 1]
    given_labels = [0, 0, 0, 2, 1, 1, 0, 0, 2]
    matrix = transition_matrix(true, given_labels, 3)
    np.testing.assert_allclose(matrix[:2], [[0.75, 0, 0.25], [0.4, 0.4, 0.2]])
    assert np.isnan(matrix[2]).all()  # no sample of class 2: nothing measured
    assert actual_rate(true, given_labels) == 4 / 9


@pytest.mark.parametrize(
    ("true", "given_labels"), [([0, 1], [0]), ([[0, 1]], [[0, 1]]), ([0, 3], [0, 1]), ([0, 1], [0, -1])]
)
def test_transition_matrix_refuses_what_it_cannot_measure(true, given_labels):
    with pytest.raises(ValueError, match="labels must"):
        transition_matrix(true, given_labels, 3)


# --- what every definition promises


@pytest.mark.parametrize("noise", NOISES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_definition(noise, data):
    classes = classes_of(noise, data.draw(st.integers(2, 12)))
    labels = data.draw(label_arrays(classes))
    rate = 0 if noise == "none" else data.draw(RATES)
    seed = data.draw(SEEDS)
    images = np.random.RandomState(0).randint(256, size=(len(labels), 1, 2, 2)).astype(np.uint8)
    before = labels.copy()

    result = corrupt(labels, noise, rate, classes, seed, images=images)

    assert np.array_equal(labels, before)
    assert result.labels is not labels
    assert result.labels.dtype == np.int64
    assert result.labels.shape == labels.shape
    assert result.labels.min() >= 0
    assert result.labels.max() < classes
    assert result.actual_rate == np.count_nonzero(result.labels != labels) / len(labels)
    present = np.bincount(labels, minlength=classes) > 0
    np.testing.assert_allclose(result.transition_matrix.sum(axis=1)[present], 1)
    assert np.isnan(result.transition_matrix[~present]).all()
    if rate == 0:
        assert np.array_equal(result.labels, labels)


@pytest.mark.parametrize("noise", [noise for noise in NOISES if noise != "none"])
def test_a_seed_repeats_its_labels_whatever_else_was_drawn_and_another_differs(noise):
    classes = classes_of(noise, 7)
    labels = cyclic(classes, 2000)
    images = np.random.RandomState(0).randint(256, size=(2000, 1, 2, 2)).astype(np.uint8)
    first = corrupt(labels, noise, 0.4, classes, 1, images=images).labels
    np.random.seed(5)  # noqa: NPY002 - the global generator must not matter
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    assert np.array_equal(first, corrupt(labels, noise, 0.4, classes, 1, images=images).labels)
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert not np.array_equal(first, corrupt(labels, noise, 0.4, classes, 2, images=images).labels)


def test_empty_labels():
    result = corrupt(np.array([], dtype=np.int64), "symmetric", 0.4, 3, 0)
    assert result.labels.shape == (0,)
    assert result.actual_rate == 0


@given(percent=st.integers(0, 100), total=st.integers(0, 200_000))
def test_count_is_the_exact_ceiling(percent, total):
    assert count_of(percent / 100, total) == math.ceil(Fraction(percent, 100) * total)


def test_ceiling_without_and_with_float_error():
    assert [count_of(rate, 50_000) for rate in (0.2, 0.4, 0.6, 0.8, 1 / 3)] == [10_000, 20_000, 30_000, 40_000, 16_667]
    assert math.ceil(0.07 * 100) == 8  # the trap
    assert count_of(0.07, 100) == 7


# --- symmetric


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_symmetric_draws_from_all_classes_whatever_the_true_one(classes):
    labels = cyclic(classes)
    result = corrupt(labels, "symmetric", 1.0, classes, 3)
    table = np.zeros((classes, classes))
    np.add.at(table, (labels, result.labels), 1)
    assert stats.chisquare(table.ravel()).pvalue > 0.001  # every cell, the diagonal too, expects N/K²


@pytest.mark.parametrize(("rate", "classes"), [(0.2, 10), (0.8, 10), (0.5, 100)])
def test_symmetric_rate(rate, classes):
    result = corrupt(cyclic(classes), "symmetric", rate, classes, 1)
    assert result.actual_rate == pytest.approx(rate * (classes - 1) / classes, abs=0.003)
    assert np.count_nonzero(result.labels != cyclic(classes)) < rate * 50_000  # some drew their own class


@pytest.mark.parametrize(("rate", "classes"), [(0.4, 10), (0.2, 3)])
def test_symmetric_exclusive_matrix(rate, classes):
    labels = cyclic(classes)
    result = corrupt(labels, "symmetric-exclusive", rate, classes, 1)
    expected = np.full((classes, classes), rate / (classes - 1))
    np.fill_diagonal(expected, 1 - rate)
    np.testing.assert_allclose(result.transition_matrix, expected, atol=0.03)
    assert result.actual_rate == pytest.approx(rate, abs=0.007)


@settings(max_examples=30, deadline=None)
@given(labels=label_arrays(6), seed=SEEDS)
def test_symmetric_exclusive_never_gives_the_true_label(labels, seed):
    assert (corrupt(labels, "symmetric-exclusive", 1.0, 6, seed).labels != labels).all()


# --- class-dependent


@pytest.mark.parametrize("classes", [2, 3, 100])
def test_pair_moves_to_the_next_class(classes):
    labels = cyclic(classes)
    assert np.array_equal(corrupt(labels, "pair", 1.0, classes, 0).labels, (labels + 1) % classes)
    result = corrupt(labels, "pair", 0.45, classes, 0)
    moved = result.labels != labels
    assert np.array_equal(result.labels[moved], (labels[moved] + 1) % classes)
    assert moved.mean() == pytest.approx(0.45, abs=0.007)


@settings(max_examples=40, deadline=None)
@given(labels=label_arrays(10), rate=RATES, seed=SEEDS)
def test_independent_flips_an_exact_share_of_each_source_class(labels, rate, seed):
    noisy = corrupt(labels, "asymmetric-cifar10-independent", rate, 10, seed).labels
    for source in range(10):
        moved = noisy[(labels == source) & (noisy != labels)]
        wanted = round(rate * np.count_nonzero(labels == source)) if source in CIFAR10_FLIPS else 0
        assert moved.tolist() == [CIFAR10_FLIPS.get(source)] * wanted


@settings(max_examples=40, deadline=None)
@given(labels=label_arrays(10), percent=st.integers(0, 100), seed=SEEDS)
def test_sequential_counts(labels, percent, seed):
    """The number of labels of each class afterwards follows from the order of the visits alone."""
    noisy = corrupt(labels, "asymmetric-cifar10-sequential", percent / 100, 10, seed).labels
    count = np.bincount(labels, minlength=10)
    for source in (2, 3, 4, 5, 9):
        flipped = math.ceil(Fraction(percent, 100) * int(count[source]))
        count[source] -= flipped
        count[CIFAR10_FLIPS[source]] += flipped
    assert np.bincount(noisy, minlength=10).tolist() == count.tolist()
    moved = noisy != labels
    assert all(CIFAR10_FLIPS[true] == new for true, new in zip(labels[moved], noisy[moved], strict=True))


def test_sequential_turns_cats_made_dogs_back():
    labels = np.full(1000, 3)
    noisy = corrupt(labels, "asymmetric-cifar10-sequential", 0.4, 10, 0).labels
    assert np.count_nonzero(noisy == 5) == 400 - 160  # 400 made dogs, ⌈0.4·400⌉ of these made cats again


@settings(max_examples=30, deadline=None)
@given(labels=label_arrays(100), percent=st.integers(0, 100), seed=SEEDS)
def test_superclass_noise_moves_an_exact_share_to_the_next_fine_class(labels, percent, seed):
    noisy = corrupt(labels, "asymmetric-cifar100-superclass", percent / 100, 100, seed).labels
    moved = noisy != labels
    assert np.count_nonzero(moved) == math.ceil(Fraction(percent, 100) * len(labels))
    names = sorted(name for fine in CIFAR100_SUPERCLASSES.values() for name in fine)
    for true, new in zip(labels[moved], noisy[moved], strict=True):
        family = next(fine for fine in CIFAR100_SUPERCLASSES.values() if names[true] in fine)
        assert names[new] == family[(family.index(names[true]) + 1) % 5]


def test_superclass_lists_are_alphabetical_as_the_official_ones():
    assert len(CIFAR100_SUPERCLASSES) == 20
    assert [list(fine) for fine in CIFAR100_SUPERCLASSES.values()] == [
        sorted(fine) for fine in CIFAR100_SUPERCLASSES.values()
    ]
    assert len({name for fine in CIFAR100_SUPERCLASSES.values() for name in fine}) == 100


def test_block5_moves_within_blocks_of_ids():
    labels = cyclic(100)
    whole = corrupt(labels, "asymmetric-cifar100-block5", 1.0, 100, 0).labels
    assert [int(whole[i]) for i in (0, 3, 4, 5, 9, 99)] == [1, 4, 0, 6, 5, 95]
    result = corrupt(labels, "asymmetric-cifar100-block5", 0.2, 100, 0)
    assert result.actual_rate == pytest.approx(0.2, abs=0.006)
    moved = result.labels != labels
    assert np.array_equal(result.labels[moved], whole[moved])


# --- the draws of the published code, written again as the loops that it is known to run


def seeded(seed):
    """NumPy's global generator, which the GJS code seeds right before it draws labels."""
    np.random.seed(seed)  # noqa: NPY002
    return np.random


@pytest.mark.parametrize(("rate", "classes", "seed"), [(0.2, 10, 1), (0.6, 10, 4), (0.8, 100, 2)])
def test_symmetric_labels_are_those_of_the_gjs_code(rate, classes, seed):
    labels, rng = cyclic(classes), seeded(seed)
    expected = labels.copy()
    for position, index in enumerate(rng.permutation(50_000)):
        if position < rate * 50_000:
            expected[index] = rng.randint(classes, dtype=np.int32)
    assert np.array_equal(corrupt(labels, "symmetric", rate, classes, seed).labels, expected)


@pytest.mark.parametrize("rate", [0.2, 0.4])
def test_sequential_labels_are_those_of_the_gjs_code(rate):
    labels, rng = cyclic(10), seeded(3)
    expected = labels.copy()
    for source in range(10):
        members = np.nonzero(expected == source)[0]
        rng.shuffle(members)
        for position, index in enumerate(members):
            if position < rate * len(members) and source in CIFAR10_FLIPS:
                expected[index] = CIFAR10_FLIPS[source]
    assert np.array_equal(corrupt(labels, "asymmetric-cifar10-sequential", rate, 10, 3).labels, expected)


def test_pair_labels_are_those_of_the_co_teaching_code():
    labels, rng = cyclic(10, 5000), np.random.RandomState(4)
    expected = []
    for label in labels:
        row = [0.0] * 10
        row[label], row[(label + 1) % 10] = 1 - 0.45, 0.45
        expected.append(np.where(rng.multinomial(1, row) == 1)[0][0])
    assert corrupt(labels, "pair", 0.45, 10, 4).labels.tolist() == expected


# --- frozen: these may never change


@pytest.mark.parametrize(
    ("noise", "rate", "seed", "sha256"),
    [
        ("symmetric", 0.2, 1, "a934d84563dc8a18ae85e8ad5f2cf158a2c1375aecb89a148284e2ea7f417495"),
        ("symmetric", 0.8, 5, "d0bfca0397bdcb8955796fb05ffddd131a65fec8147407355438c81bb84f504a"),
        ("symmetric-exclusive", 0.4, 1, "99f85e68b44c65744777edc2ffa8fbf57259f283bdefdd798b89e30890360690"),
        ("asymmetric-cifar10-sequential", 0.4, 1, "32067cd5532def7628b60508b5adbf06c2de11bb599fa627040e02b0ce354186"),
        ("asymmetric-cifar10-independent", 0.4, 1, "9279db105f1c04630fa9636b51415cc3bb8bcc295d2cf6d81c4ada4b8d47a69d"),
        ("asymmetric-cifar100-superclass", 0.4, 1, "a09879007d9f77ad9e15bfb734b8e0d0af34765454016700d406fd6abddbaab5"),
        ("asymmetric-cifar100-block5", 0.4, 1, "f516fd4531e81bd4c629814fcbaca69c51993148ac22ac69a8b98faf32185d7a"),
        ("pair", 0.45, 1, "c9d321bf7f74f2318e609d745206b547ed0b4f9dcd7747c4c899845909175615"),
    ],
)
def test_frozen_labels(noise, rate, seed, sha256):
    classes = classes_of(noise, 10)
    assert digest(corrupt(cyclic(classes), noise, rate, classes, seed).labels) == sha256


# --- errors


@pytest.mark.parametrize(
    ("labels", "noise", "rate", "classes", "message"),
    [
        ([0, 1], "symetric", 0.4, 10, "unknown noise 'symetric'; known: none, symmetric, "),
        ([0, 1], "symmetric", 1.01, 10, r"noise rate must lie in \[0, 1\], not 1.01"),
        ([0, 1], "symmetric", -0.1, 10, "noise rate must lie in"),
        ([0, 1], "symmetric", math.nan, 10, "noise rate must lie in"),
        ([0, 10], "symmetric", 0.4, 10, r"labels must lie in \[0, 10\), found 0 to 10"),
        ([-1, 3], "pair", 0.4, 10, r"labels must lie in \[0, 10\), found -1 to 3"),
        ([0.5, 1.0], "pair", 0.4, 10, "1-D array of integers, not float64"),
        ([[0, 1]], "pair", 0.4, 10, r"1-D array of integers, not int64 of shape \(1, 2\)"),
        ([0, 0], "pair", 0.4, 1, "num_classes must be a whole number and at least 2, not 1"),
        ([0, 1], "pair", 0.4, 2.5, "num_classes must be a whole number and at least 2, not 2.5"),
        ([0, 1], "pair", 0.4, None, "num_classes must be a whole number and at least 2, not None"),
        ([0, 1], "pair", None, 10, r"noise rate must lie in \[0, 1\], not None"),
        ([0, 1], "pair", "0.4", 10, r"noise rate must lie in \[0, 1\], not '0.4'"),
        ([0, 1], "human", 0.4, 10, "unknown noise 'human'; known: none, .*nrd.data.human_labels.load_cifar_n"),
        ([0, 1], "none", 0.4, 10, "noise 'none' has rate 0, not 0.4"),
        ([0, 1], "asymmetric-cifar10-sequential", 0.4, 100, "is defined for 10 classes, not 100"),
        ([0, 1], "asymmetric-cifar10-independent", 0.4, 5, "is defined for 10 classes, not 5"),
        ([0, 1], "asymmetric-cifar100-superclass", 0.4, 10, "is defined for 100 classes, not 10"),
        ([0, 1], "asymmetric-cifar100-block5", 0.4, 10, "is defined for 100 classes, not 10"),
    ],
)
def test_errors(labels, noise, rate, classes, message):
    with pytest.raises(ValueError, match=message) as error:
        corrupt(labels, noise, rate, classes, 0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("seed", [None, -1, 2**32, 1.5, "1", True, [1, 2]])
def test_a_seed_that_would_not_give_the_same_labels_again_is_refused(seed):
    with pytest.raises(ValueError, match=r"seed must be a whole number in \[0, 2\*\*32\), not "):
        corrupt([0, 1, 2], "symmetric", 0.4, 3, seed)


def test_a_seed_may_be_numpys():
    expected = corrupt([0, 1, 2] * 9, "symmetric", 0.4, 3, 2**32 - 1).labels
    assert np.array_equal(corrupt([0, 1, 2] * 9, "symmetric", 0.4, 3, np.uint32(2**32 - 1)).labels, expected)


def test_needs_no_torch():
    command = "import sys, nrd.label_noise; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    subprocess.run([sys.executable, "-c", command], check=True)
