"""Energy from counters: what is read, what happens when a counter starts again, and where there is none."""

import json

import pytest
import torch

from nrd.spec import RunOptions
from nrd.training.checkpoint import State
from nrd.training.energy import energy_meter
from nrd.training.outputs import RunWriter

CPU = torch.device("cpu")


def zone(folder, name, title, joules, limit=262_143):
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "name").write_text(f"{title}\n")
    (folder / name / "max_energy_range_uj").write_text(f"{limit * 10**6}\n")
    (folder / name / "energy_uj").write_text(f"{round(joules * 1e6)}\n")


@pytest.fixture
def powercap(tmp_path):
    """Two packages; a part of one and the whole board, which count the same energy again."""
    zone(tmp_path, "intel-rapl:0", "package-0", 100.5)
    zone(tmp_path, "intel-rapl:0:0", "core", 50)
    zone(tmp_path, "intel-rapl:1", "package-1", 200)
    zone(tmp_path, "intel-rapl:2", "psys", 500)
    return tmp_path


def test_a_lap_is_what_the_packages_counted(powercap):
    meter = energy_meter(CPU, powercap)
    zone(powercap, "intel-rapl:0", "package-0", 103)
    zone(powercap, "intel-rapl:0:0", "core", 51)
    zone(powercap, "intel-rapl:1", "package-1", 204)
    zone(powercap, "intel-rapl:2", "psys", 900)
    assert meter.lap() == pytest.approx(6.5)
    assert meter.lap() == 0


def test_a_counter_that_starts_again_is_followed(powercap):
    zone(powercap, "intel-rapl:1", "package-1", 990, limit=1000)
    meter = energy_meter(CPU, powercap)
    zone(powercap, "intel-rapl:1", "package-1", 5, limit=1000)
    assert meter.lap() == pytest.approx(15)


def test_what_cannot_be_read_is_none(powercap, tmp_path):
    assert energy_meter(CPU, tmp_path / "nothing") is None
    meter = energy_meter(CPU, powercap)
    (powercap / "intel-rapl:0" / "energy_uj").unlink()
    assert meter.lap() is None
    assert energy_meter(CPU, powercap) is None


def test_a_run_keeps_it_with_its_times_and_its_machine(project, powercap, monkeypatch):
    monkeypatch.setattr("nrd.training.outputs.energy_meter", lambda device: energy_meter(device, powercap))
    spec = next(iter(project.study("tiny").specs.values()))
    writer = RunWriter(spec, project.layout, RunOptions(tracking=False), CPU)
    zone(powercap, "intel-rapl:0", "package-0", 150)
    writer.begin(State(spec.name, 0, {}, {}))
    zone(powercap, "intel-rapl:0", "package-0", 160.25)
    row = writer.timing_row(1, 2.0, 100)
    assert row["energy_joules"] == pytest.approx(10.2, abs=0.06)
    machine = json.loads((project.layout.scratch(spec.name) / "machine.json").read_text())
    assert machine["energy"] == "processor packages of the whole machine (RAPL)"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_counts_its_energy():
    device = torch.device("cuda")
    meter = energy_meter(device)
    if meter is None:
        pytest.skip("this GPU, or this part of one, has no counter")
    matrix = torch.randn(4096, 4096, device=device)
    for _ in range(200):
        matrix = torch.nn.functional.normalize(matrix @ matrix)
    torch.cuda.synchronize()
    assert meter.lap() > 0
