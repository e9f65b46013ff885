"""How well predictions match people's uncertainty on CIFAR-10's test images (CIFAR-10H): from runs to a table."""

import math
from pathlib import Path

import numpy as np
import pandas as pd

from nrd.data.human_labels import load_cifar10h
from nrd.data.sources import locate
from nrd.evaluation.people import entropy, entropy_correlation, human_cross_entropy
from nrd.layout import Layout
from nrd.metrics import Floats
from nrd.report.analyses import TEXT, Analysed, conditions, described, lines
from nrd.report.plain import remove_table, write_plain
from nrd.report.render import decimals
from nrd.report.results import write_csv
from nrd.report.titles import Titles
from nrd.spec import RunSpec
from nrd.study import Project, Study

PEOPLE = "people.csv"
FILE = "cifar10h/cifar10h-probs.npy"
MEASURES = ("cross_entropy", "entropy_correlation")
NUMBERS = ("n", *(f"{key}_{kind}" for key in MEASURES for kind in ("mean", "std")), "people_entropy")
NAME = "People's uncertainty"


class People:
    """Compares runs with CIFAR-10H where they can be: CIFAR-10's 10 000 test images in the file's order."""

    def __init__(self, study: Study, layout: Layout) -> None:
        self.datasets: set[str] = set()
        self.shares: Floats | None = None
        self.reason = ""
        configs = Project(layout.root).datasets
        used = [configs[name] for name in dict.fromkeys(spec.dataset.name for spec in study.specs.values())]
        fitting = [c for c in used if c.source == "cifar10" and (c.subset is None or c.subset.test is None)]
        if not fitting:
            self.reason = "CIFAR-10H is for the whole test part of CIFAR-10, which no dataset of this study has."
            return
        try:
            path = locate(FILE, fitting[0], layout)
            if path is None:
                self.reason = f"needs CIFAR-10H: {FILE} under data/raw or NRD_DATA (github.com/jcpeterson/cifar-10h)."
                return
            self.shares = load_cifar10h(path)
            self.datasets = {config.name for config in fitting}
        except (OSError, ValueError) as error:
            self.reason = f"{FILE}: cannot be used ({' '.join(str(error).split())})"

    def __call__(self, spec: RunSpec, probabilities: Floats, labels: np.ndarray) -> dict[str, float] | None:
        """Return a run's measures, or None where people were not asked about its test images in their order."""
        if self.shares is None or spec.dataset.name not in self.datasets:
            return None
        if len(labels) != len(self.shares) or np.mean(self.shares.argmax(axis=1) == labels) < 0.9:
            self.reason = f"{spec.dataset.name}: its test images are not those of CIFAR-10H in their order."
            return None
        return {
            "cross_entropy": human_cross_entropy(probabilities, self.shares),
            "entropy_correlation": entropy_correlation(probabilities, self.shares),
        }


def write_people(study: Study, layout: Layout, analysed: dict[str, Analysed], titles: Titles, people: People) -> Path:
    """Write ``people.csv``: one row per line of the study that could be compared.

    Columns: titles, ``n`` seeds, mean and sample standard deviation over them of ``cross_entropy`` (of people's
    distribution and the predicted, nats) and ``entropy_correlation`` (Spearman), and ``people_entropy``: the mean
    entropy of people's answers, nats, which no cross-entropy falls below.
    """
    rows = []
    for keys, runs in lines(study, analysed):
        found = [run.people for run in runs if run.people is not None]
        if found and people.shares is not None:
            row = described(keys, titles) | {"n": len(found), "people_entropy": float(entropy(people.shares).mean())}
            for key in MEASURES:
                values = [measures[key] for measures in found]
                row |= {
                    f"{key}_mean": np.mean(values),
                    f"{key}_std": np.std(values, ddof=1) if len(values) > 1 else math.nan,
                }
            rows.append(row)
    path = layout.report(study.config.name) / PEOPLE
    remove_table(path.with_suffix(""))
    table = pd.DataFrame(rows, columns=[*TEXT, *NUMBERS])
    write_csv(path, table, float_format="%.6g")
    if len(table):
        write_plain(path.with_suffix(""), note(table), HEADS, groups(table))
    return path


HEADS = ("Method", "Seeds", "Cross-entropy", "Correlation of entropies")


def note(table: pd.DataFrame) -> str:
    """Return what the numbers are."""
    return (
        "CIFAR-10H asked about 50 people for the class of each test image of CIFAR-10. Cross-entropy of their answers "
        f"and the prediction in nats: lower is better, and none is below people's own entropy, "
        f"{table['people_entropy'].iloc[0]:.3f}. Correlation: Spearman's, of the entropies of prediction and answers "
        "over images: whether a network doubts where people do. Mean ± sample standard deviation over seeds."
    )


def groups(table: pd.DataFrame) -> list[tuple[str, list[list[str]]]]:
    """Return the rows of each dataset and noise as they are printed, in the order of :data:`HEADS`."""
    return [(title, [_printed(row) for row in part.itertuples()]) for title, part in conditions(table)]


def _printed(row: object) -> list[str]:
    pairs = [(getattr(row, f"{key}_mean"), getattr(row, f"{key}_std")) for key in MEASURES]
    texts = [decimals(mean, 3) + ("" if math.isnan(std) else f" ± {std:.3f}") for mean, std in pairs]
    return [row.title, str(row.n), *texts]
