"""Tables of cells as Markdown and LaTeX, and what their HTML shares with them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from nrd.report.titles import MAIN, Titles

DECIMALS = 2  # of per cent, as the paper prints
DASH = "–"
NOT_YET = "not run yet"
CAPTIONS = {
    "test_accuracy_last": "Test accuracy after the last epoch",
    "test_accuracy_best": "Best test accuracy over all evaluated epochs, chosen by looking at the test part",
    "test_accuracy_validation_selected": "Test accuracy at the epoch that is best on the noisy validation part",
}

# Why the second best is not bold too.
MARKS = "(the paper prints both bold, which does not tell them apart)"

EPOCHS = {
    "test_accuracy_last": "Last epoch",
    "test_accuracy_best": "Best epoch",
    "test_accuracy_validation_selected": "Epoch selected by noisy validation",
}


def number(value: float) -> str:
    """Print a value in per cent.

    >>> number(97.404)
    '97.40'
    """
    return DASH if math.isnan(value) else f"{value:.{DECIMALS}f}"


def decimals(value: float, digits: int) -> str:
    """Print a number with so many decimals; a dash where there is none."""
    return DASH if math.isnan(value) else f"{value:.{digits}f}"


def thousands(value: float) -> str:
    """Print a whole number in groups of three digits."""
    return DASH if math.isnan(value) else f"{value:,.0f}".replace(",", " ")


def duration(seconds: float) -> str:
    """Print a duration in its two largest units.

    >>> duration(0.42), duration(42), duration(3700), duration(200_000)
    ('0.4 s', '42 s', '1 h 1 min', '2 d 7 h')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    start = next((place for place, (value, _) in enumerate(parts) if value), len(parts) - 1)
    return " ".join(f"{value} {unit}" for value, unit in parts[start : start + 2] if value) or "0 s"


def rounded(value: float) -> float:
    """Return the value that :func:`number` prints."""
    return value if math.isnan(value) else float(f"{value:.{DECIMALS}f}")


@dataclass(frozen=True)
class Cell:
    """A cell as it is printed; ``mark`` is best, second or empty; an unplanned cell has no mean."""

    mean: str = ""
    std: str = ""
    note: str = ""
    mark: str = ""
    n: int = 0
    planned: int = 0
    failed: int = 0
    runs: tuple[tuple[str, str], ...] = ()  # seed and run


@dataclass(frozen=True)
class Grid:
    """One table as it is printed: column keys are (dataset, noise), rows have a title and a cell per column."""

    label: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]

    @property
    def title(self) -> str:
        """The table's label for people; nothing for the one table of a study that names none."""
        return "" if self.label == MAIN else self.label

    def datasets(self) -> list[tuple[str, int]]:
        """Return each dataset with its number of columns, neighbours together."""
        spans: list[tuple[str, int]] = []
        for dataset, _ in self.columns:
            if spans and spans[-1][0] == dataset:
                spans[-1] = (dataset, spans[-1][1] + 1)
            else:
                spans.append((dataset, 1))
        return spans

    def narrow(self, width: int) -> list["Grid"]:
        """Return the table as it is, or one per dataset if it has more than ``width`` columns."""
        if len(self.columns) <= width:
            return [self]
        parts, start = [], 0
        for _, size in self.datasets():
            part = slice(start, start + size)
            rows = tuple(
                (title, cells[part]) for title, cells in self.rows if any(cell.planned for cell in cells[part])
            )
            parts.append(Grid(self.label, self.columns[part], rows))
            start += size
        return parts


def grids(cells: pd.DataFrame) -> Iterator[Grid]:
    """Yield one printed table per label. Columns of one dataset stand together, in the order of the study."""
    for label, part in cells.groupby("table", sort=False):
        datasets = list(dict.fromkeys(part["dataset"]))
        pairs = dict.fromkeys(zip(part["dataset"], part["noise"], strict=True))
        columns = tuple(sorted(pairs, key=lambda pair: datasets.index(pair[0])))
        rows = []
        for _, row in part.groupby(["variant", "method"], sort=False):
            found = {(c.dataset, c.noise): _printed(c) for c in row.itertuples()}
            rows.append((row["title"].iloc[0], tuple(found.get(column, Cell()) for column in columns)))
        yield Grid(str(label), columns, tuple(rows))


def _printed(cell: object) -> Cell:
    missing = cell.planned - cell.n - cell.failed
    problems = [f"{cell.failed} failed"] if cell.failed else []
    if not cell.n:
        note = ", ".join([*problems, *([f"{missing} {NOT_YET}"] if missing and cell.failed else [])]) or NOT_YET
    else:
        note = ", ".join([f"{cell.n} of {cell.planned}", *problems]) if cell.n < cell.planned else ""
    return Cell(
        mean=number(cell.mean_percent),
        std="" if math.isnan(cell.std_percent) else number(cell.std_percent),
        note=note,
        mark="" if pd.isna(cell.rank) else {1: "best", 2: "second"}.get(int(cell.rank), ""),
        n=int(cell.n),
        planned=int(cell.planned),
        failed=int(cell.failed),
        runs=tuple(zip(str(cell.seeds).split(), str(cell.runs).split(), strict=True)),
    )


