"""Prepared datasets: uint8 images and labels in one file that is loaded without executing anything."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from nrd.files import write_bytes
from nrd.spec import SpecError

KEYS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True)
class Arrays:
    """Images ``(N, C, H, W)`` uint8 and true labels ``(N,)`` int64, training and test part."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    def checksum(self) -> str:
        """Return the SHA-256 over names, types, shapes and bytes: the dataset's identity in every spec."""
        digest = hashlib.sha256()
        for key in KEYS:
            array = np.ascontiguousarray(getattr(self, key))
            digest.update(f"{key}:{array.dtype.str}:{array.shape}\n".encode())
            digest.update(array.data)
        return digest.hexdigest()


def save_arrays(arrays: Arrays, path: Path) -> None:
    """Write the arrays; the file appears complete or not at all."""
    write_bytes(path, save({key: np.ascontiguousarray(getattr(arrays, key)) for key in KEYS}))


def load_arrays(path: Path, checksum: str) -> Arrays:
    """Read prepared arrays and refuse a file that does not hold exactly what the spec names.

    Raises:
        SpecError: the file is missing, damaged, or holds other data than ``checksum`` says.
    """
    if not path.is_file():
        raise SpecError(f"{path}: there is no such file; `nrd data {path.stem}` prepares it")
    remedy = f"delete it and run `nrd data {path.stem}`"
    try:
        content = load_file(path)
        arrays = Arrays(**{key: content[key] for key in KEYS})
    except (SafetensorError, KeyError, OSError, ValueError) as error:
        raise SpecError(f"{path}: is damaged ({error}); {remedy}") from None
    if (found := arrays.checksum()) != checksum:
        raise SpecError(f"{path}: its content has SHA-256 {found}, expected {checksum}; {remedy}")
    return arrays


def stratified_indices(labels: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Return ``size`` sorted indices that keep the classes' shares (largest remainders), the same on every machine.

    Args:
        labels: true labels ``(N,)``.
        size: how many to take, at most ``N``.
        seed: of the frozen generator.

    >>> labels = np.repeat([0, 1], [6, 4])
    >>> np.bincount(labels[stratified_indices(labels, 5, seed=0)]).tolist()
    [3, 2]
    """
    if not 0 <= size <= len(labels):
        raise ValueError(f"cannot take {size} of {len(labels)} samples")
    classes, counts = np.unique(labels, return_counts=True)
    exact = counts * size / len(labels)
    take = np.floor(exact).astype(int)
    largest = np.argsort(-(exact - take), kind="stable")[: size - take.sum()]
    take[largest] += 1
    random = np.random.RandomState(seed)
    chosen = [random.permutation(np.flatnonzero(labels == c))[:n] for c, n in zip(classes, take, strict=True)]
    return np.sort(np.concatenate(chosen))
