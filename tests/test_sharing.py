"""Sharing with DVC as docs/sharing.md describes it: several clones, one remote, and nothing trained twice or lost."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time

import pytest
import yaml

from nrd.study import Project
from tests.conftest import optional_module
from tests.test_workflow import IDENTITY, call, clone, git, planned, snakemake

REPORT = "results/reports/demo"


def dvc(folder, *arguments, **options):
    return call(folder, "dvc", *arguments, **options)


def commit(folder, message):
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", message)


def runs(folder, kind="runs"):
    """Every file of the finished runs with its bytes."""
    root = folder / "results" / kind
    return {str(path.relative_to(root)): path.read_bytes() for path in root.glob("*/*")}


# One of tiny's own runs, whose network the paper's figures ask about.
FIGURES = {
    **{"table": "memorised", "figures": ["memorised"], "views": {"draws": 2, "points": 2, "samples": 1}},
    **{"datasets": ["digits"], "noises": ["sym40"], "methods": ["ce"], "seeds": [1]},
}


def write_study(folder, name, *more, **changes):
    """The tiny study under another name, so that the files of the default settings are what is tested."""
    study = yaml.safe_load((folder / "params/studies/tiny.yaml").read_text()) | {"name": name}
    study["grid"][0] |= changes
    study["grid"] += more
    (folder / f"params/studies/{name}.yaml").write_text(yaml.safe_dump(study, sort_keys=False))


def clone_with_git(source, target):
    git(source.parent, "clone", "-q", str(source), str(target))
    return target


@pytest.fixture(scope="module")
def first(tiny_project, tmp_path_factory):
    """A clone with a small demo whose runs are finished, pushed to a remote that its git history names."""
    folder = clone(tmp_path_factory.mktemp("sharing") / "first")
    write_study(folder, "demo", FIGURES)
    for name in ("data", "results"):
        shutil.copytree(tiny_project.layout.root / name, folder / name, dirs_exist_ok=True)
    before = runs(folder)
    dvc(folder, "repro")
    assert runs(folder) == before  # nothing was trained again
    dvc(folder, "remote", "add", "-d", "store", str(folder.parent / "remote"))
    dvc(folder, "push")
    commit(folder, "results")
    return folder


@pytest.fixture(scope="module")
def second(first):
    """Another clone, after ``dvc pull``."""
    folder = clone_with_git(first, first.parent / "second")
    dvc(folder, "pull")
    return folder


def test_a_pulled_clone_trains_nothing_and_rebuilds_its_tables(first, second):
    assert runs(second) == runs(first) and len({name.split("/")[0] for name in runs(second)}) == 4
    for name in (f"{REPORT}/index.html", f"{REPORT}/summary.json", "data/datasets/digits.safetensors"):
        assert (second / name).read_bytes() == (first / name).read_bytes()
    assert runs(second, "analyses") == runs(first, "analyses") and len(runs(second, "analyses")) == 1
    networks = {"train", "dataset", "given_labels", "analyse"}
    assert not set(planned(second, "demo")) & networks
    assert not set(planned(second, "analyses", "--config", "studies=demo")) & networks
    before = (second / REPORT / "accuracy.csv").read_bytes()
    shutil.rmtree(second / REPORT)
    figure = f"{REPORT}/figure1.csv"
    assert "analyse" not in planned(second, f"{REPORT}/accuracy.csv", figure)
    snakemake(second, f"{REPORT}/accuracy.csv", figure)
    assert (second / REPORT / "accuracy.csv").read_bytes() == before
    dvc(second, "checkout", REPORT)


def test_one_hyperparameter_is_the_work_of_its_runs_alone(first, second):
    """Under ``dvc repro`` as under Snakemake; and DVC's comparisons say what changed."""
    study, before = second / "params/studies/demo.yaml", runs(second)
    content = yaml.safe_load(study.read_text())
    content["settings"]["hyperparameters"] = {"nrd": {"pi": [0.2, 0.6, 0.2]}}
    study.write_text(yaml.safe_dump(content, sort_keys=False))
    status = json.loads(dvc(second, "status", "--json").stdout)
    assert {"runs", "analyses", "report@demo"} <= set(status) and "datasets" not in status
    affected = {name for name in Project(second).study("demo").specs if ".nrd." in name}
    assert planned(second, "demo")["train"] == len(affected) == 2
    dvc(second, "repro")
    after = runs(second)
    assert before.items() <= after.items()  # the old runs stay
    assert {name.split("/")[0] for name in set(after) - set(before)} == affected

    changes = json.loads(dvc(second, "params", "diff", "--json", "HEAD").stdout)
    pi = {"old": None, "new": "[0.2, 0.6, 0.2]"}
    assert changes == {"params/studies/demo.yaml": {"settings.hyperparameters.nrd.pi": pi}}
    metrics = json.loads(dvc(second, "metrics", "diff", "--json", "HEAD").stdout)[f"{REPORT}/summary.json"]
    assert "main.digits.sym40.nrd.mean_percent" in metrics and not any(".ce." in key for key in metrics)
    dvc(second, "plots", "diff", "HEAD", "-o", "plots")
    page = (second / "plots/index.html").read_text()
    charts = [json.loads(chart) for chart in re.findall(r"var spec = (\{.*\});", page)]
    assert [chart["spec"]["encoding"]["y"]["field"] for chart in charts] == [
        "test_accuracy_mean",
        "train_memorised_mean",
    ]
    for chart in charts:  # a line per method and revision
        assert chart["spec"]["encoding"]["color"]["field"] == "title"
        lines = {(row["title"], row["rev"]) for row in chart["data"]["values"]}
        assert lines == {(method, rev) for method in ("CE", "NRD") for rev in ("HEAD", "workspace")}
    assert len(list((second / "plots/static").glob("*_reliability.png"))) == 2
    shutil.rmtree(second / "plots")
    git(second, "checkout", "-q", ".")


