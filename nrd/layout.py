"""Where things lie: every path the project reads or writes, under one root."""

from dataclasses import dataclass
from pathlib import Path

# What a finished run holds; the last one written makes it finished.
TRAINED = ("spec.yaml", "history.csv", "timing.csv", "machine.json", "log.txt", "predictions.npz", "model.safetensors")
RUN_FILES = (*TRAINED, "metrics.json")
TABLE, PICTURE = ("csv", "md", "tex"), ("png", "svg", "pdf")


def _files(stems: tuple[str, ...], *kinds: str) -> tuple[str, ...]:
    return tuple(f"{stem}.{kind}" for stem in stems for kind in kinds)


# What a report always holds once its runs are finished, by the part that writes it. What depends on the study (tables
# of other labels, epochs selected by validation, variants, a comparison) is declared nowhere.
RESULT_FILES = ("results.csv", "provenance.csv", *_files(("cost",), *TABLE))
TABLE_FILES = (*_files(("accuracy", "accuracy_best", "paired", "ledger"), *TABLE), "summary.json")
FIGURE_FILES = (
    *_files(("curves", "reliability", "confusion", "people"), "csv"),
    *_files(("calibration", "classes"), *TABLE),
    *_files(("curves", "architecture", "analyses"), "json"),
    *_files(("curves", "memorisation", "architecture", "reliability", "confusion"), *PICTURE),
)
# For a study that has blocks for the paper's figures: data files first, then pictures.
PAPER_FIGURES = (
    *_files(("figure1", "figure2a", "figure2b", "figure4", "figure5", "table6", "table6-points"), "csv"),
    *_files(("table1", "gains", "figure1-auroc", "figure2a-shares", "figure2b-errors"), *TABLE),
    *_files(("figure4-accuracies", "figure5-errors"), *TABLE),
    *("samples.npz", "paper_figures.json"),
    *_files(("figure1", "figure2a", "figure2b", "figure4", "figure5", "table6"), *PICTURE),
)


@dataclass(frozen=True)
class Layout:
    """Folders of a project; ``root`` is the folder that holds ``params/``, ``data/`` and ``results/``."""

    root: Path = Path()

    @property
    def params(self) -> Path:
        """Settings that people write."""
        return self.root / "params"

    @property
    def raw(self) -> Path:
        """Files as their publishers made them."""
        return self.root / "data" / "raw"

    def dataset(self, name: str) -> Path:
        """Prepared arrays of a dataset."""
        return self.root / "data" / "datasets" / f"{name}.safetensors"

    def labels(self, name: str) -> Path:
        """Given labels of one dataset, noise and seed."""
        return self.root / "data" / "labels" / f"{name}.csv"

    def run(self, name: str) -> Path:
        """Folder of a finished run."""
        return self.root / "results" / "runs" / name

    def analysis(self, run: str, name: str) -> Path:
        """What a finished run's network was asked later."""
        return self.root / "results" / "analyses" / run / f"{name}.npz"

    def scratch(self, name: str) -> Path:
        """Undeclared folder of a run under way: resuming lives here."""
        return self.root / "scratch" / name

    def study(self, name: str) -> Path:
        """Folder of a study's list of runs and collected results."""
        return self.root / "results" / "studies" / name

    def report(self, name: str) -> Path:
        """Folder of a study's tables, figures and page."""
        return self.root / "results" / "reports" / name

    def is_trained(self, name: str) -> bool:
        """Whether training finished: all its files are there."""
        return all((self.run(name) / file).is_file() for file in TRAINED)

    def is_finished(self, name: str) -> bool:
        """Whether the run is trained and evaluated."""
        return all((self.run(name) / file).is_file() for file in RUN_FILES)
