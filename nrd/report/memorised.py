"""Data behind the paper's figures of networks that memorised wrong labels: Figures 1, 2a and 2b, Table 6.

From the files that ``nrd analyse`` wrote to CSV files in the report's folder; no network, no dataset, no torch.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from nrd.evaluation.answers import KINDS, POLICIES, Answers, read_answers
from nrd.evaluation.calibration import calibration_of
from nrd.evaluation.dynamics import true_class_confidence
from nrd.evaluation.projection import project
from nrd.files import replace_file
from nrd.layout import Layout
from nrd.metrics import density_auroc
from nrd.report.analyses import TEXT, described
from nrd.report.published import read_printed
from nrd.report.reliability import NUMBERS, diagram_rows
from nrd.report.results import read_csv, read_state, write_csv
from nrd.report.titles import Titles
from nrd.spec import SpecError
from nrd.study import Study, StudyRun

FIGURE_1, SAMPLES, FIGURE_2A, FIGURE_2B = "figure1.csv", "samples.npz", "figure2a.csv", "figure2b.csv"
TABLE_6, TABLE_6_POINTS = "table6.csv", "table6-points.csv"
KEYS = (*TEXT, "run")
PARTS = ("mislabeled", "clean", "all")
HISTOGRAM_BINS = 60


@dataclass(frozen=True)
class Looked:
    """A finished run and what its network answered."""

    run: StudyRun
    answers: Answers

    def keys(self, titles: Titles) -> dict[str, str]:
        """Its keys and titles, as columns of a data file."""
        spec = self.run.spec
        keys = (self.run.table, spec.dataset.name, spec.noise.slug, self.run.variant or "", spec.method.name)
        named = dict(zip(("table", "dataset", "noise", "variant", "method"), keys, strict=True))
        return described(named, titles) | {"run": spec.name}

    @property
    def average(self) -> int:
        """Place of the mean that the figures show, in :data:`nrd.evaluation.answers.KINDS`."""
        return KINDS.index(self.run.views.average)


def read_looked(study: Study, layout: Layout, figure: str) -> tuple[list[Looked], dict[str, str]]:
    """Return the runs of a figure that can be shown, by noise rate, and the reason for each that cannot."""
    found, reasons = [], {}
    for run in sorted(study.pictured(figure), key=lambda run: (run.spec.dataset.name, run.spec.noise.rate)):
        state = read_state(run.spec.name, layout)
        if state.status != "done":
            reasons[run.spec.name] = state.reason
            continue
        try:
            path = layout.analysis(run.spec.name, run.views.name)
            found.append(Looked(run, read_answers(path, run.spec.name)))
        except SpecError as error:
            reasons[run.spec.name] = " ".join(str(error).split())
    return found, reasons


def first_seeds(looked: list[Looked]) -> list[Looked]:
    """Keep one run of each dataset and noise: a figure shows one network."""
    return list({(one.run.spec.dataset.name, one.run.spec.noise.slug): one for one in reversed(looked)}.values())[::-1]


def write_figure_1(folder: Path, looked: list[Looked], titles: Titles, layout: Layout) -> None:
    """Write ``figure1.csv``: histograms of the cross-entropy w.r.t. the true label, plain and over views.

    One row per run, part (mislabeled, clean, all), kind (plain, vicinal) and bin: bounds ``low`` and ``high`` in nats,
    ``count`` and ``density`` per nat; and, the same in all rows of a run and part, ``auroc``, ``draws``, ``average``
    and the ``published_auroc`` of the same noise (of the paper's dataset, ``published_dataset``).
    """
    paper = {row.noise: row for row in read_printed(layout, "density AUROC").itertuples()}
    rows = []
    for one in looked:
        theirs = paper.get(one.run.spec.noise.slug)
        same = one.keys(titles) | {
            "draws": one.run.views.draws,
            "average": one.run.views.average,
            "published_auroc": theirs.value if theirs else math.nan,
            "published_dataset": theirs.dataset if theirs else "",
        }
        rows += [same | row for row in _histograms(one)]
    columns = [*KEYS, "draws", "average", "part", "kind", "low", "high", "count", "density", "auroc"]
    table = pd.DataFrame(rows, columns=[*columns, "published_auroc", "published_dataset"])
    write_csv(folder / FIGURE_1, table, float_format="%.6g")


def _histograms(one: Looked) -> list[dict]:
    answers, rows = one.answers, []
    losses = {"plain": answers.loss[0], "vicinal": answers.loss[one.average]}
    top = max(1.0, math.ceil(max(float(values.max(initial=0)) for values in losses.values())))
    edges = np.linspace(0, top, HISTOGRAM_BINS + 1)
    masks = (answers.wrong, ~answers.wrong, np.ones(len(answers.wrong), bool))
    for part, mask in zip(PARTS, masks, strict=True):
        if not mask.any():
            continue
        auroc = density_auroc(losses["plain"][mask], losses["vicinal"][mask])
        for kind, values in losses.items():
            counts = np.histogram(values[mask], edges)[0]
            density = counts / mask.sum() / (edges[1] - edges[0])
            for place, count in enumerate(counts):
                own = {"low": edges[place], "high": edges[place + 1], "count": int(count), "density": density[place]}
                rows.append({"part": part, "kind": kind, **own, "auroc": auroc})
    return rows


def write_samples(folder: Path, looked: list[Looked]) -> None:
    """Write ``samples.npz``: images, views of them and losses of the samples of each run.

    Arrays per run: ``<run>/images`` (M, C, H, W) and ``<run>/pictures`` (M, 8, C, H, W) uint8, ``<run>/true``,
    ``<run>/given`` and ``<run>/predicted`` (M,), ``<run>/losses`` (2, M) in nats: plain, over views.
    """
    content = {}
    for one in looked:
        answers, place = one.answers, one.answers.samples
        own = {
            "images": answers.images,
            "pictures": answers.pictures,
            "true": answers.true[place],
            "given": answers.given[place],
            "predicted": answers.predicted[one.average][place],
            "losses": answers.loss[[0, one.average]][:, place],
        }
        content |= {f"{one.run.spec.name}/{key}": value for key, value in own.items()}
    with replace_file(folder / SAMPLES) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **content)


def write_figure_2a(folder: Path, looked: list[Looked], titles: Titles) -> None:
    """Write ``figure2a.csv``: predictions on views of the samples at the end, as points in the classes' polygon.

    One row per run, sample and view: ``rate`` (the noise's, nominal), ``sample``, its ``part`` (clean or mislabeled),
    ``true``, ``given`` and ``predicted`` class, number of ``classes``, ``policy`` (training or unseen), ``view``, ``x``
    and ``y``.
    """
    frames = [_points(one, titles, [-1]).drop(columns="epoch") for one in looked]
    write_csv(folder / FIGURE_2A, _stacked(frames, POINT_COLUMNS), float_format="%.4f")


def write_table_6(folder: Path, looked: list[Looked], titles: Titles) -> None:
    """Write ``table6.csv`` and ``table6-points.csv``: how predictions on views of mislabeled samples move in training.

    The first has, per run, sample, policy and epoch, ``mean`` and ``std`` over views of the true class's probability;
    the second the points at the chosen epochs, like ``figure2a.csv`` with the column ``epoch``.
    """
    curves, points = [], []
    for one in looked:
        answers = one.answers
        wanted = [place for place, epoch in enumerate(answers.epochs) if int(epoch) in one.run.views.epochs]
        chosen = _points(one, titles, wanted)
        points.append(chosen[chosen["part"] == "mislabeled"])
        mean, std = true_class_confidence(answers.points, answers.true[answers.samples])
        for epoch, policy, sample in np.ndindex(mean.shape):
            place = answers.samples[sample]
            if answers.wrong[place]:
                own = {"sample": sample, "true": answers.true[place], "given": answers.given[place]}
                own |= {"policy": POLICIES[policy], "epoch": int(answers.epochs[epoch])}
                own |= {"mean": mean[epoch, policy, sample], "std": std[epoch, policy, sample]}
                curves.append(one.keys(titles) | own)
    columns = [*KEYS, "sample", "true", "given", "policy", "epoch", "mean", "std"]
    write_csv(folder / TABLE_6, pd.DataFrame(curves, columns=columns), float_format="%.6g")
    write_csv(folder / TABLE_6_POINTS, _stacked(points, [*POINT_COLUMNS, "epoch"]), float_format="%.4f")


POINT_COLUMNS = [*KEYS, "rate", "sample", "part", "true", "given", "predicted", "classes", "policy", "view", "x", "y"]


def _points(one: Looked, titles: Titles, epochs: list[int]) -> pd.DataFrame:
    """Return the points at some epochs (places in the file), one row each."""
    answers = one.answers
    found = project(answers.points[epochs])
    epoch, policy, sample, view = (axis.ravel() for axis in np.indices(found.shape[:-1]))
    place = answers.samples[sample]
    columns = one.keys(titles) | {
        "rate": one.run.spec.noise.rate,
        "sample": sample,
        "part": np.where(answers.wrong[place], "mislabeled", "clean"),
        "true": answers.true[place],
        "given": answers.given[place],
        "predicted": answers.points[epochs].argmax(axis=-1).ravel(),
        "classes": answers.points.shape[-1],
        "policy": np.array(POLICIES)[policy],
        "view": view,
        "x": found[..., 0].ravel(),
        "y": found[..., 1].ravel(),
        "epoch": answers.epochs[epochs][epoch],
    }
    return pd.DataFrame(columns)


def _stacked(frames: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    frames = [frame for frame in frames if len(frame)]
    return pd.concat(frames)[columns] if frames else pd.DataFrame(columns=columns)


def write_figure_2b(folder: Path, looked: list[Looked], titles: Titles) -> None:
    """Write ``figure2b.csv``: calibration of the training images' predictions w.r.t. their true labels.

    Columns as in ``reliability.csv``, with ``kind``: plain, or over views.
    """
    rows = []
    for one in looked:
        for place, kind in ((0, "plain"), (one.average, "vicinal")):
            right = one.answers.predicted[place] == one.answers.true
            found = calibration_of(one.answers.confidence[place], right)
            title = "without views" if kind == "plain" else f"mean over {one.run.views.draws} views"
            same = one.keys(titles) | {"title": title, "kind": kind, "published_ece": math.nan}
            rows += diagram_rows(found, same)
    write_csv(folder / FIGURE_2B, pd.DataFrame(rows, columns=[*KEYS, "kind", *NUMBERS]), float_format="%.6g")


def read_data(path: Path) -> pd.DataFrame:
    """Read one of these data files back."""
    return read_csv(path, (*KEYS, "part", "kind", "policy", "average", "published_dataset", "transform"))
