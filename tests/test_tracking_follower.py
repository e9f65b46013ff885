"""The live follower: started by trainings, harmless to them, and gone when they are."""

import json
import os
import time

import filelock
import psutil
import pytest

from nrd.spec import RunOptions
from nrd.training.lock import run_lock
from nrd.training.loop import train
from nrd.training.tracking import ensure_follower, follow, store_uri
from nrd.training.tracking import follower as follower_module
from nrd.training.tracking.follower import Follower
from nrd.training.tracking.store import tracking_folder
from tests.conftest import prepare_run
from tests.test_tracking import (
    EPOCHS,
    find,
    history,
    layout,
    repeated_steps,
    spec,
    specs,
    steps,
    table_sizes,
    write_finished,
    write_live,
)

__all__ = ["layout", "spec", "specs"]  # fixtures

IDLE = 2.0


@pytest.fixture(autouse=True)
def tracking_is_on(monkeypatch):
    monkeypatch.setenv("NRD_TRACKING", "on")
    monkeypatch.setattr(follower_module, "_looked", {})


@pytest.fixture
def started(monkeypatch):
    """Commands of followers that would have been started."""
    commands = []
    monkeypatch.setattr(follower_module.subprocess, "Popen", lambda command, **options: commands.append(command))
    return commands


def log(layout):
    return (tracking_folder(layout) / "follower.log").read_text()


def followers(layout):
    """Processes of followers of this project."""
    root = str(layout.root.resolve())
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if {"nrd.training.tracking", "follow", root} <= set(process.info["cmdline"] or ()):
            found.append(process)
    return found


def test_a_real_training_is_mirrored_by_a_process_that_ends_itself(project, layout, spec):
    from nrd.evaluation.run_metrics import evaluate_run

    prepare_run(project, spec)
    assert ensure_follower(layout, idle=IDLE)
    (process,) = followers(layout)
    assert os.getsid(process.pid) == process.pid  # a closed terminal does not end it
    train(spec, layout, RunOptions())
    evaluate_run(spec.name, layout)
    assert process.nice() == 10
    psutil.wait_procs([process], timeout=240)
    assert not followers(layout)
    run = find(layout, spec)
    assert run.info.status == "FINISHED"
    assert steps(layout, run) == [1, 2]
    assert run.data.metrics["result/test_accuracy_last"] == run.data.metrics["epoch/test_accuracy"]
    assert not repeated_steps(layout.root / "mlflow.db")
    assert f"mirrors {spec.name}" in log(layout) and "ends" in log(layout) and "Traceback" not in log(layout)


def test_runs_are_followed_live(layout, spec):
    follower = Follower(layout, store_uri(layout))
    with run_lock(layout.scratch(spec.name), spec.name):
        assert follower.look()  # active, though there is no history yet
        follower.copy()
        for epochs in (1, 3):
            write_live(layout, spec, history(epochs))
            assert follower.look()
            follower.copy()
            assert find(layout, spec).info.status == "RUNNING"
            assert steps(layout, find(layout, spec)) == list(range(1, epochs + 1))
        write_finished(layout, spec, history(EPOCHS), evaluated=False)
    assert not follower.look()
    follower.copy()
    assert find(layout, spec).info.status == "FINISHED"
    assert follower.watched  # its evaluation is still to come
    sizes = table_sizes(layout)
    follower.copy()
    assert table_sizes(layout) == sizes
    write_finished(layout, spec, history(EPOCHS))
    follower.copy()
    assert find(layout, spec).data.metrics["result/test_accuracy_last"] == 0.5
    assert not follower.watched


def test_killed_and_failed_runs_are_closed(layout, specs):
    follower = Follower(layout, store_uri(layout))
    for one in specs[:2]:
        with run_lock(layout.scratch(one.name), one.name):
            folder = write_live(layout, one, history(2))
            follower.look()
            follower.copy()
    (folder / "failure.json").write_text(json.dumps({"message": "the loss is not finite"}))
    (layout.scratch(specs[0].name) / "holder.json").write_text(json.dumps({"host": os.uname().nodename, "pid": 2**22}))
    assert not follower.look()
    follower.copy()
    assert [find(layout, one).info.status for one in specs[:2]] == ["KILLED", "FAILED"]
    assert not follower.watched


def test_runs_of_before_and_of_other_machines_are_left_alone(layout, specs):
    for one, host, age in ((specs[0], os.uname().nodename, 1000), (specs[1], "elsewhere", 0)):
        write_live(layout, one, history(2))
        holder = layout.scratch(one.name) / "holder.json"
        holder.write_text(json.dumps({"host": host, "pid": 2**22}))
        os.utime(holder, (time.time() - age,) * 2)
    follower = Follower(layout, store_uri(layout))
    assert not follower.look() and not follower.watched


