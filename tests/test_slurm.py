"""The workflow on a real Slurm of one node: what it promises when jobs meet limits and programs die.

Each test has its own copy of the project; together they take some minutes, most of it waiting. Skipped where Slurm
cannot be started (see tests/slurm_cluster.py); `pytest -m slurm` runs nothing else.
"""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path

import psutil
import pytest

from nrd.layout import TRAINED, Layout
from nrd.study import Project
from tests.conftest import cannot_run
from tests.slurm_cluster import Cluster, why_not
from tests.test_workflow import clone

pytestmark = pytest.mark.slurm

LIMIT = 540
# Asks for states sooner than on a cluster; waits for no network file system.
IMPATIENT = ["--slurm-init-seconds-before-status-checks", "1", "--max-status-checks-per-second", "1"]
IMPATIENT += ["--latency-wait", "5"]
# Long enough to be met in the middle of it.
STUDY = """
name: {name}
title: For a test
description: Short trainings that something happens to.
settings:
  network: {{name: preact_resnet, widths: [8], blocks: [1]}}
  epochs: 40
  batch_size: 64
  learning_rate: {rate}
  schedule: {{name: cosine}}
  views: {{student: crop}}
grid:
  - {{datasets: [digits], noises: [sym40], methods: [ce], seeds: {seeds}}}
"""


@pytest.fixture(scope="module", autouse=True)
def slurm():
    if reason := why_not():
        cannot_run(f"no Slurm to test with: {reason}")


@pytest.fixture(scope="module")
def cluster(slurm):
    with Cluster() as running:
        yield running


@pytest.fixture
def folder(tmp_path):
    return clone(tmp_path / "clone")


def add_study(folder, name, seeds, rate="0.05"):
    """Write a study and return the names of its runs."""
    (folder / "params/studies" / f"{name}.yaml").write_text(STUDY.format(name=name, seeds=seeds, rate=rate))
    return list(Project(folder).study(name).specs)


def environment(cluster, **more):
    scripts = str(Path(sys.executable).parent)
    env = {**os.environ, **cluster.environment, "NRD_TRACKING": "off", "NRD_ROOT": ".", **more}
    return env | {"PATH": f"{scripts}{os.pathsep}{env['PATH']}"}


class Controller:
    """A Snakemake that submits to the cluster, in the background. What it says is in ``output``."""

    def __init__(self, cluster, folder, *arguments):
        self.path = folder / f"controller-{time.monotonic_ns()}.txt"
        command = ["snakemake", "--profile", "profiles/slurm", *IMPATIENT, *arguments]
        with self.path.open("w") as file:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment(cluster), stdout=file, stderr=file, start_new_session=True
            )

    @property
    def output(self):
        return self.path.read_text()

    def wait(self):
        try:
            return self.process.wait(timeout=LIMIT)
        finally:
            self.end()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def eventually(what, condition, *watched):
    """Wait for something to become true; while a controller that should bring it about is alive."""
    deadline = time.monotonic() + LIMIT
    while not (result := condition()):
        for controller in watched:
            assert controller.process.poll() is None, f"ended before {what}:\n{controller.output[-4000:]}"
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)
    return result


def trainer(folder, run):
    """The process that trains a run in this folder and has saved a state of it."""
    if not (Layout(folder).scratch(run) / "state.pt").is_file():
        return None
    for process in psutil.process_iter():
        try:
            if process.cmdline()[1:5] == ["-m", "nrd", "train", run] and process.cwd() == str(folder):
                return process
        except psutil.Error:
            continue
    return None


def attempts(cluster, run, folder):
    """The jobs that were to train a run, in the order of their submission."""
    return [job for job in cluster.jobs().values() if job["train"] == run and job["WorkDir"] == str(folder)]


def finish(run, folder):
    """What a finished run holds that must not depend on how it got there."""
    same = [name for name in TRAINED if name not in ("timing.csv", "machine.json", "log.txt")]
    return {name: (Layout(folder).run(run) / name).read_bytes() for name in same}


def train_undisturbed(run, folder, elsewhere):
    """Train a run in another copy of the project, without a cluster."""
    clone(elsewhere)
    (elsewhere / "params").rename(elsewhere / "params-before")
    for name in ("params", "data"):
        (elsewhere / name).symlink_to(folder / name)
    command = [sys.executable, "-m", "nrd", "train", run, "--device", "cpu", "--no-track"]
    subprocess.run(command, cwd=elsewhere, check=True, capture_output=True, timeout=LIMIT)
    return finish(run, elsewhere)


def machine(run, folder):
    return json.loads((Layout(folder).run(run) / "machine.json").read_text())


def log(run, folder):
    path = folder / "results/logs/train" / f"{run}.log"
    return path.read_text() if path.is_file() else ""


def test_the_study_completes_each_training_on_a_gpu_of_its_own(cluster, folder):
    with Controller(cluster, folder, "tiny") as controller:
        assert controller.wait() == 0, controller.output[-4000:]
    assert (folder / "results/reports/tiny/index.html").stat().st_size > 10_000
    runs = list(Project(folder).study("tiny").specs)
    jobs = {run: attempts(cluster, run, folder) for run in runs}
    assert [len(jobs[run]) for run in runs] == [1] * 4
    # Nothing else was submitted: what is light runs beside Snakemake.
    assert [job["train"] for job in cluster.jobs().values() if job["WorkDir"] == str(folder)].count("") == 0
    spans = {}
    for run, (job,) in jobs.items():
        assert job["JobState"] == "COMPLETED"
        assert (job["TimeLimit"], job["NumCPUs"], job["Partition"]) == ("12:00:00", "1", "main")
        seen = machine(run, folder)
        assert seen["slurm_job"] == job["JobId"]
        assert seen["visible_gpus"] in ("0", "1", "2")
        spans[run] = (job["StartTime"], job["EndTime"], seen["visible_gpus"])
    # Times are whole seconds and sort as text.
    together = [(a[2], b[2]) for a, b in combinations(spans.values(), 2) if max(a[0], b[0]) < min(a[1], b[1])]
    assert together
    assert all(first != second for first, second in together), spans
    assert not list((folder / "scratch/.slots").rglob("*.lock"))
    with Controller(cluster, folder, "tiny", "-n") as again:
        assert again.wait() == 0
        assert "Nothing to be done" in again.output


