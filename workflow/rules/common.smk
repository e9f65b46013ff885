import shlex
import subprocess
import sys
from pathlib import Path

from nrd.files import write_if_changed
from nrd.gpus import count_gpus
from nrd.layout import TRAINED
from nrd.spec import SpecError
from nrd.study import Project
from nrd.training.slots import slots_per_gpu

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


GPUS = count_gpus()
# Without a limit given, as many trainings as the GPUs have slots (NRD_SLOTS each, one by default), however many cores
# there are. Which GPU a training takes is leased when it starts.
if GPUS:
    workflow.global_resources.setdefault("gpu", GPUS * slots_per_gpu())


def study_of(run):
    """The study that a run is trained for: one that was asked for, else the first that has it. Only a tag in MLflow."""
    holders = [name for name, study in STUDIES.items() if run in study.specs]
    asked = set(workflow.dag_settings.targets or [])
    return next((name for name in holders if name in asked), holders[0])


def study_runs(study, file):
    return [f"results/runs/{run}/{file}" for run in STUDIES[study].specs]


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
    print(
        "Some jobs failed: their logs are under results/logs. The same command goes on from here; "
        "`nrd report <study> --partial` reports on what is finished.",
        file=sys.stderr,
    )
