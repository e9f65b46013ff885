"""Shared fixtures: a project in a temporary folder, real data where it is, finished runs of the tiny study."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# One thread each: the tests run side by side, and a result's last bits depend on the number of threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["NRD_TRACKING"] = "off"  # tests that want the mirror switch it on

REPOSITORY = Path(__file__).resolve().parent.parent


def cannot_run(reason):
    """Skip a test for want of a program; where .ci/run found all of them installed, its absence is a failure."""
    if os.environ.get("NRD_TESTS_MUST_RUN") == "1":
        pytest.fail(f"{reason}; NRD_TESTS_MUST_RUN=1 lets nothing be skipped for that", pytrace=False)
    pytest.skip(reason)


def optional_module(name, reason):
    """Import a module of an extra, or skip the tests of the file that asks for it; in .ci/run they fail instead."""
    if os.environ.get("NRD_TESTS_MUST_RUN") == "1":
        return importlib.import_module(name)
    return pytest.importorskip(name, reason=reason)


@pytest.fixture(scope="session")
def repository():
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data():
    """Folder with the official CIFAR files."""
    folder = os.environ.get("NRD_DATA")
    if not folder or not (Path(folder) / "cifar-10-batches-py").is_dir():
        pytest.skip("NRD_DATA names no folder with cifar-10-batches-py/")
    return Path(folder)


def make_project(root):
    from nrd.study import Project

    shutil.copytree(REPOSITORY / "params", root / "params", dirs_exist_ok=True)
    return Project(root)


@pytest.fixture
def project(tmp_path):
    """The project's settings in an empty folder."""
    return make_project(tmp_path)


def prepare_run(project, spec):
    """Make dataset and labels of a run where they are missing."""
    from nrd.data.arrays import load_arrays
    from nrd.data.labels import draw_labels, write_labels
    from nrd.data.sources import prepare

    config, layout = project.datasets[spec.dataset.name], project.layout
    if not layout.dataset(config.name).exists():
        prepare(config, layout)
    if not (path := layout.labels(spec.labels_name)).exists():
        arrays = load_arrays(layout.dataset(config.name), config.checksum)
        write_labels(draw_labels(spec, arrays, config, layout), spec, path)


def train_run(project, spec, **options):
    from nrd.spec import RunOptions
    from nrd.training.loop import train

    prepare_run(project, spec)
    return train(spec, project.layout, RunOptions(tracking=False, **options))


@pytest.fixture(scope="session")
def tiny_project(tmp_path_factory):
    """A project whose tiny study is trained and evaluated. Read only."""
    from nrd.evaluation.run_metrics import evaluate_run

    project = make_project(tmp_path_factory.mktemp("tiny"))
    for name, spec in project.study("tiny").specs.items():
        train_run(project, spec)
        evaluate_run(name, project.layout)
    return project


@pytest.fixture
def nrd(tmp_path):
    """Run the nrd command in the project of ``tmp_path``; returns the finished process."""

    def run(*arguments, check=True, cwd=tmp_path, **kwargs):
        command = [sys.executable, "-m", "nrd", *map(str, arguments)]
        process = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, **kwargs)
        assert not check or process.returncode == 0, process.stderr
        return process

    return run
