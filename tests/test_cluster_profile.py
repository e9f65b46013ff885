"""What would be submitted, to which resources; no cluster is needed for that. tests/test_slurm.py has a real one."""

import re

import pytest
import yaml

from nrd.study import Project
from tests.test_workflow import ROOT, clone, snakemake

SLURM = ["--profile", "profiles/slurm"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return clone(tmp_path_factory.mktemp("profile") / "clone")


def trainings(folder, *arguments, **environment):
    """The announcement of each training in a dry run: its files, resources and command."""
    process = snakemake(folder, *arguments, "-n", "-p", "--quiet", "reason", **environment)
    jobs = re.split(r"^\[.*\]$", process.stdout, flags=re.MULTILINE)
    return [job for job in jobs if "\nrule train:" in job]


def resources(job):
    line = re.search(r"^    resources: (.*)$", job, flags=re.MULTILINE)[1]
    return dict(item.split("=", 1) for item in line.split(", "))


def test_each_training_of_the_paper_asks_for_a_gpu_that_this_machine_need_not_have(folder):
    jobs = trainings(folder, *SLURM, "paper", CUDA_VISIBLE_DEVICES="")
    assert len(jobs) == len(Project(folder).study("paper").specs) > 600
    asked = {(each["gpu"], each["mem_mb"], each["runtime"]) for each in map(resources, jobs)}
    assert asked == {("1", "4000", "720")}


def test_a_profile_of_ones_own_adds_to_it_and_a_server_is_written_to(folder, tmp_path):
    own = {
        "default-resources": {"slurm_partition": "gpu-long", "slurm_account": "lab"},
        "set-resources": {"train": {"runtime": "90m"}},
        "jobs": 7,
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(own))
    server = "http://mlflow.example:5000"
    jobs = trainings(folder, *SLURM, "--profile", str(tmp_path), "tiny", MLFLOW_TRACKING_URI=server)
    assert len(jobs) == len(Project(folder).study("tiny").specs)
    for job in jobs:
        asked = resources(job)
        assert (asked["slurm_partition"], asked["slurm_account"]) == ("gpu-long", "lab")
        assert (asked["gpu"], asked["runtime"], asked["mem_mb"]) == ("1", "90", "4000")
        assert " --track " in job
        assert " --wait " in job


def test_without_gpus_on_the_cluster_and_without_a_server(folder):
    jobs = trainings(folder, *SLURM, "tiny", "--config", "device=cpu")
    assert {resources(job)["gpu"] for job in jobs} == {"0"}
    assert all(" --no-track " in job and " --device cpu " in job for job in jobs)


@pytest.mark.parametrize(("visible", "gpus"), [("", "0"), ("0,1", "1")])
def test_on_one_machine_a_training_asks_for_the_gpus_that_are_there(folder, visible, gpus):
    jobs = trainings(folder, "tiny", CUDA_VISIBLE_DEVICES=visible)
    assert {resources(job)["gpu"] for job in jobs} == {gpus}
    assert all(" --track " in job for job in jobs)


def printed(folder, code, *arguments, **environment):
    """What Python code at the end of the Snakefile prints in a dry run."""
    script = folder / "Snakefile-printing"
    script.write_text(f"{(folder / 'Snakefile').read_text()}\n{code}\n")
    process = snakemake(folder, "tiny", "-s", script.name, *arguments, "-n", "--quiet", "all", **environment)
    return [line.removeprefix("> ") for line in process.stderr.splitlines() if line.startswith("> ")]


@pytest.mark.parametrize(
    ("arguments", "slots", "limit"),
    [((), {}, "2"), ((), {"NRD_SLOTS": "2"}, "4"), (("--resources", "gpu=1"), {}, "1"), (SLURM, {}, "None")],
)
def test_on_one_machine_as_many_train_as_its_gpus_have_slots(folder, arguments, slots, limit):
    """However many cores there are, unless a limit is given; on a cluster its scheduler counts."""
    code = 'gpu = workflow.global_resources.get("gpu"); print(">", gpu and gpu.value, file=sys.stderr)'
    assert printed(folder, code, *arguments, CUDA_VISIBLE_DEVICES="0,1", **slots) == [limit]


def test_another_attempt_gets_more_memory(folder):
    """Asked of the rules themselves: a dry run shows the first attempt alone."""
    code = """
for each in (rules.train, rules.analyse):
    memory = each.rule.resources["mem_mb"]
    print(">", *(memory.evaluate(None, attempt=attempt).value for attempt in (1, 2, 3)), file=sys.stderr)
"""
    assert printed(folder, code) == ["4000 8000 12000"] * 2


def test_the_profile_tries_again_and_is_patient_with_the_scheduler():
    """What a run of days depends on, and no short test notices."""
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
    assert profile["executor"] == "slurm"
    assert profile["retries"] >= 3  # attempts that meet their limit, lose their node or run out of memory
    assert profile["slurm-logdir"] == "results/logs/slurm"  # where logs of jobs are said to be
    assert profile["slurm-status-command"] == "squeue"  # there may be no accounting
    patience = profile["slurm-status-attempts"] * 5  # seconds
    assert patience >= 3600
    assert profile["keep-going"] and profile["rerun-incomplete"] and profile["latency-wait"] >= 60


def test_both_profiles_agree_on_what_may_trigger_work():
    """Snakemake reads the default profile last, but not where another workflow profile is named."""
    default, slurm = (
        yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text()) for name in ("default", "slurm")
    )
    assert default.items() <= slurm.items()
    assert not {"default-resources", "set-resources", "config"} & slurm.keys()
