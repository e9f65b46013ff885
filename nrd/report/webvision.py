"""The paper's Table 3, WebVision: complete in shape, with our cells empty until there are such runs."""

import pandas as pd

from nrd.layout import Layout
from nrd.report.published import read_paper_table
from nrd.report.render import NOT_YET, escape_latex, escape_markdown, number
from nrd.study import Study

WEBVISION = "webvision.csv"
TEXT = ("method", "architecture", "augmentation")
QUANTITIES = ("webvision_top1", "webvision_top5", "imagenet_top1", "imagenet_top5")
HEADS = ("WebVision top-1", "top-5", "ImageNet top-1", "top-5")
NOTE = (
    "Top-1 and top-5 accuracy in per cent on validation images of mini-WebVision and ImageNet: the paper's, then ours."
)


def wanted(study: Study) -> bool:
    """Whether a study is about the paper: it has blocks for its figures, or both CIFAR datasets of its grid."""
    return study.shows_paper or {"cifar10", "cifar100"} <= {spec.dataset.name for spec in study.specs.values()}


def webvision_table(layout: Layout) -> pd.DataFrame | None:
    """Return the published rows, and for each quantity an empty column of ours; None without the published file."""
    table = read_paper_table(layout, "table3_webvision.csv", TEXT)
    return None if table is None else table.assign(**{f"ours_{key}": float("nan") for key in QUANTITIES})


def printed(row: object) -> tuple[str, ...]:
    """Return a row as it is printed: method, architecture, augmentation, networks, then published and ours."""
    pairs = [(getattr(row, key), getattr(row, f"ours_{key}")) for key in QUANTITIES]
    cells = [text for paper, ours in pairs for text in (number(paper), NOT_YET if pd.isna(ours) else number(ours))]
    return (row.method, row.architecture, row.augmentation, str(row.networks), *cells)


def heads() -> tuple[str, ...]:
    """Return the names of what :func:`printed` returns."""
    pairs = [text for head in HEADS for text in (head, "ours")]
    return ("Method", "Architecture", "Augmentation", "Networks", *pairs)


def markdown(table: pd.DataFrame) -> str:
    """Return the table in Markdown."""
    lines = [escape_markdown(NOTE), "", "| " + " | ".join(heads()) + " |", "|---|---|---|" + "---:|" * 9]
    lines += ["| " + " | ".join(map(escape_markdown, printed(row))) + " |" for row in table.itertuples()]
    return "\n".join(lines) + "\n"


def latex(table: pd.DataFrame) -> str:
    r"""Return the table in LaTeX for ``\usepackage{booktabs}``."""
    lines = [r"% Needs \usepackage{booktabs}.", r"\begin{tabular}{lll" + "r" * 9 + "}", r"\toprule"]
    lines += [" & ".join(map(escape_latex, heads())) + r" \\", r"\midrule"]
    lines += [" & ".join(map(escape_latex, printed(row))) + r" \\" for row in table.itertuples()]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"
