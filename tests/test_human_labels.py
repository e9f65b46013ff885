"""CIFAR-N and CIFAR-10H: what is refused, and what the published files hold (NRD_DATA: the folder with them)."""

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from nrd.data import human_labels
from nrd.data.human_labels import CIFAR_N_LABEL_SETS, load_cifar10h, load_cifar_n

ROOT = Path(os.environ.get("NRD_DATA", ""))
SETS_10 = ["aggre", "random1", "random2", "random3", "worst"]


def needs(file):
    if "NRD_DATA" not in os.environ or not (ROOT / file).is_file():
        pytest.skip(f"needs {file} in the folder that NRD_DATA names")
    return ROOT / file


def read(file):
    with needs(file).open("rb") as stream:
        return pickle.load(stream, encoding="latin1")


def true_labels(classes):
    if classes == 100:
        return np.array(read("cifar-100-python/train")["fine_labels"])
    return np.concatenate([read(f"cifar-10-batches-py/data_batch_{part}")["labels"] for part in range(1, 6)])


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


# --- without files


def test_a_missing_file_says_where_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"CIFAR-10_human.pt from https://github.com/UCSC-REAL/cifar-10-100n"):
        load_cifar_n(tmp_path / "CIFAR-10_human.pt", "worst")
    with pytest.raises(FileNotFoundError, match=r"cifarn/CIFAR-100_human.pt: get CIFAR-100_human.pt"):
        load_cifar_n(tmp_path, "noisy-fine")
    with pytest.raises(FileNotFoundError, match=r"cifar10h-probs.npy from https://github.com/jcpeterson/cifar-10h"):
        load_cifar10h(tmp_path)


def test_an_unknown_label_set_lists_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"unknown CIFAR-N label set 'worse'; known: aggre, random1, .*, noisy-fine"):
        load_cifar_n(tmp_path, "worse")


def test_another_file_is_not_unpickled(tmp_path):
    path, trace = tmp_path / "CIFAR-10_human.pt", tmp_path / "trace"
    torch.save({"aggre_label": Bomb(trace)}, path)
    with pytest.raises(ValueError, match="expected SHA-256 873e69c3") as error:
        load_cifar_n(path, "aggre")
    assert str(path) in str(error.value)
    assert not trace.exists()


def test_even_a_file_with_the_right_checksum_cannot_run_code(tmp_path, monkeypatch):
    path, trace = tmp_path / "CIFAR-10_human.pt", tmp_path / "trace"
    torch.save({"aggre_label": Bomb(trace)}, path)
    source = human_labels._Source("x", human_labels.hashlib.sha256(path.read_bytes()).hexdigest(), 10)
    monkeypatch.setitem(human_labels.CIFAR_N_LABEL_SETS, "aggre", (source, "aggre_label"))
    with pytest.raises(pickle.UnpicklingError):
        load_cifar_n(path, "aggre")
    assert not trace.exists()


def test_the_bomb_of_these_tests_goes_off(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "trace"))).close()
    assert (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    "shares",
    [np.full((10, 10), 0.1), np.full((10_000, 10), 0.2), np.tile([1.1, -0.1] + [0] * 8, (10_000, 1))],
    ids=["too few", "no distribution", "negative"],
)
def test_cifar10h_refuses_what_is_no_distribution(tmp_path, shares):
    np.save(tmp_path / "cifar10h-probs.npy", shares)
    with pytest.raises(ValueError, match="does not hold 10 000 distributions over 10 classes"):
        load_cifar10h(tmp_path / "cifar10h-probs.npy")


def test_cifar10h_refuses_pickles(tmp_path):
    np.save(tmp_path / "cifar10h-probs.npy", np.array([Bomb(tmp_path / "trace")], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        load_cifar10h(tmp_path / "cifar10h-probs.npy")
    assert not (tmp_path / "trace").exists()


# --- the published files


def test_an_altered_file_is_named_with_what_was_expected_and_found(tmp_path):
    path = tmp_path / "CIFAR-10_human.pt"
    shutil.copyfile(needs("cifarn/CIFAR-10_human.pt"), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"human.pt .* expected SHA-256 873e69c\w{57}, found \w{64}$"):
        load_cifar_n(path, "worst")


@pytest.mark.parametrize(
    ("label_set", "percent"),
    [
        ("aggre", 9.01),
        ("random1", 17.23),
        ("random2", 18.12),
        ("random3", 17.64),
        ("worst", 40.21),
        ("noisy-fine", 40.20),
    ],
)
def test_published_rates_in_the_order_of_the_dataset(label_set, percent):
    classes = 100 if label_set == "noisy-fine" else 10
    needs(f"cifarn/CIFAR-{classes}_human.pt")
    true = true_labels(classes)
    labels = load_cifar_n(ROOT, label_set, true_labels=true)
    assert labels.shape == (50_000,)
    assert labels.dtype == np.int64
    assert set(labels.tolist()) == set(range(classes))
    assert 100 * (labels != true).mean() == pytest.approx(percent, abs=0.005)
    assert np.array_equal(labels, load_cifar_n(ROOT / "cifarn" / f"CIFAR-{classes}_human.pt", label_set))


def test_a_dataset_in_another_order_is_found_out():
    needs("cifarn/CIFAR-10_human.pt")
    with pytest.raises(ValueError, match=r"labels are not those of .*CIFAR-10_human.pt: is it CIFAR-10 in order"):
        load_cifar_n(ROOT, "worst", true_labels=np.roll(true_labels(10), 1))


def test_aggre_and_worst_are_what_wei_et_al_say():
    """The majority where two of three people agree; a wrong label wherever there is one."""
    needs("cifarn/CIFAR-10_human.pt")
    labels = {name: load_cifar_n(ROOT, name) for name in SETS_10}
    people = np.stack([labels[f"random{person}"] for person in (1, 2, 3)])
    true = true_labels(10)
    for one, other in [(0, 1), (0, 2), (1, 2)]:
        agree = people[one] == people[other]
        assert np.array_equal(labels["aggre"][agree], people[one][agree])
    assert np.array_equal(labels["worst"] != true, (people != true).any(axis=0))
    assert (labels["worst"] == people).any(axis=0).all()


def test_cifar10h_agrees_with_the_test_labels():
    needs("cifar10h/cifar10h-probs.npy")
    shares = load_cifar10h(ROOT)
    assert shares.shape == (10_000, 10)
    assert shares.dtype == np.float64
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    test = np.array(read("cifar-10-batches-py/test_batch")["labels"])
    assert (shares.argmax(axis=1) == test).mean() > 0.98  # chance in any other order
    assert 0.9 < shares[np.arange(10_000), test].mean() < 0.97  # single people: about 95 %


def test_label_sets_are_all_tested_here():
    assert set(CIFAR_N_LABEL_SETS) == {*SETS_10, "noisy-fine"}
