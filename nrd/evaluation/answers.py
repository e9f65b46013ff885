"""What ``nrd analyse`` found out about a finished run's network, read back. Needs no torch."""

import json
import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from nrd.spec import SpecError

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


def read_answers(path: Path, run: str) -> Answers:
    """Read a file back.

    Raises:
        SpecError: one line that names the file: it is missing or damaged, or it is about another run.
    """
    again = f"`nrd analyse {run}` writes it"
    if not path.is_file():
        raise SpecError(f"{path}: there is no such file; {again}")
    try:
        with np.load(path, allow_pickle=False) as content:
            about = json.loads(str(content["about"]))
            answers = Answers(**{field.name: content[field.name] for field in fields(Answers)})
            _check(answers)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise SpecError(f"{path}: is damaged ({reason}); delete it, {again}") from None
    if about.get("run") != run:
        raise SpecError(f"{path}: is about {about.get('run')}, not {run}; delete it, {again}")
    return answers


def _check(answers: Answers) -> None:
    size, samples = len(answers.true), len(answers.samples)
    shapes = {key: getattr(answers, key).shape for key in ("given", "predicted", "confidence", "loss")}
    if shapes != {"given": (size,), **dict.fromkeys(("predicted", "confidence", "loss"), (3, size))}:
        raise ValueError("its arrays do not fit together")
    epochs, policies, number, *_ = answers.points.shape
    if (epochs, policies, number) != (len(answers.epochs), 2, samples) or len(answers.images) != samples:
        raise ValueError("its samples do not fit together")
    for key in ("confidence", "loss", "points"):
        if not np.isfinite(getattr(answers, key)).all():
            raise ValueError(f"{key}: a value is not a number")
