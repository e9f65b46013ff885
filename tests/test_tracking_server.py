"""MLflow's server on a real PostgreSQL: many writers at once, and a server that hangs, dies and comes back."""

import csv
import getpass
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import psutil
import pytest
import yaml

from nrd.layout import Layout
from nrd.training.lock import is_locked
from nrd.training.tracking import follower
from tests.conftest import cannot_run, make_project, optional_module, prepare_run

psycopg2 = optional_module("psycopg2", "the extra `server` is not installed")
optional_module("mlflow", "the extra `workflow` is not installed")

WRITERS, EPOCHS, LONG = 8, 6, 60
SECONDS = 600  # all waits end, whatever happens
PASSWORD = "not-to-be-shown"


def programs():
    """Folder of PostgreSQL's server programs, which Debian keeps off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    onpath = shutil.which("initdb")
    return found[-1].parent if found else Path(onpath).parent if onpath else None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, what, seconds=SECONDS, every=0.2):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(every)
    return value


@pytest.fixture(scope="module")
def database():
    """Address of an empty database; its server runs in its own folder, on loopback only."""
    folder_of_programs = programs()
    if folder_of_programs is None:
        cannot_run("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="nrd-postgresql-"))
    as_user = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to be run by root
        try:
            account = pwd.getpwnam("postgres")
        except KeyError:
            cannot_run("PostgreSQL cannot be run by root, and there is no user postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}

    def call(name, *arguments):
        command = [folder_of_programs / name, "-D", folder / "data", *arguments]
        log = folder.parent / f"{folder.name}.log"
        with log.open("a") as output:
            done = subprocess.run(command, cwd=folder, stdout=output, stderr=output, timeout=SECONDS, **as_user)
        assert done.returncode == 0, log.read_text()

    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o644)
    user = getpass.getuser()
    fixed = ["--no-sync", "--no-locale", "-E", "UTF8"]  # whatever the machine's own locale
    call("initdb", *fixed, "-U", user, "--auth=scram-sha-256", f"--pwfile={folder / 'password'}")
    port = free_port()
    options = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off"
    call("pg_ctl", "-w", "-o", options, "-l", str(folder / "server.log"), "start")
    yield f"postgresql://{user}:{PASSWORD}@127.0.0.1:{port}/postgres"
    call("pg_ctl", "-w", "-m", "immediate", "stop")
    shutil.rmtree(folder)
    (folder.parent / f"{folder.name}.log").unlink()


def query(database, sql):
    with psycopg2.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


class Server:
    """``mlflow server`` as docs/tracking.md starts it; it can be paused, killed and started again."""

    def __init__(self, database, folder):
        self.database, self.folder, self.port = database, folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "2", "--artifacts-destination", str(self.folder / "artifacts")]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        environment = {**os.environ, **quiet, "MLFLOW_BACKEND_STORE_URI": self.database}
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        wait_for(self.answers, "mlflow server does not start")

    def answers(self):
        assert self.process.poll() is None, (self.folder / "server.log").read_text()[-3000:]
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=20) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="module")
def server(database, tmp_path_factory):
    server = Server(database, tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.kill()


def followers(roots):
    """Processes of followers of these projects."""
    wanted = {str(root.resolve()) for root in roots}
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = set(process.info["cmdline"] or ())
        if {"nrd.training.tracking", "follow"} <= line and line & wanted:
            found.append(process)
    return found


@pytest.fixture
def clones():
    """Project folders, whose followers are ended afterwards."""
    roots = []
    yield roots
    for process in followers(roots):
        process.terminate()
    psutil.wait_procs(followers(roots), timeout=10)


def make_clone(root, epochs, seeds):
    """A project with a study of small runs, whose data and labels are ready."""
    root.mkdir(exist_ok=True)
    project = make_project(root)
    study = yaml.safe_load((root / "params/studies/tiny.yaml").read_text())
    study |= {"name": "small", "grid": [{**study["grid"][0], "methods": ["ce"], "seeds": seeds}]}
    study["settings"]["epochs"] = epochs
    (root / "params/studies/small.yaml").write_text(yaml.safe_dump(study))
    project = type(project)(root)
    for spec in project.study("small").specs.values():
        prepare_run(project, spec)
    return project


def start(root, *arguments, uri=None):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NRD_TRACKING": "on" if uri else "off"}
    environment |= {"MLFLOW_TRACKING_URI": uri} if uri else {}
    command = [sys.executable, "-m", "nrd", *map(str, arguments), "--root", str(root)]
    return subprocess.Popen(
        command, env=environment, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def start_follower(root, server, log):
    """One that waits longer for work than those that trainings start: they leave it to the one that is there."""
    command = [sys.executable, "-m", "nrd.training.tracking", "follow", "--root", str(root), "--idle", str(SECONDS)]
    environment = {**os.environ, "NRD_TRACKING": "on", "MLFLOW_TRACKING_URI": server.uri}
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    lock = follower._file(Layout(root), server.uri, "lock")
    wait_for(lambda: is_locked(lock) or process.poll() is not None, "the follower does not begin")
    assert process.poll() is None, log.read_text()


def finish(process):
    output = process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 0, output
    return output


def expected_metrics(project, name):
    """Every number of a run's history as MLflow should have it: (metric, epoch) -> value."""
    with (project.layout.run(name) / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        (f"epoch/{key}", int(row["epoch"])): float(value)
        for row in rows
        for key, value in row.items()
        if value and key != "epoch"
    }


