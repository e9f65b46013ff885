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
    assert len(jobs) == 4
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


def test_both_profiles_agree_on_what_may_trigger_work():
    """Snakemake reads the default profile last, but not where another workflow profile is named."""
    default, slurm = (
        yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text()) for name in ("default", "slurm")
    )
    assert default.items() <= slurm.items()
    assert not {"default-resources", "set-resources", "config"} & slurm.keys()
