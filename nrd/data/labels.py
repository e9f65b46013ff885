"""Given labels as files: ``index,true_label,given_label`` under a header that says how they were drawn.

The header holds the SHA-256 of the rows, so that a damaged file cannot be trained on, and the definition, rate, seed
and dataset, so that a file made for other settings cannot pass for this one.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nrd.configs import DatasetConfig
from nrd.data.arrays import Arrays
from nrd.files import write_text
from nrd.label_noise import corrupt
from nrd.layout import Layout
from nrd.spec import RunSpec, SpecError

TITLE = "# nrd labels, format 1"
COLUMNS = "index,true_label,given_label"
REMEDY = "delete it and run `nrd labels`"


@dataclass(frozen=True)
class Labels:
    """True and given training labels ``(N,)`` int64, and the measured share of changed ones."""

    true: np.ndarray
    given: np.ndarray

    @property
    def actual_rate(self) -> float:
        """Share of samples whose given label is wrong."""
        return float(np.mean(self.true != self.given))

    @property
    def mislabeled(self) -> np.ndarray:
        """Boolean mask ``(N,)``."""
        return self.true != self.given


def draw_labels(spec: RunSpec, arrays: Arrays, config: DatasetConfig, layout: Layout) -> Labels:
    """Draw a run's given labels, or read the published human ones.

    Raises:
        SpecError: the noise cannot be drawn for this dataset.
    """
    true, noise = arrays.train_labels, spec.noise
    if noise.definition == "human":
        return Labels(true, _human_labels(spec, config, layout, true))
    try:
        images = arrays.train_images if noise.definition == "instance-dependent" else None
        result = corrupt(true, noise.definition, noise.rate, spec.dataset.num_classes, spec.seed, images=images)
    except ValueError as error:
        raise SpecError(f"noise {noise.slug} for {spec.dataset.name}: {error}") from None
    return Labels(true, result.labels)


def _human_labels(spec: RunSpec, config: DatasetConfig, layout: Layout, true: np.ndarray) -> np.ndarray:
    from nrd.data.human_labels import load_cifar_n
    from nrd.data.sources import locate

    label_set = config.human[spec.noise.slug]
    path = locate(label_set.file, config, layout)
    if path is None:
        raise SpecError(
            f"{layout.raw / label_set.file}: there is no such file (nor under NRD_DATA); get it from {label_set.source}"
        )
    try:
        return load_cifar_n(path, spec.noise.label_set, true)
    except ValueError as error:
        raise SpecError(str(error)) from None


def _header(spec: RunSpec) -> dict[str, str]:
    """What identifies the labels: compared as text when a file is read."""
    noise = spec.noise
    return {
        "dataset": spec.dataset.name,
        "dataset_sha256": spec.dataset.checksum,
        "definition": noise.definition + (f" {noise.label_set}" if noise.label_set else ""),
        "semantics": str(noise.semantics),
        "nominal_rate": repr(noise.rate),
        "seed": str(spec.seed),
    }


def write_labels(labels: Labels, spec: RunSpec, path: Path) -> None:
    """Write a label file; it appears complete or not at all."""
    rows = zip(range(len(labels.true)), labels.true.tolist(), labels.given.tolist(), strict=True)
    body = COLUMNS + "\n" + "".join(f"{index},{true},{given}\n" for index, true, given in rows)
    header = {
        **_header(spec),
        "actual_rate": f"{labels.actual_rate:.6f}",
        "sha256": hashlib.sha256(body.encode()).hexdigest(),
    }
    lines = [TITLE, *(f"# {key}: {value}" for key, value in header.items())]
    write_text(path, "\n".join(lines) + "\n" + body)


def read_labels(spec: RunSpec, path: Path) -> Labels:
    """Read a run's given labels.

    Raises:
        SpecError: the file is missing, damaged, or was made for other settings; the message names it and the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError(f"{path}: there is no such file; `nrd labels` writes it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read ({error}); {REMEDY}") from None
    head, separator, rows = text.partition(COLUMNS + "\n")
    lines = head.splitlines()
    if not separator or lines[:1] != [TITLE]:
        raise SpecError(f"{path}: is not a label file: expected the line {TITLE!r} and the columns {COLUMNS}; {REMEDY}")
    header = dict(line.removeprefix("# ").split(": ", 1) for line in lines[1:] if ": " in line)
    for key, expected in _header(spec).items():
        if header.get(key) != expected:
            raise SpecError(f"{path}: {key}: is {header.get(key)}, but this run needs {expected}; {REMEDY}")
    if header.get("sha256") != hashlib.sha256((COLUMNS + "\n" + rows).encode()).hexdigest():
        raise SpecError(f"{path}: its rows were changed or cut short (SHA-256 differs from its header); {REMEDY}")
    try:
        table = np.array([line.split(",") for line in rows.splitlines()], dtype=np.int64).reshape(-1, 3)
    except (ValueError, OverflowError):
        raise SpecError(f"{path}: a row is not three whole numbers; {REMEDY}") from None
    _check_table(table, spec.dataset.num_classes, path)
    return Labels(table[:, 1].copy(), table[:, 2].copy())


def _check_table(table: np.ndarray, num_classes: int, path: Path) -> None:
    if not np.array_equal(table[:, 0], np.arange(len(table))):
        raise SpecError(f"{path}: index: must count 0, 1, 2, ... without gaps; {REMEDY}")
    labels = table[:, 1:]
    if labels.size and not (labels.min() >= 0 and labels.max() < num_classes):
        raise SpecError(f"{path}: a label is outside 0 to {num_classes - 1}; {REMEDY}")
