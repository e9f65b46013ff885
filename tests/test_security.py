"""What comes from outside is data: nothing in it is executed, nothing leaves its folder, no port is open to others."""

import io
import pickle
import tarfile

import numpy as np
import pytest
import torch

from nrd.data.arrays import load_arrays
from nrd.data.sources import prepare
from nrd.evaluation.run_metrics import evaluate_run
from nrd.layout import Layout
from nrd.spec import RunOptions, RunSpec, SpecError, read_yaml
from nrd.training.checkpoint import load_state
from nrd.training.finished import frozen_teacher
from nrd.training.loop import train
from tests.conftest import prepare_run


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return open, (str(self.trace), "w")


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "executed"
    pickle.loads(pickle.dumps(Bomb(path))).close()
    assert path.exists()  # it does go off where pickles are loaded
    path.unlink()
    return path


def bombs(trace):
    """The same in the formats that libraries read pickles from."""
    plain = pickle.dumps(Bomb(trace))
    saved, npz, npy = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save({"run": Bomb(trace)}, saved)
    np.savez(npz, test_labels=np.array([Bomb(trace)], dtype=object))
    np.save(npy, np.array([Bomb(trace)], dtype=object), allow_pickle=True)
    return {"pickle": plain, "torch": saved.getvalue(), "npz": npz.getvalue(), "npy": npy.getvalue()}


KINDS = ("pickle", "torch", "npz", "npy")


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_state_is_not_executed(tmp_path, trace, kind):
    folder = tmp_path / "scratch"
    folder.mkdir()
    (folder / "state.pt").write_bytes(bombs(trace)[kind])
    with pytest.raises(SpecError, match=r"state.pt: is damaged"):
        load_state("run", folder, torch.device("cpu"))
    assert not trace.exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file", ["model.safetensors", "predictions.npz"])
def test_a_finished_runs_files_are_not_executed(tiny_project, tmp_path, trace, file, kind):
    """Also in a run without checksums, which an attacker would leave out."""
    import shutil

    name, spec = next(iter(tiny_project.study("tiny").specs.items()))
    layout = Layout(tmp_path / "project")
    shutil.copytree(tiny_project.layout.run(name), layout.run(name))
    (layout.run(name) / "sums.json").unlink()
    (layout.run(name) / file).write_bytes(bombs(trace)[kind])
    with pytest.raises(SpecError, match=file):
        if file == "predictions.npz":
            evaluate_run(name, layout)
        else:
            teacher = {"kind": "frozen", "batch_norm": "eval", "checkpoint": name}
            content = spec.model_dump(mode="json")
            content["method"]["teacher"] = teacher
            frozen_teacher(RunSpec.model_validate(content), layout)
    assert not trace.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_prepared_data_are_not_executed(tmp_path, trace, kind):
    path = tmp_path / "digits.safetensors"
    path.write_bytes(bombs(trace)[kind])
    with pytest.raises(SpecError, match=r"digits.safetensors: is damaged"):
        load_arrays(path, "0" * 64)
    assert not trace.exists()


@pytest.mark.parametrize("tag", ["!!python/object/apply:builtins.open", "!!python/object/new:builtins.open"])
def test_yaml_is_loaded_safely(tmp_path, trace, tag):
    path = tmp_path / "study.yaml"
    path.write_text(f"name: x\ntitle: {tag} ['{trace}', w]\n")
    with pytest.raises(SpecError, match=r"study.yaml: is not valid YAML \(could not determine a constructor"):
        read_yaml(path)
    assert not trace.exists()


@pytest.mark.parametrize("where", ["params", "spec"])
def test_a_spec_with_python_in_it_trains_nothing(project, trace, where):
    spec = next(iter(project.study("tiny").specs.values()))
    prepare_run(project, spec)
    layout = project.layout
    folder = layout.run(spec.name)
    folder.mkdir(parents=True)
    path = folder / "spec.yaml" if where == "spec" else layout.params / "studies" / "tiny.yaml"
    path.write_text(f"seed: !!python/object/apply:builtins.open ['{trace}', w]\n")
    with pytest.raises(SpecError, match=r"is not valid YAML"):
        if where == "spec":
            evaluate_run(spec.name, layout)
        else:
            type(project)(layout.root).study("tiny")
    assert not trace.exists()
    assert train(spec, layout, RunOptions(tracking=False)).exists()


def members(outside):
    """Members that would be written outside of the folder that an archive is unpacked in."""
    link = tarfile.TarInfo("cifar-10-batches-py/link")
    link.type, link.linkname = tarfile.SYMTYPE, str(outside)
    return {
        "upwards": [tarfile.TarInfo("../escaped")],
        "absolute": [tarfile.TarInfo(f"{outside}/escaped")],
        "through a link": [link, tarfile.TarInfo("cifar-10-batches-py/link/escaped")],
        "device": [_device()],
    }


def _device():
    member = tarfile.TarInfo("cifar-10-batches-py/escaped")
    member.type, member.devmajor, member.devminor = tarfile.CHRTYPE, 1, 3
    return member


@pytest.mark.parametrize("published", [False, True], ids=["another archive", "a published archive gone bad"])
@pytest.mark.parametrize("kind", ["upwards", "absolute", "through a link", "device"])
def test_an_archive_cannot_write_outside_its_folder(project, tmp_path, monkeypatch, kind, published):
    """As if it had been downloaded: refused by its checksum; and were that right, by its members."""
    import hashlib

    from torchvision import datasets

    monkeypatch.delenv("NRD_DATA", raising=False)
    outside = tmp_path / "outside"
    outside.mkdir()
    archive = project.layout.raw / datasets.CIFAR10.filename
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as file:
        for member in members(outside)[kind]:
            file.addfile(member, io.BytesIO())
    if published:
        monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    with pytest.raises(SpecError, match=r"raw.*could not be downloaded"):
        prepare(project.datasets["cifar10"], project.layout)
    found = [path for path in tmp_path.rglob("escaped*") if project.layout.raw not in path.parents]
    assert not found and not list(outside.iterdir())


def test_servers_listen_on_this_machine_only(monkeypatch, tmp_path):
    """`nrd ui` without options: what it would start, and what its help says."""
    import inspect
    import os

    from nrd import cli
    from nrd.training.tracking import ui

    started = []
    monkeypatch.setattr(os, "execve", lambda path, command, environment: started.append(command))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(ui, "prepare_store", lambda layout, uri: None)
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ui.open_ui(Layout(tmp_path), port=port)
    assert started[0][started[0].index("--host") + 1] == "127.0.0.1"
    assert inspect.signature(cli.ui).parameters["host"].default == "127.0.0.1"
    assert inspect.signature(ui.open_ui).parameters["host"].default == "127.0.0.1"
