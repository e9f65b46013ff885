"""Datasets and given labels: verified before use, the same everywhere, refused by name when altered."""

import pickle
import shutil

import numpy as np
import pytest

from nrd.data.arrays import load_arrays, stratified_indices
from nrd.data.labels import draw_labels, read_labels, write_labels
from nrd.data.sources import prepare, read_arrays
from nrd.spec import SpecError
from tests.conftest import prepare_run


def test_digits_are_scikit_learns(project):
    from sklearn.datasets import load_digits

    bunch = load_digits()
    arrays = read_arrays(project.datasets["digits"], project.layout)
    images = np.concatenate([arrays.train_images, arrays.test_images])[:, 0]
    assert images.dtype == np.uint8
    ours = {
        (image.tobytes(), label)
        for image, label in zip(images, np.append(arrays.train_labels, arrays.test_labels), strict=True)
    }
    theirs = {((i * 15).astype(np.uint8).tobytes(), t) for i, t in zip(bunch.images, bunch.target, strict=True)}
    assert ours == theirs
    assert len(images) == 1797
    assert len(arrays.test_labels) == 500


@pytest.mark.parametrize("name", ["digits", "cifar10", "cifar100", "cifar10-5k"])
def test_normalisation_and_sizes_are_the_datasets(project, name, request):
    if name != "digits":
        request.getfixturevalue("real_data")
    config = project.datasets[name]
    arrays = read_arrays(config, project.layout, download=False)
    assert arrays.checksum() == config.checksum
    assert (len(arrays.train_labels), len(arrays.test_labels)) == (config.train_size, config.test_size)
    # CIFAR-10's usual mean is rounded at the fourth digit; its usual deviation is that of images, not of pixels
    assert np.allclose(arrays.train_images.mean((0, 2, 3)) / 255, config.mean, atol=2e-3)
    assert np.allclose(arrays.train_images.std((0, 2, 3)) / 255, config.std, atol=0.07)


def test_cifar_is_torchvisions(project, real_data):
    """Independent of torchvision: straight from the official pickles."""
    arrays = read_arrays(project.datasets["cifar10"], project.layout, download=False)
    with (real_data / "cifar-10-batches-py" / "data_batch_3").open("rb") as file:
        batch = pickle.load(file, encoding="latin1")
    assert np.array_equal(arrays.train_images[20000:30000].reshape(10000, -1), batch["data"])
    assert arrays.train_labels[20000:30000].tolist() == batch["labels"]


def test_the_5k_subset_is_stratified_and_part_of_cifar10(project, real_data):
    whole = read_arrays(project.datasets["cifar10"], project.layout, download=False)
    part = read_arrays(project.datasets["cifar10-5k"], project.layout, download=False)
    assert np.bincount(part.train_labels).tolist() == [500] * 10
    known = {image.tobytes() for image in whole.train_images}
    assert all(image.tobytes() in known for image in part.train_images)
    assert np.array_equal(part.test_images, whole.test_images)


@pytest.mark.parametrize("damage", ["truncated", "altered", "missing"])
def test_a_damaged_source_is_refused_by_name_and_never_unpickled(project, real_data, damage):
    folder = project.layout.raw / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for file in (real_data / "cifar-10-batches-py").iterdir():
        (folder / file.name).symlink_to(file)
    target = folder / "data_batch_2"
    content = target.read_bytes()
    target.unlink()
    if damage == "truncated":
        target.write_bytes(content[:-7])
    elif damage == "altered":
        target.write_bytes(content[:1000] + b"X" + content[1001:])
    config = project.datasets["cifar10"].model_copy(update={"folder": project.layout.raw})
    with pytest.raises(SpecError, match=rf"{target}: is (truncated or altered|missing)"):
        prepare(config, project.layout, download=False)
    assert not project.layout.dataset("cifar10").exists()


def test_a_pickle_that_would_run_code_is_not_opened(project, tmp_path, monkeypatch):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    folder = project.layout.raw / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]:
        (folder / name).write_bytes(pickle.dumps(Bomb()))
    monkeypatch.delenv("NRD_DATA", raising=False)
    with pytest.raises(SpecError, match="truncated or altered"):
        prepare(project.datasets["cifar10"], project.layout, download=False)
    assert not (tmp_path / "exploded").exists()


def test_without_files_and_downloads_the_message_says_where_to_put_them(project, monkeypatch):
    monkeypatch.delenv("NRD_DATA", raising=False)
    with pytest.raises(SpecError, match=r"data/raw/cifar-100-python: there is no such folder, and downloading is off"):
        prepare(project.datasets["cifar100"], project.layout, download=False)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "other", "missing", "empty"])
