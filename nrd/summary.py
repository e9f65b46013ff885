"""What was measured in a study, small enough to be committed: ``nrd runs summary``.

Numbers, settings, machines and versions of its finished runs and the tables of its report; no weights and no
predictions, but the checksums of both, so that whoever runs it again can compare.
"""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from nrd.checksums import SUMS, check_marked, read_checked
from nrd.evaluation.verify import verify_run
from nrd.files import write_bytes, write_text
from nrd.layout import Layout
from nrd.spec import SpecError
from nrd.study import Study

# Of each run; everything in it that is text but its log.
FILES = ("spec.yaml", "history.csv", "timing.csv", "machine.json")
METRICS = "metrics.json"
TABLES = (".csv", ".md")
LARGEST = 160 * 1024  # bytes of a table: larger ones hold a row per image
SHARED = ("torch", "python", "nrd", "git_commit", "device", "cores", "system")


def write_summary(study: Study, layout: Layout, folder: Path) -> dict:
    """Write a study's finished runs and its report's tables into a folder, in place of an earlier summary of it.

    Args:
        study: to summarise.
        layout: where its runs and its report are.
        folder: to write into; made if absent.

    Returns:
        The content of ``summary.json``: the study, the command, its runs finished and missing, when the first began and
        the last ended, and each machine, version and commit that took part.

    Raises:
        SpecError: no run is finished, one of them is damaged, or the folder holds something else; nothing was written.
    """
    name = study.config.name
    finished = [run for run in study.specs if layout.is_finished(run)]
    if not finished:
        raise SpecError(f"{name}: no run is finished; `snakemake --cores all {name}` runs them")
    if problems := [problem for run in finished for problem in verify_run(run, layout)]:
        raise SpecError("\n".join(problems))
    if folder.exists() and any(folder.iterdir()) and not (folder / "summary.json").is_file():
        raise SpecError(f"{folder}: holds something else than a summary; name another folder")
    tables = list(_tables(layout.report(name)))
    content = _content(study, layout, finished)
    for part in ("runs", "tables"):
        shutil.rmtree(folder / part, ignore_errors=True)
    for run in finished:
        for file in FILES:
            write_bytes(folder / "runs" / run / file, read_checked(layout.run(run), file))
        for file in (METRICS, SUMS):
            if (layout.run(run) / file).is_file():
                write_bytes(folder / "runs" / run / file, (layout.run(run) / file).read_bytes())
    for table in tables:
        write_bytes(folder / "tables" / table.name, table.read_bytes())
    write_text(folder / "summary.json", json.dumps(content, indent=2) + "\n")
    return content


def _tables(report: Path) -> Iterable[Path]:
    """Tables of the report, verified, but those with a row per image."""
    if not report.is_dir():
        return ()
    check_marked(report)
    return (
        path
        for path in sorted(report.iterdir())
        if path.suffix in TABLES and not path.name.startswith(".") and path.stat().st_size <= LARGEST
    )


def _content(study: Study, layout: Layout, finished: list[str]) -> dict:
    machines = [json.loads(read_checked(layout.run(run), "machine.json")) for run in finished]
    return {
        "study": study.config.name,
        "command": f"snakemake --cores all {study.config.name}",
        "finished": finished,
        "missing": [run for run in study.specs if run not in finished],
        "started": min(machine["started"] for machine in machines),
        "ended": max(machine["finished"] for machine in machines),
        **{key: sorted({str(machine[key]) for machine in machines}) for key in SHARED},
    }
