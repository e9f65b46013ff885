"""Measured numbers as Markdown: printed, or put where a document asks for them.

A document asks with a comment that names files, and what stands between it and the next ``<!-- end -->`` is theirs::

    <!-- measured: results/measured/performance/augment.json -->
    <!-- end -->
"""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from nrd.spec import SpecError

Row = dict[str, Any]
Column = tuple[str, Callable[[Row], str]]


def _number(*keys: str, digits: int = 0, scale: float = 1.0, unit: str = "") -> Callable[[Row], str]:
    """Return what shows a (nested) number, or a dash where there is none."""

    def show(row: Row) -> str:
        value: Any = row
        for key in keys:
            value = value.get(key) if value else None
        return "–" if value is None else f"{scale * value:,.{digits}f}{unit}".replace(",", " ")

    return show


def _percent(*keys: str, digits: int = 1) -> Callable[[Row], str]:
    return _number(*keys, digits=digits, scale=100.0, unit=" %")


def _text(key: str) -> Callable[[Row], str]:
    return lambda row: str(row[key]) if row.get(key) is not None else "–"


def _share(*parts: str) -> Callable[[Row], str]:
    return lambda row: f"{100 * sum(row['shares'].get(part, 0.0) for part in parts):.1f} %"


def _augmentation(row: Row) -> str:
    """A compiled step's parts cannot be timed: there augmentation is a share of the step as a whole."""
    if row.get("compiled") and "augmentation_share" in row:
        return _percent("augmentation_share")(row)
    return _share("augmentation")(row)


def _range(key: str) -> Callable[[Row], str]:
    """Return what shows the lowest and the highest of the turns whose median is shown beside."""
    low, high = (_number(f"{key}_{end}", digits=1) for end in ("lowest", "highest"))
    return lambda row: f"{low(row)}–{high(row)}" if f"{key}_lowest" in row else "–"


# What tells one kind of benchmark's rows from another's, and what is shown of them.
TABLES: dict[str, list[Column]] = {
    "view": [
        ("view", _text("view")),
        ("nrd", _number("nrd")),
        ("torchvision, PIL", _number("torchvision_pil")),
        ("torchvision, tensors", _number("torchvision_tensor")),
        ("times faster than the faster one", _number("times_faster", digits=1)),
        ("its turns", _range("times_faster")),
        ("kornia", _number("kornia")),
        ("times faster than kornia", _number("times_faster_than_kornia", digits=1)),
        ("its turns", _range("times_faster_than_kornia")),
    ],
    "shares": [
        ("method", _text("method")),
        ("network", _text("network")),
        ("student's view", _text("student")),
        ("images/s", _number("images_per_second")),
        ("reference", _number("reference_images_per_second")),
        ("ratio", _number("times_faster", digits=2)),
        ("s for 50 000 images", _number("epoch_seconds")),
        ("s for a whole run", _number("run_seconds")),
        ("its epochs", _text("epochs")),
        ("augmentation", _augmentation),
        ("forward, backward", _share("forward", "backward")),
        ("teacher", _share("teacher")),
        ("its average", _share("average")),
        ("optimiser", _share("optimiser")),
        ("evaluation, of an epoch", _percent("evaluation_share")),
        ("reference: loading", _percent("reference_shares", "loading", digits=0)),
        ("forward, backward: of the matrix peak", _percent("forward_backward_fraction_of_matmul_peak", digits=0)),
        ("step: of the matrix peak", _percent("fraction_of_matmul_peak", digits=0)),
        ("step: of the copy bandwidth", _percent("fraction_of_copy_bandwidth", digits=0)),
        ("peak, GFLOP/s", _number("matmul_gflops")),
    ],
    "runs": [
        ("method", _text("method")),
        ("network", _text("network")),
        ("runs at a time", _text("runs")),
        ("threads of each", _text("threads")),
        ("images/s of all together", _number("images_per_second")),
        ("s for a whole run, amortised", _number("run_seconds")),
        ("its epochs", _text("epochs")),
    ],
    "pairs": [
        ("method", _text("method")),
        ("pairs", lambda row: str(len(row["pairs"]))),
        ("nrd", lambda row: _mean(pair["nrd"] for pair in row["pairs"])),
        ("reference", lambda row: _mean(pair["reference"] for pair in row["pairs"])),
        ("difference", lambda row: f"{row['difference']:+.2f} ± {row['interval']:.2f}"),
    ],
}


def _mean(values: Iterable[float]) -> str:
    values = list(values)
    return f"{sum(values) / len(values):.2f}"


def markdown(files: Iterable[Path]) -> str:
    """Return a table of all rows, without columns that have no number, and below it which command measured them where.

    Args:
        files: written by ``nrd benchmark … --json``, all by one kind of benchmark.

    Raises:
        SpecError: a file cannot be read, is not a benchmark's, or they are of two kinds.
    """
    files = list(files)
    contents = [_read(path) for path in files]
    kinds = {_kind(row, path) for path, content in zip(files, contents, strict=True) for row in content["rows"]}
    if len(kinds) != 1:
        raise SpecError(f"{', '.join(map(str, files))}: one table has rows of one kind of benchmark, not {len(kinds)}")
    rows = [row for content in contents for row in content["rows"]]
    shown = [(title, [show(row) for row in rows]) for title, show in TABLES[kinds.pop()]]
    shown = [(title, cells) for title, cells in shown if set(cells) != {"–"}]
    lines = [[title for title, _ in shown], ["---"] * len(shown), *zip(*(cells for _, cells in shown), strict=True)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([table, "", *dict.fromkeys(_origin(content) for content in contents)])


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        content["rows"], content["machine"]["device"], content["command"], content["time"]
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise SpecError(f"{path}: was not written by `nrd benchmark … --json`") from None
    return content


def _kind(row: Row, path: Path) -> str:
    for key in TABLES:
        if key in row:
            return key
    raise SpecError(f"{path}: there is no table for such rows")


def _origin(content: dict[str, Any]) -> str:
    machine = content["machine"]
    command = re.sub(r" --json \S+", "", content["command"])
    where = f"{machine['device']}, {machine['cores']} cores, {machine['threads']} thread(s)"
    return f"`{command}`: {where}, Python {machine['python']}, PyTorch {machine['torch']}, {content['time'][:10]}.  "


ASKED = re.compile(r"(<!-- measured: (?P<files>[^>]+?) -->\n).*?(?=<!-- end -->)", re.DOTALL)


def refresh(text: str, root: Path = Path()) -> str:
    """Return a document with its tables made anew.

    Args:
        text: of the document.
        root: folder that the files' names are relative to.
    """

    def fill(match: re.Match) -> str:
        return f"{match[1]}{markdown(root / name for name in match['files'].split())}\n"

    return ASKED.sub(fill, text)
