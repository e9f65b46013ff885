"""Label noise measured on the real CIFAR labels (NRD_DATA: folder with cifar-10-batches-py and cifar-100-python)."""

import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from nrd.label_noise import CIFAR100_SUPERCLASSES, corrupt
from nrd.label_noise.cifar100 import superclass_ids

ROOT = Path(os.environ.get("NRD_DATA", ""))
AIRPLANE, AUTOMOBILE, BIRD, CAT, DEER, DOG, FROG, HORSE, SHIP, TRUCK = range(10)


def read(file):
    path = ROOT / file
    if "NRD_DATA" not in os.environ or not path.is_file():
        pytest.skip(f"needs {file} in the folder that NRD_DATA names")
    with path.open("rb") as stream:
        return pickle.load(stream, encoding="latin1")


@pytest.fixture(scope="module")
def cifar10():
    return np.concatenate([read(f"cifar-10-batches-py/data_batch_{part}")["labels"] for part in range(1, 6)])


@pytest.fixture(scope="module")
def cifar100():
    return np.array(read("cifar-100-python/train")["fine_labels"])


# --- rates


@pytest.mark.parametrize(("rate", "clean"), [(0.2, 0.82), (0.5, 0.55), (0.8, 0.28)])
def test_symmetric_leaves_the_clean_share_of_table_1(cifar10, rate, clean):
    shares = [1 - corrupt(cifar10, "symmetric", rate, 10, seed).actual_rate for seed in range(1, 41)]
    assert shares[:5] == pytest.approx([clean] * 5, abs=0.003)
    assert np.mean(shares) == pytest.approx(clean, abs=0.0008)  # at most four standard errors


@pytest.mark.parametrize(("rate", "actual"), [(0.2, 0.0960), (0.4, 0.1838)])
def test_sequential_asymmetric_rate(cifar10, rate, actual):
    for seed in range(3):
        result = corrupt(cifar10, "asymmetric-cifar10-sequential", rate, 10, seed)
        assert result.actual_rate == pytest.approx(actual, abs=0.001)


@pytest.mark.parametrize(("rate", "cats", "dogs"), [(0.2, 800, 1000), (0.4, 1200, 2000)])
def test_sequential_asymmetric_cats_and_dogs(cifar10, rate, cats, dogs):
    noisy = corrupt(cifar10, "asymmetric-cifar10-sequential", rate, 10, 1).labels
    assert np.count_nonzero(noisy[cifar10 == CAT] != CAT) == pytest.approx(cats, abs=60)
    assert np.count_nonzero(noisy[cifar10 == DOG] != DOG) == pytest.approx(dogs, abs=60)
    for source in (BIRD, DEER, TRUCK):
        assert np.count_nonzero(noisy[cifar10 == source] != source) == rate * 5000


@pytest.mark.parametrize("rate", [0.2, 0.4])
def test_independent_asymmetric_counts(cifar10, rate):
    result = corrupt(cifar10, "asymmetric-cifar10-independent", rate, 10, 1)
    expected = np.eye(10) * 5000
    for source, target in [(TRUCK, AUTOMOBILE), (BIRD, AIRPLANE), (DEER, HORSE), (CAT, DOG), (DOG, CAT)]:
        expected[source, source] -= rate * 5000
        expected[source, target] += rate * 5000
    np.testing.assert_allclose(result.transition_matrix * 5000, expected)
    assert result.actual_rate == rate / 2


def test_superclass_noise_stays_in_the_superclass_that_the_file_gives(cifar100):
    coarse = np.array(read("cifar-100-python/train")["coarse_labels"])
    result = corrupt(cifar100, "asymmetric-cifar100-superclass", 0.4, 100, 1)
    assert result.actual_rate == 0.4
    coarse_of = dict(zip(cifar100.tolist(), coarse.tolist(), strict=True))
    assert [coarse_of[label] for label in result.labels.tolist()] == coarse.tolist()