def test_runs_of_two_clones_are_united_through_the_remote(first, tmp_path):
    theirs = clone_with_git(first, tmp_path / "theirs")
    git(theirs, "checkout", "-qb", "theirs")
    write_study(theirs, "other", methods=["ce"], seeds=[3])
    (theirs / "params/versioned.yaml").write_text("studies: other\nreports: [demo]\n")
    dvc(theirs, "repro", "analyses")  # and with it the runs; of which this study asks nothing
    assert not list((theirs / "results/analyses").iterdir())
    dvc(theirs, "push")
    commit(theirs, "other runs")
    (other,) = {name.split("/")[0] for name in runs(theirs)}

    ours = clone_with_git(first, tmp_path / "ours")
    git(ours, "checkout", "-qb", "ours")
    dvc(ours, "pull")
    (ours / "params/versioned.yaml").write_text("studies: demo,other\nreports: [demo]\n")
    commit(ours, "both studies")
    git(ours, "fetch", "-q", str(theirs), "theirs:theirs")
    for folder in ("data/labels", "results/runs", "results/analyses"):
        dvc(ours, "get", ".", folder, "--rev", "theirs", "-o", f"../fetched/{folder}")
    before = runs(ours)
    merged = call(ours, sys.executable, "-m", "nrd", "runs", "merge", "../fetched")
    assert merged.stdout == "runs: 1 new; label files: 1 new\n"
    call(ours, "git", *IDENTITY, "merge", "-q", "theirs", check=False)  # both sides changed versioned.yaml
    git(ours, "checkout", "--ours", "params/versioned.yaml")
    commit(ours, "merge")  # now dvc.lock is theirs, and names none of our runs
    assert "train" not in planned(ours, "runs", "--config", "studies=demo,other")
    dvc(ours, "repro", "analyses")
    dvc(ours, "push")
    commit(ours, "all runs")

    third = clone_with_git(ours, tmp_path / "third")
    dvc(third, "pull")
    united = runs(third)
    assert before.items() < united.items() and runs(theirs).items() < united.items()
    assert {name.split("/")[0] for name in united} == {name.split("/")[0] for name in before} | {other}
    assert "train" not in planned(third, "runs", "--config", "studies=demo,other")
    assert runs(third, "analyses") == runs(first, "analyses")
    assert not planned(third, "analyses", "--config", "studies=demo,other")


@pytest.fixture
def s3(tmp_path, monkeypatch):
    """Address of a local S3-compatible server with an empty bucket."""
    boto3 = optional_module("boto3", "the extra `s3` is not installed")
    optional_module("moto.server", "moto is not installed")
    for key, value in {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{key}", value)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (tmp_path / "s3.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        deadline = time.monotonic() + 240
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert server.poll() is None and time.monotonic() < deadline, (tmp_path / "s3.log").read_text()
            time.sleep(0.2)
        address = f"http://127.0.0.1:{port}"
        boto3.client("s3", endpoint_url=address).create_bucket(Bucket="nrd")
        yield address
    finally:
        server.kill()
        server.wait()


def test_s3_compatible_storage_is_a_remote(first, tmp_path, s3):
    ours = clone_with_git(first, tmp_path / "ours")
    shutil.copytree(first / ".dvc/cache", ours / ".dvc/cache")
    dvc(ours, "remote", "add", "-d", "team", "s3://nrd/runs")
    dvc(ours, "remote", "modify", "team", "endpointurl", s3)
    dvc(ours, "push", "data/labels", "results/runs")
    commit(ours, "remote")
    theirs = clone_with_git(ours, tmp_path / "theirs")
    assert "team" in dvc(theirs, "remote", "list").stdout
    dvc(theirs, "pull", "data/labels", "results/runs")
    assert runs(theirs) == runs(first)
