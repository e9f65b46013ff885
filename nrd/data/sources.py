"""Where raw images come from: bundled, downloaded by torchvision's own classes, or in a folder that holds them.

A file is opened only after its checksum matched: the CIFAR archives are pickles.
"""

import hashlib
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from nrd.configs import DatasetConfig
from nrd.data.arrays import Arrays, save_arrays, stratified_indices
from nrd.layout import Layout
from nrd.spec import SpecError

# Fixed choices that name no run: they show in the datasets' checksums.
DIGITS_TEST_SIZE = 500
SPLIT_SEED = 0


def prepare(config: DatasetConfig, layout: Layout, download: bool = True) -> Path:
    """Read a dataset from its source, verify it, and write its prepared arrays.

    Returns:
        The prepared file's path. An existing file is trusted only by those who load it: they check its content.

    Raises:
        SpecError: the source is missing or altered; the message names the file.
    """
    arrays = read_arrays(config, layout, download)
    found = arrays.checksum()
    if found != config.checksum:
        raise SpecError(
            f"params/datasets/{config.name}.yaml: checksum: the source's content has {found}, not {config.checksum}"
        )
    path = layout.dataset(config.name)
    save_arrays(arrays, path)
    return path


def read_arrays(config: DatasetConfig, layout: Layout, download: bool = True) -> Arrays:
    """Return the dataset's arrays straight from its source, with its subset taken."""
    if config.source not in SOURCES:
        raise SpecError(
            f"params/datasets/{config.name}.yaml: source: there is no {config.source!r}; allowed: {', '.join(SOURCES)}"
        )
    arrays = SOURCES[config.source](config, layout, download)
    if config.subset is None:
        return arrays
    return Arrays(
        *_part(config, "train", arrays.train_images, arrays.train_labels),
        *_part(config, "test", arrays.test_images, arrays.test_labels),
    )


def _part(config: DatasetConfig, name: str, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    size = getattr(config.subset, name)
    if size is None:
        return images, labels
    if size > len(labels):
        raise SpecError(
            f"params/datasets/{config.name}.yaml: subset.{name}: {size} is more than the {len(labels)} images there are"
        )
    keep = stratified_indices(labels, size, SPLIT_SEED)
    return images[keep], labels[keep]


def _digits(config: DatasetConfig, layout: Layout, download: bool) -> Arrays:
    """scikit-learn's 1797 real 8x8 digits (0 to 16 grey levels, here times 15), a fixed stratified test part."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images * 15).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    test = stratified_indices(labels, DIGITS_TEST_SIZE, SPLIT_SEED)
    train = np.setdiff1d(np.arange(len(labels)), test)
    return Arrays(images[train], labels[train], images[test], labels[test])


def _cifar(config: DatasetConfig, layout: Layout, download: bool) -> Arrays:
    """CIFAR-10 or CIFAR-100 through torchvision's class, in the canonical order."""
    from torchvision import datasets

    source = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[config.source]
    found = locate(source.base_folder, config, layout)
    root = found.parent if found else None
    if root is None:
        if not download:
            raise SpecError(f"{layout.raw / source.base_folder}: there is no such folder, and downloading is off")
        root = layout.raw
        root.mkdir(parents=True, exist_ok=True)
        try:
            with _contained_archives():
                source(root, train=True, download=True)
        except (OSError, RuntimeError, tarfile.TarError) as error:
            raise SpecError(
                f"{root}: {config.title} could not be downloaded ({error}); put its folder {source.base_folder}/ "
                "there, or name the folder that holds it in NRD_DATA"
            ) from None
    files = [*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])]
    for name, md5 in files:
        verify(root / source.base_folder / name, md5)
    train, test = source(root, train=True), source(root, train=False)
    return Arrays(*_planes(train), *_planes(test))


@contextmanager
def _contained_archives() -> Iterator[None]:
    """Let archives write below their own folder only; torchvision leaves that to Python, which is safe from 3.14."""
    before = tarfile.TarFile.extraction_filter
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    try:
        yield
    finally:
        tarfile.TarFile.extraction_filter = before


def _planes(dataset: object) -> tuple[np.ndarray, np.ndarray]:
    images = np.ascontiguousarray(dataset.data.transpose(0, 3, 1, 2))
    return images, np.asarray(dataset.targets, dtype=np.int64)


def locate(name: str, config: DatasetConfig, layout: Layout) -> Path | None:
    """Return the first that exists of ``name`` in the YAML's folder, in that of NRD_DATA, and in ``data/raw``."""
    folders = [layout.raw]
    if os.environ.get("NRD_DATA"):
        folders.insert(0, Path(os.environ["NRD_DATA"]))
    if config.folder is not None:
        folders.insert(0, config.folder)
        if not config.folder.is_dir():
            raise SpecError(f"params/datasets/{config.name}.yaml: folder: {config.folder} is not a folder")
    return next((folder / name for folder in folders if (folder / name).exists()), None)


def verify(path: Path, md5: str) -> None:
    """Refuse a file whose MD5 is not the published one.

    Raises:
        SpecError: the file is missing, or its content is not the published content.
    """
    if not path.is_file():
        raise SpecError(f"{path}: is missing; delete its folder to download it again")
    digest = hashlib.md5()  # what the publishers give; guards against damage, not against forgery
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != md5:
        raise SpecError(
            f"{path}: is truncated or altered (MD5 {digest.hexdigest()}, published {md5}); "
            "delete its folder to download it again"
        )


SOURCES: dict[str, Callable[[DatasetConfig, Layout, bool], Arrays]] = {
    "digits": _digits,
    "cifar10": _cifar,
    "cifar100": _cifar,
}
