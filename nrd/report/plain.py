"""Tables of printed text as Markdown and LaTeX: what the page shows, to be taken elsewhere."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from nrd.files import write_text
from nrd.report.render import escape_latex, escape_markdown

Rows = Iterable[Sequence[str]]
Groups = Iterable[tuple[str, Rows]]
BOOKTABS = r"% Needs \usepackage{booktabs}."
SUFFIXES = (".csv", ".md", ".tex")  # of every table's files


def write_plain(stem: Path, note: str, heads: Sequence[str], groups: Groups, left: Sequence[int] = ()) -> None:
    """Write ``<stem>.md`` and ``<stem>.tex``.

    Args:
        stem: the files' path without suffix.
        note: what the numbers are.
        heads: of the columns.
        groups: a title and rows of as many texts as ``heads``; titles, where there are any, become the first column.
        left: columns of text, besides the first; the others are numbers and stand to the right.
    """
    heads, rows, texts = _flat(heads, groups, left)
    write_text(
        stem.with_name(f"{stem.name}.md"), "\n".join([escape_markdown(note), "", *_markdown(heads, rows, texts)]) + "\n"
    )
    write_text(stem.with_name(f"{stem.name}.tex"), plain_latex(note, heads, [("", rows)], sorted(texts)))


def plain_latex(note: str, heads: Sequence[str], groups: Groups, left: Sequence[int] = ()) -> str:
    """Return a table in LaTeX; arguments as for :func:`write_plain`."""
    return "\n".join([f"% {escape_latex(note)}", BOOKTABS, *_latex(*_flat(heads, groups, left))]) + "\n"


def _flat(heads: Sequence[str], groups: Groups, left: Sequence[int]) -> tuple[Sequence[str], list, set[int]]:
    """Return heads, rows and columns of text, with the groups' titles as the first column where there are any."""
    rows = [(title, *texts) for title, part in groups for texts in part]
    if any(title for title, *_ in rows):
        return ("", *heads), rows, {0, 1, *(place + 1 for place in left)}
    return heads, [row[1:] for row in rows], {0, *left}


def write_plain_tables(stem: Path, note: str, tables: Iterable[tuple[str, Sequence[str], Rows]]) -> None:
    """Write tables of different columns (title, heads, rows) one below the other into ``<stem>.md`` and ``.tex``."""
    markdown, latex = [escape_markdown(note), ""], [f"% {escape_latex(note)}", BOOKTABS]
    for title, heads, rows in tables:
        markdown += [f"## {escape_markdown(title)}", "", *_markdown(heads, rows, {0}), ""]
        latex += ["", f"% {escape_latex(title)}", *_latex(heads, rows, {0})]
    write_text(stem.with_name(f"{stem.name}.md"), "\n".join(markdown))
    write_text(stem.with_name(f"{stem.name}.tex"), "\n".join(latex) + "\n")


def remove_table(stem: Path) -> None:
    """Remove a table's files of an earlier build: the study may have had other cells then."""
    for suffix in SUFFIXES:
        stem.with_name(f"{stem.name}{suffix}").unlink(missing_ok=True)


def _markdown(heads: Sequence[str], rows: Rows, texts: set[int]) -> Iterator[str]:
    yield "| " + " | ".join(map(escape_markdown, heads)) + " |"
    yield "|" + "|".join("---" if place in texts else "---:" for place in range(len(heads))) + "|"
    for row in rows:
        yield "| " + " | ".join(map(escape_markdown, row)) + " |"


def _latex(heads: Sequence[str], rows: Rows, texts: set[int]) -> Iterator[str]:
    yield rf"\begin{{tabular}}{{{''.join('l' if place in texts else 'r' for place in range(len(heads)))}}}"
    yield r"\toprule"
    yield " & ".join(map(escape_latex, heads)) + r" \\"
    yield r"\midrule"
    for row in rows:
        yield " & ".join(map(escape_latex, row)) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"
