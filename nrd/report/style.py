"""How figures look, and how they are written: the same bytes for the same data."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from nrd.files import replace_file

INK = "#1b1b1f"  # text, axes and the first line; the page turns it into its own text colour
PAPER = "#ffffff"
GRID = "#9a9aa5"
# Okabe and Ito's colours without yellow, which is too pale on white, then four of Tol's: told apart by all readers.
COLOURS = (
    INK, "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#882255", "#999933", "#44aa99", "#aa4499",
)  # fmt: skip
# Of views that a network was trained on, and of views it has not seen: red and blue as in the paper.
POLICY_COLOURS = {"training": COLOURS[2], "unseen": COLOURS[1]}
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
DPI = 150
EMPTY = "No run is finished yet."

RC = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that it is the same on every machine
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "pdf.fonttype": 42,  # TrueType: what editors can edit and publishers accept
    "svg.fonttype": "none",  # text stays text: it can be searched, and takes the page's colour
}


def line_styles(keys: list[tuple[str, str]]) -> dict[tuple[str, str], dict]:
    """Return colour and dashes of each (method, variant): a colour per method, dashes per variant of it.

    From the fifth method on every four are dashed in turn: so many colours alone are hard to tell apart.
    """
    methods = list(dict.fromkeys(method for method, _ in keys))
    variants: dict[str, list[str]] = {}
    styles = {}
    for method, variant in keys:
        own = variants.setdefault(method, [])
        if variant not in own:
            own.append(variant)
        place = methods.index(method)
        dashes = own.index(variant) + place // 4 % 2 + 2 * (place // len(COLOURS))
        styles[method, variant] = {
            "color": COLOURS[place % len(COLOURS)],
            "linestyle": DASHES[dashes % len(DASHES)],
        }
    return styles


@contextmanager
def styled(salt: str) -> Iterator[None]:
    """Draw in the project's style, whatever the reader's own settings are; ``salt`` fixes the names inside an SVG."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC | {"svg.hashsalt": salt})
        yield


def save(figure: Figure, stem: Path) -> None:
    """Write ``<stem>.png``, ``<stem>.svg`` and ``<stem>.pdf`` at once, without dates or versions in them."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # placed once: the layout takes as long as the drawing
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
    metadata["pdf"] = {"CreationDate": None, "Creator": None, "Producer": None}
    for kind, content in metadata.items():
        with replace_file(stem.with_name(f"{stem.name}.{kind}")) as temporary:
            figure.savefig(temporary, format=kind, dpi=DPI, metadata=content)


def plain(text: str) -> str:
    """Keep a dollar sign from opening a formula."""
    return text.replace("$", r"\$")


def empty(text: str = EMPTY) -> Figure:
    """Return a figure that says why there is nothing to see."""
    figure = Figure(figsize=(6.6, 1.0))
    figure.text(0.5, 0.5, text, ha="center", va="center", color=INK)
    return figure
