"""The page of a study: one HTML file that needs no other to be read."""

from pathlib import Path

import pandas as pd

from nrd.checksums import check_marked
from nrd.files import write_text
from nrd.layout import Layout
from nrd.report.context import Context, fragment
from nrd.report.paper_parts import unseen_runs
from nrd.report.render import duration
from nrd.report.sections import build_groups, settings
from nrd.study import Study

PAGE = "index.html"
STATES = ("done", "failed", "damaged", "missing")
PROBLEMS = ("failed", "damaged")


def write_page(study: Study, layout: Layout) -> Path:
    """Write ``index.html`` from the files of the report's folder and return its path."""
    context = Context(study, layout)
    check_marked(context.folder)  # the page links to all of them
    runs = context.results.drop_duplicates("run")
    html = fragment(
        "page.html.j2",
        study=study.config,
        settings=settings(study),
        counts={state: int((runs["status"] == state).sum()) for state in STATES},
        total=len(runs),
        origin=origin(context.provenance),
        modified=bool(context.provenance["git_commit"].str.endswith("+").any()),
        problems=runs[runs["status"].isin(PROBLEMS)].to_dict("records"),
        missing=runs[runs["status"] == "missing"].to_dict("records"),
        unseen=unseen_runs(context),
        groups=list(build_groups(context)),
    )
    path = context.folder / PAGE
    write_text(path, html + "\n")
    return path


def origin(provenance: pd.DataFrame) -> list[tuple[str, str]]:
    """Return where, when and from what the finished runs came, as pairs of a word and its values."""
    pairs = [
        ("hosts", _values(provenance["host"])),
        ("devices", _values(provenance["device"])),
        ("trained", _span(provenance)),
        ("commits", _values(provenance["git_commit"])),
        ("PyTorch", _values(provenance["torch"])),
    ]
    seconds = provenance["seconds"].sum()
    if seconds:
        pairs.append(("training time", f"{duration(seconds)} in all, evaluation included"))
    return [(word, text) for word, text in pairs if text]


def _values(column: pd.Series) -> str:
    """Return the values of a column, most frequent first, with their number of runs where there are several."""
    counts = column[column != ""].value_counts(sort=False).sort_values(ascending=False, kind="stable")
    if len(counts) == 1:
        return str(counts.index[0])
    return ", ".join(f"{value} ({count} {'run' if count == 1 else 'runs'})" for value, count in counts.items())


def _span(provenance: pd.DataFrame) -> str:
    """From the first start to the last end. Times are ISO 8601 in UTC, so their text sorts as they do."""
    started = [time for time in provenance["started"] if time]
    finished = [time for time in provenance["finished"] if time]
    if not started or not finished:
        return ""
    first, last = (time[:16].replace("T", " ") for time in (min(started), max(finished)))
    return f"{first} to {last} UTC"