def test_the_next_follower_takes_up_what_the_last_one_left(layout, specs):
    write_finished(layout, specs[0], history(EPOCHS), evaluated=False)
    (layout.scratch(specs[0].name) / "holder.json").write_text(json.dumps({"host": os.uname().nodename, "pid": 2**22}))
    first = Follower(layout, store_uri(layout))
    first.look()
    first.copy()
    first.look()
    write_finished(layout, specs[0], history(EPOCHS))
    second = Follower(layout, store_uri(layout))
    second.copy()
    assert find(layout, specs[0]).data.metrics["result/test_accuracy_last"] == 0.5


@pytest.mark.parametrize("damage", ["spec", "metrics"])
def test_a_damaged_run_does_not_stop_the_others(layout, specs, capsys, damage):
    for one in specs[:2]:
        write_finished(layout, one, history(EPOCHS))
    broken = layout.run(specs[0].name)
    (broken / "spec.yaml").write_text("[") if damage == "spec" else (broken / "metrics.json").write_text("[")
    follower = Follower(layout, store_uri(layout))
    follower.watched = dict.fromkeys(one.name for one in specs[:2])
    follower.copy()
    assert find(layout, specs[1]).info.status == "FINISHED"
    assert specs[0].name in capsys.readouterr().out


def test_an_unreachable_server_is_waited_for(layout, spec, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    write_finished(layout, spec, history(EPOCHS))
    follower = Follower(layout, store_uri(layout))
    follower.watched = {spec.name: None}
    waits = []
    for _ in range(3):
        follower.copy()
        follower.copy()  # too early: not even tried
        waits.append(follower.wait)
        follower.next_try = 0.0
    assert waits == [4, 8, 16] and spec.name in follower.watched
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and "http://127.0.0.1:9" in lines[0]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    follower.uri = store_uri(layout)
    follower.copy()
    assert find(layout, spec).info.status == "FINISHED" and not follower.watched


def test_a_follower_of_an_unreachable_server_still_ends(layout, spec, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    write_finished(layout, spec, history(EPOCHS))
    (layout.scratch(spec.name) / "holder.json").write_text(json.dumps({"host": os.uname().nodename, "pid": 2**22}))
    follow(layout, "http://127.0.0.1:9", poll=0.05, idle=0.2)
    assert f"not mirrored to the end: {spec.name}" in capsys.readouterr().out


# --- starting one


def test_one_follower_is_enough(layout, started):
    assert ensure_follower(layout)
    assert len(started) == 1
    follower_module._looked.clear()
    assert ensure_follower(layout)  # by another training, before the first one has its lock
    assert len(started) == 1


def test_a_follower_at_work_is_recognised_and_a_dead_one_replaced(layout, started):
    lock = filelock.FileLock(follower_module._file(layout, store_uri(layout), "lock"))
    tracking_folder(layout).mkdir(parents=True)
    with lock:
        assert ensure_follower(layout) and not started
        follow(layout, poll=0.01, idle=0.01)  # returns at once
    follower_module._looked.clear()
    assert ensure_follower(layout) and len(started) == 1


def test_training_may_ask_after_every_epoch(layout, started, monkeypatch):
    """The lock is looked at once in a while, not each time."""
    monkeypatch.setattr(follower_module, "LOOK_AGAIN_SECONDS", 1e6)
    looks, look = [], follower_module._is_followed
    monkeypatch.setattr(follower_module, "_is_followed", lambda *which: looks.append(which) or look(*which))
    for _ in range(100):
        assert ensure_follower(layout)
    assert len(looks) == len(started) == 1
    follower_module._looked[layout.root.resolve(), store_uri(layout)] -= 1e6
    ensure_follower(layout)
    assert len(looks) == 2


@pytest.mark.parametrize("value", ["off", "OFF", "0", "false"])
def test_switched_off(layout, started, monkeypatch, value):
    monkeypatch.setenv("NRD_TRACKING", value)
    assert not ensure_follower(layout) and not started
    assert not tracking_folder(layout).exists()


def test_without_mlflow_training_goes_on(layout, started, monkeypatch):
    monkeypatch.setattr(follower_module.importlib.util, "find_spec", lambda name: None)
    assert not ensure_follower(layout) and not started


def test_a_folder_that_cannot_be_written_does_no_harm(layout, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError("read-only")

    monkeypatch.setattr(follower_module.subprocess, "Popen", refuse)
    assert not ensure_follower(layout)


def test_passwords_are_not_on_the_command_line(layout, monkeypatch):
    calls = []
    monkeypatch.setattr(follower_module.subprocess, "Popen", lambda *call, **options: calls.append((call, options)))
    ensure_follower(layout, "http://user:secret@server:5000")
    ((call, options),) = calls
    assert "secret" not in str(call) and options["env"]["MLFLOW_TRACKING_URI"] == "http://user:secret@server:5000"