def caption(cells: pd.DataFrame, accuracy: str) -> str:
    """Return what the numbers are: quantity, unit, spread and number of seeds."""
    planned = sorted(set(cells["planned"]))
    if planned == [1]:
        return f"{CAPTIONS[accuracy]}, in per cent; one seed."
    seeds = str(planned[0]) if len(planned) == 1 else f"{planned[0]} to {planned[-1]}"
    text = f"{CAPTIONS[accuracy]}, in per cent: mean ± sample standard deviation over {seeds} seeds"
    return f"{text} (fewer where it says so)." if (cells["n"] < cells["planned"]).any() else f"{text}."


def escape_markdown(text: str) -> str:
    r"""Escape what Markdown would take for markup.

    >>> escape_markdown("a_b|c")
    'a\\_b\\|c'
    """
    escaped = "".join(f"\\{char}" if char in r"\`*_[]#|~$" else char for char in " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "–": "--",
    "−": "$-$",
    "β": r"$\beta$",
    "π": r"$\pi$",
    **{char: f"\\{char}" for char in "&%$#_{}"},
}


def escape_latex(text: str) -> str:
    r"""Escape what LaTeX would take for commands.

    >>> escape_latex("50 % of a_b")
    '50 \\% of a\\_b'
    """
    return "".join(LATEX.get(char, char) for char in " ".join(text.split()))


def markdown(cells: pd.DataFrame, titles: Titles, accuracy: str) -> str:
    """Return the tables in Markdown, best in bold and second best underlined."""
    marks = f"**Best**, <ins>second best</ins> of each column {MARKS}."
    lines = [f"{escape_markdown(caption(cells, accuracy))} {marks}", ""]
    for grid in grids(cells):
        if grid.title:
            lines += [f"## {escape_markdown(grid.title)}", ""]
        heads = [escape_markdown(f"{titles.dataset(d)}, {titles.noise(d, n)}") for d, n in grid.columns]
        lines += ["| " + " | ".join(["Method", *heads]) + " |", "|---|" + "---:|" * len(heads)]
        for title, row in grid.rows:
            lines.append("| " + " | ".join([escape_markdown(title), *map(_markdown_cell, row)]) + " |")
        lines.append("")
    return "\n".join(lines)


def _markdown_cell(cell: Cell) -> str:
    mark = {"best": "**{}**", "second": "<ins>{}</ins>"}.get(cell.mark, "{}")
    text = mark.format(f"{cell.mean} ± {cell.std}" if cell.std else cell.mean)
    return f"{text} ({cell.note})" if cell.note else text


def latex(cells: pd.DataFrame, titles: Titles, accuracy: str) -> str:
    r"""Return the tables in LaTeX for ``\usepackage{booktabs}``, best in bold and second best underlined."""
    parts = [
        f"% {escape_latex(caption(cells, accuracy))}",
        f"% Bold: best, underlined: second best of each column {MARKS}.",
    ]
    parts.append(r"% Needs \usepackage{booktabs}.")
    for grid in grids(cells):
        parts += ["", *([f"% {escape_latex(grid.title)}"] if grid.title else []), *_latex_grid(grid, titles)]
    return "\n".join(parts) + "\n"


def _latex_grid(grid: Grid, titles: Titles) -> Iterator[str]:
    yield rf"\begin{{tabular}}{{l{'r' * len(grid.columns)}}}"
    yield r"\toprule"
    heads, rules, start = [], [], 2
    for dataset, width in grid.datasets():
        heads.append(rf"\multicolumn{{{width}}}{{c}}{{{escape_latex(titles.dataset(dataset))}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    yield " & ".join(["", *heads]) + r" \\"
    yield " ".join(rules)
    yield " & ".join(["Method", *(escape_latex(titles.noise(d, n)) for d, n in grid.columns)]) + r" \\"
    yield r"\midrule"
    for title, row in grid.rows:
        yield " & ".join([escape_latex(title), *map(_latex_cell, row)]) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _latex_cell(cell: Cell) -> str:
    mark = {"best": r"\textbf{%s}", "second": r"\underline{%s}"}.get(cell.mark, "%s")
    text = mark % escape_latex(cell.mean)
    spread = rf" {{\scriptsize $\pm$ {cell.std}}}" if cell.std else ""
    note = rf" {{\scriptsize ({escape_latex(cell.note)})}}" if cell.note else ""
    return text + spread + note