def stored_metrics(database, name):
    """What the database has of a run that is not in MLflow's trash, and how often."""
    rows = query(
        database,
        "SELECT m.key, m.step, m.value FROM metrics m JOIN tags t ON t.run_uuid = m.run_uuid "
        "JOIN runs r ON r.run_uuid = m.run_uuid "
        f"WHERE t.key = 'nrd.run' AND t.value = '{name}' AND r.lifecycle_stage = 'active' AND m.key LIKE 'epoch/%'",
    )
    times = Counter((key, step) for key, step, _ in rows)
    return {(key, step): value for key, step, value in rows}, times


def assert_complete(database, project, name):
    expected = expected_metrics(project, name)
    stored, times = stored_metrics(database, name)
    assert stored == expected
    assert set(times.values()) == {1}


def test_eight_trainings_at_once_lose_no_metric(server, database, tmp_path, clones):
    """Each in its own project folder, hence with its own writer, as on eight machines of a cluster."""
    projects = []
    for seed in range(1, WRITERS + 1):
        clones.append(tmp_path / f"machine{seed}")
        projects.append(make_clone(clones[-1], EPOCHS, [seed]))
    specs = [next(iter(project.study("small").specs.values())) for project in projects]
    for project in projects:
        start_follower(project.layout.root, server, tmp_path / f"{project.layout.root.name}.log")
    trainings = [
        start(project.layout.root, "train", spec.name, uri=server.uri)
        for project, spec in zip(projects, specs, strict=True)
    ]
    for training in trainings:
        finish(training)
    names = {spec.name for spec in specs}
    sql = "SELECT t.value FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid "
    sql += "WHERE t.key = 'nrd.run' AND r.status = 'FINISHED' AND r.lifecycle_stage = 'active'"
    wait_for(lambda: names <= {name for (name,) in query(database, sql)}, "not all runs arrived")
    for project, spec in zip(projects, specs, strict=True):
        assert_complete(database, project, spec.name)
        log = (tmp_path / f"{project.layout.root.name}.log").read_text()
        assert f"mirrors {spec.name}" in log and PASSWORD not in log


def test_training_does_not_notice_a_server_that_hangs_and_dies(server, database, tmp_path, clones):
    clones.append(tmp_path / "disturbed")
    project, calm = make_clone(clones[0], LONG, [1]), make_clone(tmp_path / "calm", LONG, [1])
    (name,) = project.study("small").specs
    start_follower(clones[0], server, tmp_path / "follower.log")
    training = start(clones[0], "train", name, "--study", "small", uri=server.uri)
    # A slow machine's server would take its first metrics when the training is over: that waits for it, half-way.
    history = project.layout.scratch(name) / "history.csv"
    wait_for(
        lambda: history.is_file() and len(history.read_text().splitlines()) > 2, "no epoch was trained", every=0.01
    )
    training.send_signal(signal.SIGSTOP)
    assert len(history.read_text().splitlines()) <= LONG, "the run was over before it could be stopped: raise LONG"
    wait_for(lambda: stored_metrics(database, name)[0], "no metric arrived while the run was trained")
    server.signal(signal.SIGSTOP)  # connections are taken and never answered
    training.send_signal(signal.SIGCONT)
    finish(training)
    server.kill()
    seen = len(stored_metrics(database, name)[0])
    assert seen < len(expected_metrics(project, name)), "the server missed nothing"
    lenient = finish(start(clones[0], "track", "--sync", "small", "--lenient", uri=server.uri))
    assert "not mirrored to MLflow" in lenient and len(lenient.splitlines()) == 1

    finish(start(calm.layout.root, "train", name))
    for file in ("history.csv", "model.safetensors", "predictions.npz"):
        assert (project.layout.run(name) / file).read_bytes() == (calm.layout.run(name) / file).read_bytes()

    server.start()
    finish(start(clones[0], "track", "--sync", "small", uri=server.uri))
    assert_complete(database, project, name)
    before = query(database, "SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM metrics)")
    assert finish(start(clones[0], "track", "--sync", "small", uri=server.uri)).strip() == "1 up to date"
    assert query(database, "SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM metrics)") == before