def test_block5_noise_leaves_the_superclass(cifar100):
    coarse_of = np.zeros(100, dtype=int)
    coarse_of[cifar100] = read("cifar-100-python/train")["coarse_labels"]
    result = corrupt(cifar100, "asymmetric-cifar100-block5", 0.4, 100, 1)
    moved = result.labels != cifar100
    assert moved.mean() == pytest.approx(0.4, abs=0.007)
    assert np.array_equal(result.labels[moved] // 5, cifar100[moved] // 5)
    assert (coarse_of[result.labels[moved]] != coarse_of[cifar100[moved]]).mean() > 0.8


def test_pair_rate(cifar100):
    result = corrupt(cifar100, "pair", 0.45, 100, 1)
    assert result.actual_rate == pytest.approx(0.45, abs=0.007)
    assert set(((result.labels - cifar100) % 100).tolist()) == {0, 1}


@pytest.mark.parametrize(("rate", "expected"), [(0.2, 0.2055), (0.4, 0.4000)])
def test_instance_dependent_rate(cifar10, rate, expected):
    """The mean of the truncated normal, and more than one kind of mistake per class."""
    files = [read(f"cifar-10-batches-py/data_batch_{part}")["data"] for part in range(1, 6)]
    images = np.concatenate(files).reshape(-1, 3, 32, 32)
    result = corrupt(cifar10, "instance-dependent", rate, 10, 1, images=images)
    assert result.actual_rate == pytest.approx(expected, abs=0.007)
    np.testing.assert_allclose(np.diag(result.transition_matrix), 1 - expected, atol=0.03)
    assert ((result.transition_matrix > 0.001).sum(axis=1) > 3).all()


# --- the superclass table


def test_superclasses_are_the_official_ones(cifar100):
    meta = read("cifar-100-python/meta")
    coarse = np.array(read("cifar-100-python/train")["coarse_labels"])
    assert list(CIFAR100_SUPERCLASSES) == meta["coarse_label_names"]
    for superclass, (ids, names) in enumerate(zip(superclass_ids(), CIFAR100_SUPERCLASSES.values(), strict=True)):
        assert set(ids) == set(cifar100[coarse == superclass].tolist())
        assert [meta["fine_label_names"][fine] for fine in ids] == list(names)


# --- frozen: these may never change


@pytest.mark.parametrize(
    ("dataset", "noise", "rate", "seed", "sha256"),
    [
        ("cifar10", "symmetric", 0.4, 1, "cff13730e352d8917bcdea469abb74d8b26718cf56f52bb6202d65d7e990792c"),
        ("cifar10", "symmetric", 0.8, 2, "029de9fbeba30c1c4ac26c55c431f87cfdfdd92b73cd0269aac958dd320f8f16"),
        ("cifar10", "symmetric-exclusive", 0.4, 1, "e3ca0233a2576dfd7aeec4ae2db301d8186bbb766bae0dd66e263744366f42f6"),
        (
            "cifar10",
            "asymmetric-cifar10-sequential",
            0.4,
            1,
            "09175c923a174872500e9ba5128f4c0dda5a4481017560512386b56f2f17f89c",
        ),
        (
            "cifar10",
            "asymmetric-cifar10-independent",
            0.2,
            1,
            "dad93e0f14ca95b566abba42a9b7be83eec5a26dbfb8eb898ccf13d69c4ae117",
        ),
        ("cifar100", "symmetric", 0.4, 1, "a38b4ae7377184d96dd2697860032b5ff7ade5df07ed4cd2e7b9ec9dbdd3bd6e"),
        (
            "cifar100",
            "asymmetric-cifar100-superclass",
            0.4,
            1,
            "f2cc3685d11fdd0501b3e7cd9efd2f0fc7f841667569c831b87f7a8e6fe12b84",
        ),
        (
            "cifar100",
            "asymmetric-cifar100-block5",
            0.2,
            1,
            "b8bba37173621b761894f92a29ac8171b680ddf2503e0f1d4a77dae4e72b975a",
        ),
    ],
)
def test_frozen_labels(dataset, noise, rate, seed, sha256, request):
    labels = request.getfixturevalue(dataset)
    noisy = corrupt(labels, noise, rate, int(labels.max()) + 1, seed).labels
    assert hashlib.sha256(noisy.astype("<i8").tobytes()).hexdigest() == sha256
