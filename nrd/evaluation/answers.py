"""What ``nrd analyse`` found out about a finished run's network: written, and read back. Needs no torch.

A file carries the SHA-256 of each of its arrays, of the weights that were asked, and of this list itself. Files that
are older than that have none, and are read without.
"""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from nrd.checksums import SEAL, digest, is_sealed, read_sums, sealed
from nrd.files import replace_file
from nrd.spec import SpecError

ARRAYS, WEIGHTS = "arrays", "weights"  # in what a file says about itself
KINDS = ("plain", "probabilities", "logits")  # without views, and the two means over views
POLICIES = ("training", "unseen")


@dataclass(frozen=True)
class Answers:
    """Arrays of one file, for N training images, M samples, E epochs, V views of a sample and K classes.

    Attributes:
        true: classes ``(N,)``.
        given: labels ``(N,)``.
        predicted: classes ``(3, N)`` in the order of :data:`KINDS`.
        confidence: probabilities of the predicted classes ``(3, N)``.
        loss: cross-entropies with respect to the true class ``(3, N)``, in nats.
        samples: places of the samples in the data ``(M,)``: clean ones, then mislabeled ones, all learned as labeled.
        images: the samples, uint8 ``(M, C, H, W)``.
        pictures: views of them as predictions are averaged over, uint8 ``(M, 8, C, H, W)``.
        epochs: whose networks predicted the points ``(E,)``; the last is the end of training.
        points: probabilities on views of the samples, ``(E, 2, M, V, K)``, under :data:`POLICIES`.
    """

    true: np.ndarray
    given: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    loss: np.ndarray
    samples: np.ndarray
    images: np.ndarray
    pictures: np.ndarray
    epochs: np.ndarray
    points: np.ndarray

    @property
    def wrong(self) -> np.ndarray:
        """Which images are mislabeled, ``(N,)``."""
        return self.true != self.given


def write_answers(path: Path, about: dict, arrays: dict[str, np.ndarray], folder: Path, weights: Iterable[str]) -> None:
    """Write a file.

    Args:
        path: of the file.
        about: what to say of it: at least the name of the ``run``.
        arrays: fields of :class:`Answers`.
        folder: of the run.
        weights: files in it whose networks were asked.
    """
    sums = {name: digest((folder / name).read_bytes()) for name in weights}
    about = sealed({**about, WEIGHTS: sums, ARRAYS: {key: digest_array(array) for key, array in arrays.items()}})
    with replace_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, about=np.array(json.dumps(about, sort_keys=True)), **arrays)


def digest_array(array: np.ndarray) -> str:
    """Return the SHA-256 of an array's type, shape and values."""
    content = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    content.update(np.ascontiguousarray(array))
    return content.hexdigest()


def read_answers(path: Path, run: str, folder: Path | None = None) -> Answers:
    """Read a file back.

    Args:
        path: of the file.
        run: whose network was asked.
        folder: of the run; by default the one that a project has where ``path`` is.

    Raises:
        SpecError: one line that names the file: it is missing or damaged, it is about another run, or the run has
            other weights by now.
    """
    again = f"`nrd analyse {run}` writes it"
    if not path.is_file():
        raise SpecError(f"{path}: there is no such file; {again}")
    try:
        with np.load(path, allow_pickle=False) as content:
            about = dict(json.loads(str(content["about"])))
            arrays = {field.name: content[field.name] for field in fields(Answers)}
        _check_sums(about, arrays)
        answers = Answers(**arrays)
        _check(answers)
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SpecError(f"{path}: is damaged ({reason}); delete it, {again}") from None
    if about.get("run") != run:
        raise SpecError(f"{path}: is about {about.get('run')}, not {run}; delete it, {again}")
    # results/analyses/<run>/<name>.npz beside results/runs/<run>
    other = _other_weights(about, folder or path.parent.parent.parent / "runs" / run)
    if other:
        raise SpecError(f"{path}: is about other weights than {other}; delete it, {again}")
    return answers


# A damaged archive fails in many places: its directory, its members' headers, their compression, their arrays.
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, NotImplementedError, OverflowError)
_UNREADABLE += (IndexError, RuntimeError, SyntaxError, MemoryError, zipfile.BadZipFile, zlib.error)


def _check_sums(about: dict, arrays: dict[str, np.ndarray]) -> None:
    if SEAL not in about:  # older than checksums
        return
    if not is_sealed(about):
        raise ValueError("what it says about itself does not have the SHA-256 that stands in it")
    for key, array in arrays.items():
        if about[ARRAYS].get(key) != digest_array(array):
            raise ValueError(f"{key}: its SHA-256 is not the one in the file")


def _other_weights(about: dict, folder: Path) -> Path | None:
    """Return a file of weights that is not the one that was asked; those that are absent here are taken on trust."""
    asked = about.get(WEIGHTS, {})
    sums = (read_sums(folder) if asked else None) or {}
    for name, expected in asked.items():
        path = folder / name
        # The list of checksums is quicker; who reads the weights themselves holds them against it.
        if name not in sums and not path.is_file():
            continue
        if expected != (sums.get(name) or digest(path.read_bytes())):
            return path
    return None


def _check(answers: Answers) -> None:
    size, samples, epochs = len(answers.true), len(answers.samples), len(answers.epochs)
    _, *image = answers.images.shape
    *_, views, classes = answers.points.shape
    shapes = {"true": (size,), "given": (size,), "samples": (samples,), "epochs": (epochs,)}
    shapes |= dict.fromkeys(("predicted", "confidence", "loss"), (len(KINDS), size))
    shapes |= {"images": (samples, *image), "pictures": (samples, *answers.pictures.shape[1:2], *image)}
    shapes["points"] = (epochs, len(POLICIES), samples, views, classes)
    for key, shape in shapes.items():
        if (found := getattr(answers, key).shape) != shape:
            raise ValueError(f"{key}: is of shape {found}, expected {shape}")
    if len(image) != 3:
        raise ValueError(f"images: are of shape {tuple(image)}, expected channels, height and width")
    if samples and not 0 <= answers.samples.min() <= answers.samples.max() < size:
        raise ValueError(f"samples: are not places in {size} images")
    for key in ("confidence", "loss", "points"):
        if not np.isfinite(getattr(answers, key)).all():
            raise ValueError(f"{key}: a value is not a number")