def test_a_time_limit_costs_an_attempt_and_a_failing_job_the_workflow(cluster, folder, tmp_path):
    """The one is submitted again and goes on after its last epoch; the other's log is named at the end; a third is left
    alone.
    """
    run, bystander = add_study(folder, "limited", [1, 2])
    (broken,) = add_study(folder, "broken", [1], rate="1.0e+12")
    targets = ["runs", "--config", "studies=limited,broken", "--retries", "1"]
    with Controller(cluster, folder, *targets) as controller:
        victim = eventually("the first epoch", lambda: trainer(folder, run), controller)
        victim.send_signal(signal.SIGSTOP)  # or it might be done before its limit is noticed
        (first,) = attempts(cluster, run, folder)
        cluster.command("scontrol", "update", f"jobid={first['JobId']}", "EndTime=now+1")
        assert controller.wait() == 1
        output = controller.output
    first, second = attempts(cluster, run, folder)
    assert (first["JobState"], second["JobState"]) == ("TIMEOUT", "COMPLETED")
    assert "continues after epoch" in log(run, folder)
    assert machine(run, folder)["slurm_job"] == second["JobId"]
    assert all((Layout(folder).run(name) / "metrics.json").is_file() for name in (run, bystander))
    assert [job["JobState"] for job in attempts(cluster, bystander, folder)] == ["COMPLETED"]
    assert finish(run, folder) == train_undisturbed(run, folder, tmp_path / "elsewhere")
    # The other one: two attempts, then it is given up, and said where to look.
    assert [job["JobState"] for job in attempts(cluster, broken, folder)] == ["FAILED"] * 2
    assert f"Failed: train, see results/logs/train/{broken}.log" in output
    assert "the loss is not finite in epoch 1" in output
    assert "Cannot restore" not in output
    assert not Layout(folder).is_trained(broken)


def test_killed_controllers_cost_no_training(cluster, folder, tmp_path):
    """Snakemake's and Slurm's own, with kill -9, while two jobs run. Snakemake does not know of them when it comes back
    and submits both again: one of the new jobs starts at once and waits for the training, the other starts when it is
    over and finds it finished.
    """
    runs = add_study(folder, "killed", [1, 2])
    targets = ["runs", "--config", "studies=killed"]
    with Controller(cluster, folder, *targets) as controller:
        processes = {}
        for run in runs:
            processes[run] = eventually("the first epoch", lambda run=run: trainer(folder, run), controller)
            processes[run].send_signal(signal.SIGSTOP)
        controller.process.kill()
    cluster.stop("slurmctld", signal.SIGKILL)
    subprocess.run(
        ["snakemake", "--profile", "profiles/slurm", "--unlock"],
        cwd=folder, env=environment(cluster), check=True, capture_output=True, timeout=LIMIT,
    )  # fmt: skip
    cluster.start("slurmctld")
    cluster.wait_for_node()
    with Controller(cluster, folder, *targets) as controller:
        waits = lambda: [run for run in runs if "waits for it" in log(run, folder)]  # noqa: E731
        (waiting,) = eventually("a second job to wait for the first", waits, controller)
        (late,) = {*runs} - {waiting}
        assert attempts(cluster, late, folder)[1]["JobState"] == "PENDING"
        for run in (late, waiting):
            processes[run].send_signal(signal.SIGCONT)
            eventually("the training to finish", lambda run=run: Layout(folder).is_trained(run), controller)
        assert controller.wait() == 0, controller.output[-4000:]
    for run in runs:
        first, second = attempts(cluster, run, folder)
        assert (first["JobState"], second["JobState"]) == ("COMPLETED", "COMPLETED")
        assert machine(run, folder)["slurm_job"] == first["JobId"]
        assert "epoch" not in log(run, folder)  # of the second job: it trained nothing
        with (Layout(folder).run(run) / "timing.csv").open() as file:
            assert [int(row["epoch"]) for row in csv.DictReader(file)] == list(range(1, 41))
        assert (Layout(folder).run(run) / "metrics.json").is_file()


def test_states_come_from_accounting_where_there_is_one(folder):
    """A real slurmdbd on a real database; squeue, which the profile asks without one, is out of order."""
    if reason := why_not(accounting=True):
        cannot_run(f"no accounting: {reason}")
    (run,) = add_study(folder, "accounted", [1])
    with Cluster(accounting=True) as cluster:
        squeue = cluster.folder / "bin" / "squeue"
        squeue.write_text("#!/bin/sh\nexit 1\n")
        squeue.chmod(0o755)
        options = ["--slurm-status-command", "sacct", "runs", "--config", "studies=accounted"]
        with Controller(cluster, folder, *options) as controller:
            assert controller.wait() == 0, controller.output[-4000:]
        squeue.unlink()
        states = cluster.command("sacct", "-X", "-n", "-P", "--format=JobIDRaw,State").split()
    assert states == [f"{machine(run, folder)['slurm_job']}|COMPLETED"]
