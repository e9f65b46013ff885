"""Labels that people gave: CIFAR-N for the training images, CIFAR-10H for the test images.

CIFAR-N (Wei et al. 2022, "Learning with Noisy Labels Revisited", CC BY-NC 4.0) relabels CIFAR's training sets on a
crowd-working platform; CIFAR-10H (Peterson et al. 2019, CC BY-NC-SA 4.0) gives about 50 classifications for each
test image of CIFAR-10. Both come in the order of the original CIFAR files.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class _Source:
    """A published CIFAR-N file: its place below the data root, its checksum and its number of classes."""

    file: str
    sha256: str
    num_classes: int


_CIFAR10N = _Source("cifarn/CIFAR-10_human.pt", "873e69c39cb9b5e97fb6bae2d60bb59b38a5cbc31d2b868f7903dcb2b9dd2310", 10)
_CIFAR100N = _Source(
    "cifarn/CIFAR-100_human.pt", "bd2d80409754d420292d622e15e25248ba21e37d27429efac49c8da723f44394", 100
)

# Name of a label set → its file and its key there.
CIFAR_N_LABEL_SETS: dict[str, tuple[_Source, str]] = {
    "aggre": (_CIFAR10N, "aggre_label"),
    "random1": (_CIFAR10N, "random_label1"),
    "random2": (_CIFAR10N, "random_label2"),
    "random3": (_CIFAR10N, "random_label3"),
    "worst": (_CIFAR10N, "worse_label"),  # the published file's own spelling
    "noisy-fine": (_CIFAR100N, "noisy_label"),
}
_CIFAR10H = "cifar10h/cifar10h-probs.npy"


def _locate(path: str | Path, file: str, origin: str) -> Path:
    """Return the file itself, given it or the data root above it."""
    path = Path(path)
    if path.is_dir():
        path = path / file
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: get {Path(file).name} from {origin}")
    return path


def _load_checked(path: Path, source: _Source) -> dict:
    """Unpickle a file after its checksum, and even then nothing but arrays and lists."""
    import torch
    from numpy._core import multiarray

    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != source.sha256:
        raise ValueError(f"{path} is not the published file: expected SHA-256 {source.sha256}, found {found}")
    # The files were written by NumPy 1, under which these two lived in numpy.core.
    allowed = [
        (multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
        (multiarray.scalar, "numpy.core.multiarray.scalar"),
        np.ndarray,
        np.dtype,
        type(np.dtype(np.int64)),
    ]
    with torch.serialization.safe_globals(allowed):
        return torch.load(path, weights_only=True)


def load_cifar_n(path: str | Path, label_set: str, true_labels: ArrayLike | None = None) -> NDArray[np.int64]:
    """Load a set of human labels for CIFAR's 50 000 training images.

    Args:
        path: the file, or the data root that holds ``cifarn/CIFAR-10_human.pt`` and ``cifarn/CIFAR-100_human.pt``.
        label_set: for CIFAR-10 ``aggre`` (majority of three people, 9.01 % wrong), ``random1``, ``random2``,
            ``random3`` (one of the three each, 17.23, 18.12 and 17.64 %) or ``worst`` (a wrong one wherever there
            is one, 40.21 %); for CIFAR-100 ``noisy-fine`` (40.20 %).
        true_labels: (50 000,) labels of the dataset that these are for; given, they must be those of the file, so
            that a dataset in another order is found out.

    Returns:
        (50 000,) int64 in the order of the original files.

    Raises:
        FileNotFoundError: without the file, saying where to get it.
        ValueError: for an unknown label set, a file other than the published one, or other true labels.
    """
    if label_set not in CIFAR_N_LABEL_SETS:
        raise ValueError(f"unknown CIFAR-N label set {label_set!r}; known: {', '.join(CIFAR_N_LABEL_SETS)}")
    source, key = CIFAR_N_LABEL_SETS[label_set]
    path = _locate(path, source.file, "https://github.com/UCSC-REAL/cifar-10-100n (folder data)")
    content = _load_checked(path, source)
    if true_labels is not None and not np.array_equal(np.asarray(true_labels), content["clean_label"]):
        raise ValueError(f"the dataset's labels are not those of {path}: is it CIFAR-{source.num_classes} in order?")
    return np.asarray(content[key], dtype=np.int64)


def load_cifar10h(path: str | Path) -> NDArray[np.float64]:
    """Load the human label distributions of CIFAR-10's 10 000 test images.

    Args:
        path: ``cifar10h-probs.npy``, or the data root that holds it as ``cifar10h/cifar10h-probs.npy``.

    Returns:
        (10 000, 10) float64, rows adding up to 1, in the order of the original test file.

    Raises:
        FileNotFoundError: without the file, saying where to get it.
        ValueError: where the file is not an array of 10 000 distributions over 10 classes.
    """
    path = _locate(path, _CIFAR10H, "https://github.com/jcpeterson/cifar-10h (folder data)")
    shares = np.load(path, allow_pickle=False)
    if shares.shape != (10_000, 10) or (shares < 0).any() or not np.allclose(shares.sum(axis=1), 1):
        raise ValueError(f"{path} does not hold 10 000 distributions over 10 classes (shape {shares.shape})")
    return shares.astype(np.float64)