def test_a_damaged_prepared_file_is_refused_by_name(project, damage):
    config = project.datasets["digits"]
    path = prepare(config, project.layout)
    content = bytearray(path.read_bytes())
    checksum = config.checksum
    if damage == "truncated":
        path.write_bytes(content[:-100])
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "other":
        checksum = "0" * 64
    elif damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"")
    with pytest.raises(SpecError, match=str(path)):
        load_arrays(path, checksum)


def test_stratified_indices_against_scikit_learns_split():
    from sklearn.model_selection import StratifiedShuffleSplit

    labels = np.random.default_rng(0).integers(0, 7, 1000)
    ours = stratified_indices(labels, 250, seed=3)
    _, theirs = next(StratifiedShuffleSplit(1, test_size=250, random_state=0).split(labels, labels))
    assert len(set(ours)) == 250
    assert np.abs(np.bincount(labels[ours]) - np.bincount(labels[theirs])).max() <= 1


def test_labels_are_the_same_on_every_machine(project):
    """The whole file is pinned: drawing, order, and format."""
    import hashlib

    spec = next(iter(project.study("demo").specs.values()))
    prepare_run(project, spec)
    content = project.layout.labels("digits.sym40.s1").read_bytes()
    assert hashlib.sha256(content).hexdigest() == "72d1177a0126719746b525e608a7a0fa6b4e69c6b4c9dacffe3ef6d8e3ce3d6c"


def test_label_files_tell_what_they_are(project):
    spec = next(iter(project.study("demo").specs.values()))
    prepare_run(project, spec)
    path = project.layout.labels(spec.labels_name)
    lines = path.read_text().splitlines()
    header = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# ") and ": " in line)
    table = np.loadtxt(path, delimiter=",", comments="#", skiprows=len(header) + 2, dtype=int)
    assert float(header["actual_rate"]) == pytest.approx(np.mean(table[:, 1] != table[:, 2]), abs=1e-6)
    assert (header["definition"], header["nominal_rate"], header["seed"]) == ("symmetric", "0.4", "1")
    labels = read_labels(spec, path)
    assert np.array_equal(labels.given, table[:, 2])


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("# seed: 1", "# seed: 2", "seed: is 2, but this run needs 1"),
        ("# nominal_rate: 0.4", "# nominal_rate: 0.6", "nominal_rate: is 0.6, but this run needs 0.4"),
        ("# definition: symmetric", "# definition: pair", "definition: is pair"),
        ("\n7,", "\n8,", "changed or cut short"),
        ("index,true_label", "index,label", "is not a label file"),
        ("# nrd labels", "# labels", "is not a label file"),
    ],
)
def test_a_label_file_for_something_else_is_refused(project, old, new, expected):
    spec = next(iter(project.study("demo").specs.values()))
    prepare_run(project, spec)
    path = project.layout.labels(spec.labels_name)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(SpecError, match=expected) as error:
        read_labels(spec, path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_human_labels_are_read_from_the_published_file(project, real_data):
    from nrd.configs import LabelSet
    from nrd.study import resolve_noise

    config = project.datasets["cifar10"]
    if not config.human:
        source = {"file": "cifarn/CIFAR-10_human.pt", "source": "the publishers"}
        checksum = "873e69c39cb9b5e97fb6bae2d60bb59b38a5cbc31d2b868f7903dcb2b9dd2310"
        config = config.model_copy(update={"human": {"worst": LabelSet(**source, checksum=checksum)}})
    spec = next(iter(project.study("paper").specs.values()))
    spec = spec.model_copy(update={"noise": resolve_noise("worst", config, "here")})
    arrays = read_arrays(config, project.layout, download=False)
    labels = draw_labels(spec, arrays, config, project.layout)
    assert labels.actual_rate == pytest.approx(0.4021, abs=5e-5)
    path = project.layout.labels(spec.labels_name)
    write_labels(labels, spec, path)
    assert np.array_equal(read_labels(spec, path).given, labels.given)


def test_no_half_written_file_is_left_when_the_disk_is_full(project, tmp_path):
    from nrd.files import replace_file

    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    path.write_text("old")
    with pytest.raises(OSError, match="No space"), replace_file(path) as temporary:
        temporary.write_text("half")
        shutil.copyfile("/dev/zero", "/dev/full")
    assert [p.name for p in path.parent.iterdir()] == ["file"]
    assert path.read_text() == "old"
