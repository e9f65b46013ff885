import logging
import shlex
import subprocess
import sys
from pathlib import Path

from nrd.files import write_if_changed
from nrd.gpus import count_gpus
from nrd.layout import (
    FIGURE_FILES,
    PAPER_FIGURES,
    RESULT_FILES,
    TABLE_FILES,
    TRAINED,
)
from nrd.spec import SpecError
from nrd.study import Project
from nrd.training.slots import slots_per_gpu
from nrd.training.tracking.store import sqlite_path, store_uri

# The same Python everywhere, whether or not its environment is activated.
NRD = f"{shlex.quote(sys.executable)} -m nrd"

try:
    PROJECT = Project()
    STUDIES = {name: PROJECT.study(name) for name in PROJECT.studies}
except SpecError as error:
    raise WorkflowError(str(error))
SPECS = {name: spec for study in STUDIES.values() for name, spec in study.specs.items()}
LABELS = {spec.labels_name: spec for spec in SPECS.values()}

# A study's resolved list of runs is an ordinary input of its tables: its time changes only when its content does.
if workflow.is_main_process:
    for name, study in STUDIES.items():
        write_if_changed(PROJECT.layout.study(name) / "runs.jsonl", study.manifest())


wildcard_constraints:
    study="|".join(STUDIES),
    dataset="|".join(PROJECT.datasets),
    labels="|".join(map(re.escape, LABELS)),
    run=r"[^/]+",
    analysis="views-[0-9a-f]+",


GPUS = count_gpus()
# Whether jobs go to other machines, or this is such a job. Snakemake demands --jobs for that, in dry runs too, which do
# not tell where the real one would execute.
SUBMITS = workflow.remote_exec or workflow.resource_settings.nodes is not None
# Without a limit given, as many trainings as the GPUs have slots (NRD_SLOTS each, one by default), however many cores
# there are. Which GPU a training takes is leased when it starts. A cluster's scheduler does both itself.
if GPUS and not SUBMITS:
    workflow.global_resources.setdefault("gpu", GPUS * slots_per_gpu())


def gpus_per_training():
    """A machine that only submits has no GPU, and says nothing about those that train."""
    return int(config.get("device", "auto") != "cpu" and (SUBMITS or GPUS > 0))


def trained(path):
    """Declare a training's files. On a cluster a job may start when a run that it was to train is finished: submitted
    by a Snakemake that was killed, another job has trained it in the meantime. Snakemake would delete its files.
    """
    return update(path) if SUBMITS else path


class KeptFiles(logging.Filter):
    """Drops what Snakemake says of each file of each training that failed and so had none to keep."""

    def filter(self, record):
        return not record.getMessage().startswith("Cannot restore results/runs/")


if SUBMITS:
    logging.getLogger("snakemake.logging").addFilter(KeptFiles())


def tracking_option():
    """Whether trainings start a follower: not on many machines at a time that would share a file of SQLite."""
    return (
        "--no-track"
        if SUBMITS and sqlite_path(store_uri(PROJECT.layout))
        else "--track"
    )


def study_of(run):
    """The study that a run is trained for: one that was asked for, else the first that has it. Only a tag in MLflow."""
    holders = [name for name, study in STUDIES.items() if run in study.specs]
    asked = set(workflow.dag_settings.targets or [])
    return next((name for name in holders if name in asked), holders[0])


def study_runs(study, file):
    return [f"results/runs/{run}/{file}" for run in STUDIES[study].specs]


def study_analyses(study):
    return [
        str(PROJECT.layout.analysis(run, name)) for run, name in STUDIES[study].analyses
    ]


# Files that stand in Snakemake's own report, each with a caption in workflow/report.
SHOWN = {
    "accuracy.csv": "accuracy table",
    "curves.svg": "accuracy over epochs",
    "memorisation.svg": "memorisation",
    "architecture.svg": "Figure 3: architecture",
    "reliability.svg": "calibration",
    "confusion.svg": "learned confusion",
    "table1.csv": "Table 1: label correction",
    "figure1.svg": "Figure 1: views against memorised labels",
    "figure2a.svg": "Figure 2a: predictions on views",
    "figure2b.svg": "Figure 2b: calibration of vicinal predictions",
    "figure4.svg": "Figure 4: long training",
    "figure5.svg": "Figure 5: calibration, CE against NRD",
    "table6.svg": "Table 6: memorisation in time",
    "index.html": "the whole page",
}


def report_files(files):
    """Declare files of a study's report."""
    return [report_file(file) for file in files]


def report_file(file):
    path = f"results/reports/{{study}}/{file}"
    if file not in SHOWN:
        return path
    return report(
        path,
        caption=f"../report/{Path(file).stem}.rst",
        category="{study}",
        labels={"what": SHOWN[file]},
    )


def report_paths(study):
    """What a study's report always holds but for the page; the paper's figures where it has blocks for them."""
    files = [*RESULT_FILES, *TABLE_FILES, *FIGURE_FILES]
    if STUDIES[study].shows_paper:
        files += PAPER_FIGURES
    return [f"results/reports/{study}/{file}" for file in files]


def wanted_studies():
    """Studies of the coarse targets (datasets, labels, runs): `--config studies=demo,tiny`; all of them by default."""
    asked = config.get("studies")
    names = (
        list(STUDIES)
        if asked is None
        else [name.strip() for name in str(asked).split(",")]
    )
    if unknown := set(names) - set(STUDIES):
        raise WorkflowError(
            f"--config studies: no study {', '.join(sorted(unknown))}; params/studies has: {', '.join(STUDIES)}"
        )
    return names


def announce():
    """Before the paper's grid starts on a machine without a GPU: what it would cost here."""
    targets = set(workflow.dag_settings.targets) or {"all"}
    local = (
        workflow.executor_plugin is None
        or workflow.executor_plugin.common_settings.local_exec
    )
    if GPUS or not local or not targets & {"all", "paper"}:
        return
    print(
        "This machine has no GPU. Measuring what the paper's grid would cost here ...",
        file=sys.stderr,
    )
    subprocess.run(
        [sys.executable, "-m", "nrd", "estimate", "paper"],
        check=False,
        stdout=sys.stderr,
    )
    print(
        "It goes on all the same; Ctrl-C stops it, and a later call continues. "
        "`snakemake --cores all demo` shows the comparison in minutes.",
        file=sys.stderr,
    )


def point_to_reports():
    for target in sorted(
        set(workflow.dag_settings.targets or ["paper"]) & set(STUDIES)
    ):
        print(
            f"Report: {PROJECT.layout.report(target) / 'index.html'}", file=sys.stderr
        )


def point_to_logs():
    """Name the log of each job that failed, with its last lines: a quiet Snakemake does not."""
    failed = getattr(workflow.scheduler, "failed", ())
    for job in sorted(failed, key=str):
        for log in map(Path, job.log):
            lines = (
                log.read_text(errors="replace").splitlines() if log.is_file() else []
            )
            print(
                f"Failed: {job.name}, see {log}",
                *(f"    {line}" for line in lines[-5:]),
                sep="\n",
                file=sys.stderr,
            )
    print(
        "Some jobs failed: their logs are under results/logs. The same command goes on from here; "
        "`nrd report <study> --partial` reports on what is finished.",
        file=sys.stderr,
    )
