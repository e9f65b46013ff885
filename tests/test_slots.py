"""Slots of GPUs: never more holders than slots, spread before shared, returned by the dead. GPUs are only named."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from nrd.spec import SpecError
from nrd.training import slots
from nrd.training.slots import leased_device, slots_per_gpu, visible_gpus

HOLDER = """
import sys, time
from pathlib import Path
from nrd.training.slots import leased_device
with leased_device("auto", Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(",")) as device:
    print(device, flush=True)
    time.sleep(float(sys.argv[4]))
    print("done", flush=True)
"""


@pytest.fixture(autouse=True)
def no_scheduler(monkeypatch):
    for name in (*slots.JOB_VARIABLES, "NRD_SLOTS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(slots, "POLL_SECONDS", 0.02)


def holder(folder, number, gpus, seconds):
    command = [sys.executable, "-c", HOLDER, str(folder), str(number), gpus, str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_runs_spread_over_gpus_before_they_share_one(tmp_path):
    with ExitStack() as stack:
        devices = [stack.enter_context(leased_device("auto", tmp_path, 2, ["0", "1", "2"])) for _ in range(6)]
    assert devices == ["cuda:0", "cuda:1", "cuda:2"] * 2


def test_a_slot_is_free_again_afterwards_and_after_an_error(tmp_path):
    for _ in range(3):
        with pytest.raises(RuntimeError), leased_device("cuda", tmp_path, 1, ["0"]) as device:
            raise RuntimeError
        assert device == "cuda:0"


def test_whoever_finds_no_slot_waits(tmp_path):
    with leased_device("auto", tmp_path, 1, ["0"]):
        waiting = holder(tmp_path, 1, "0", 0)
        assert "all 1 slot(s) of 1 GPU(s) are taken" in waiting.stderr.readline()
        assert waiting.poll() is None
    assert waiting.communicate(timeout=240)[0] == "cuda:0\ndone\n"


def test_the_dead_return_their_slot(tmp_path):
    process = holder(tmp_path, 1, "0", 60)
    assert process.stdout.readline() == "cuda:0\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with leased_device("auto", tmp_path, 1, ["0"]) as device:
        assert device == "cuda:0"


def test_processes_never_share_a_slot(tmp_path):
    """Six processes for two slots on each of two GPUs: the last two wait for the first."""
    began = time.monotonic()
    processes = [holder(tmp_path, 2, "0,1", 0.6) for _ in range(6)]
    outputs = [process.communicate(timeout=240)[0].split() for process in processes]
    assert all(output[1] == "done" for output in outputs)
    assert time.monotonic() - began >= 1.2
    assert {output[0] for output in outputs} == {"cuda:0", "cuda:1"}


def test_names_follow_the_gpu_and_numbers_the_process(tmp_path, monkeypatch):
    """A process that sees only GPU 1 calls it cuda:0, and still competes with one that sees both."""
    with leased_device("auto", tmp_path, 1, ["1"]) as first, leased_device("auto", tmp_path, 1, ["0", "1"]) as second:
        assert (first, second) == ("cuda:0", "cuda:0")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,GPU-8f/x,-1,0")
        assert visible_gpus() == ["1", "GPU-8f/x"]
        with leased_device("auto", tmp_path, 1, visible_gpus()) as third:
            assert third == "cuda:1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_a_device_that_was_chosen_is_not_leased(tmp_path, device):
    with leased_device(device, tmp_path, 1, ["0"]) as given:
        assert given == device
    assert not (tmp_path / slots.FOLDER).exists()


def test_without_gpus_and_where_a_scheduler_gave_one_there_is_nothing_to_do(tmp_path, monkeypatch):
    with leased_device("auto", tmp_path, 1, []) as device:
        assert device == "auto"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    for variable in ("SLURM_JOB_ID", "PBS_JOBID"):
        monkeypatch.setenv(variable, "7")
        with leased_device("cuda", tmp_path, 1, visible_gpus()) as device:
            assert device == "cuda"
        monkeypatch.delenv(variable)
    assert not (tmp_path / slots.FOLDER).exists()


def test_trainings_within_one_job_share_its_gpus_and_those_of_other_jobs_do_not(tmp_path, monkeypatch):
    """A whole node was allocated, and Snakemake runs in it: jobs number their GPUs from 0, each its own."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with ExitStack() as stack:
        for job in ("7", "8"):
            monkeypatch.setenv("SLURM_JOB_ID", job)
            devices = [stack.enter_context(leased_device("auto", tmp_path, 1, visible_gpus())) for _ in range(2)]
            assert devices == ["cuda:0", "cuda:1"]


def test_a_cluster_that_gives_no_gpus_to_its_jobs_makes_them_share(tmp_path, monkeypatch):
    """Without CUDA_VISIBLE_DEVICES each job on a node sees all its GPUs."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with leased_device("auto", tmp_path, 1, ["0", "1"]) as first:
        monkeypatch.setenv("SLURM_JOB_ID", "8")
        with leased_device("auto", tmp_path, 1, ["0", "1"]) as second:
            assert (first, second) == ("cuda:0", "cuda:1")


def test_machines_that_share_the_folder_have_their_own_gpus(tmp_path, monkeypatch):
    with leased_device("auto", tmp_path, 1, ["0"]) as here:
        monkeypatch.setattr(slots.platform, "node", lambda: "another")
        with leased_device("auto", tmp_path, 1, ["0"]) as there:
            assert (here, there) == ("cuda:0", "cuda:0")


def test_the_number_of_slots_comes_from_the_environment(monkeypatch):
    assert slots_per_gpu() == 1
    monkeypatch.setenv("NRD_SLOTS", "4")
    assert slots_per_gpu() == 4
    for wrong in ("0", "-1", "many", ""):
        monkeypatch.setenv("NRD_SLOTS", wrong)
        with pytest.raises(SpecError, match="NRD_SLOTS"):
            slots_per_gpu()
