"""A run's reliability diagram as a small picture, and the bars that the report's diagrams share with it.

Needs matplotlib, but no torch; nothing that trains or evaluates imports it.
"""

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nrd.evaluation.calibration import Calibration, calibration
from nrd.metrics import Floats
from nrd.spec import SpecError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAR, GAP, INK, PAPER = "#56b4e9", "#d55e00", "#1b1b1f", "#ffffff"
FEW = 0.005  # share of the images below which a bin is drawn pale: its height is mostly chance
SIZE, DPI = (3.7, 4.2), 120  # inches, dots per inch: some 35 kB


def draw_bars(ax: "Axes", count: Floats, confidence: Floats, accuracy: Floats) -> dict[str, object]:
    """Draw a diagram of bins as :func:`nrd.metrics.reliability` returns them; return what its legend explains."""
    edges = np.linspace(0, 100, len(count) + 1)
    filled, few = count > 0, count < FEW * count.sum()
    handles = {}
    for rows, alpha in ((filled & few, 0.3), (filled & ~few, 1.0)):
        if not rows.any():
            continue
        left, width, top = edges[:-1][rows], np.diff(edges)[rows], 100 * accuracy[rows]
        bars = ax.bar(left, top, width, align="edge", color=BAR, edgecolor=PAPER, linewidth=0.8, alpha=alpha)
        gap = 100 * confidence[rows] - top
        style = {"facecolor": "none", "edgecolor": GAP, "hatch": "/////", "linewidth": 0.8, "alpha": alpha}
        gaps = ax.bar(left, gap, width, bottom=top, align="edge", **style)
        handles = {"accuracy of a bin's images": bars, "gap to their mean confidence": gaps}
    handles["calibrated"] = ax.plot([0, 100], [0, 100], color=INK, linewidth=1, linestyle=(0, (4, 2)))[0]
    ax.set(xlim=(0, 100), ylim=(0, 100), xticks=range(0, 101, 20), yticks=range(0, 101, 20), aspect="equal")
    return handles


def read_calibration(path: Path, network: str = "student_test") -> Calibration:
    """Return the calibration on plain test images from a run's ``predictions.npz``.

    Raises:
        SpecError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            return calibration(content[network].astype(np.float64), content["test_labels"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise SpecError(f"{path}: is missing or damaged ({' '.join(str(error).split())})") from None


def write_diagram(predictions: Path, title: str, path: Path) -> Path:
    """Draw the student's reliability diagram on test images into a PNG and return its path.

    Args:
        predictions: a run's ``predictions.npz``.
        title: first line of the picture; accuracy and calibration errors are in the second and third.
        path: of the picture.

    Raises:
        SpecError: the predictions are missing or damaged.
    """
    found = read_calibration(predictions)
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the reader's own settings are
        figure = Figure(figsize=SIZE, layout="constrained")
        ax = figure.subplots()
        handles = draw_bars(ax, found.count, found.confidence, found.accuracy)
        right = float(np.nansum(found.accuracy * found.count) / found.count.sum())
        errors = f"ECE {found.ece:.3f}, mid-point {found.ece_midpoint:.3f}"
        ax.set_title(f"{title}\ntest accuracy {100 * right:.2f} %\n{errors}".replace("$", r"\$"), fontsize=9)
        ax.set(xlabel="confidence (%)", ylabel="accuracy (%)")
        figure.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=1, fontsize=8, frameon=False)
        figure.savefig(path, dpi=DPI, metadata={"Software": None})
    return path
