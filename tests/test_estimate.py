"""An estimate does the loop's own work, counted in images and steps. No time is asserted."""

from collections import Counter

import pytest
import torch

from nrd.augment.views import View
from nrd.benchmark.ours import Ours
from nrd.benchmark.train import noise
from nrd.spec import NetworkSpec
from nrd.study import Project
from nrd.training import estimate, slots
from nrd.training.step import Step
from tests.conftest import REPOSITORY

CPU = torch.device("cpu")
SMALL = NetworkSpec(name="preact_resnet", options={"widths": (4,), "blocks": (1,)})


def spec_of(method):
    runs = Project(REPOSITORY).study("pocket").specs.values()
    return next(spec for spec in runs if spec.method.name == method).model_copy(update={"network": SMALL})


@pytest.fixture
def work(monkeypatch):
    """Images of each call that augments, and of each training step."""
    found = Counter()
    view, step = View.__call__, Step.__call__

    def viewing(self, images, draw):
        found["augmented", len(images), bool(draw)] += 1
        return view(self, images, draw)

    def stepping(self, batch):
        found["stepped", len(batch.targets)] += 1
        return step(self, batch)

    monkeypatch.setattr(View, "__call__", viewing)
    monkeypatch.setattr(Step, "__call__", stepping)
    return found


@pytest.mark.parametrize("method", ["ce", "gjs", "nrd"])
def test_views_are_made_in_the_loops_chunks_and_steps_taken_on_the_runs_batches(method, work):
    spec = spec_of(method)
    Ours(spec, *noise(CPU, 1024), CPU).epoch()
    epoch = dict(work)
    views = 1 if method == "ce" else 2
    assert epoch == {("augmented", 1024, True): views, ("stepped", 64): 16}
    loop = estimate._Loop(spec, CPU)
    work.clear()
    loop._train(loop.batches())
    assert dict(work) == epoch


def test_one_measurement_is_a_chunk_and_a_step_at_least(work):
    loop = estimate._Loop(spec_of("nrd"), CPU)
    assert loop.trained_image(seconds=0.0) > 0
    assert work == {("augmented", 1024, True): 2, ("stepped", 64): 1}


def test_only_forward_and_backward_of_a_slow_step_are_measured_on_few_images(work, monkeypatch):
    monkeypatch.setattr(estimate, "SLOW_STEP_SECONDS", 0.0)
    estimate.measure(spec_of("ce"), CPU, seconds=0.0)
    steps = {key[1] for key in work if key[0] == "stepped"}
    views = {key[1] for key in work if key[0] == "augmented" and key[2]}
    assert (steps, views) == ({16}, {1024})


def test_parts_are_counted_by_their_own_images(monkeypatch):
    """A chunk of 1024 views in 2 s and one step of 64 in 3 s: time here passes only as told."""
    now = [0.0]
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: now[0])
    loop = estimate._Loop(spec_of("ce"), CPU)
    made = loop.batches()

    def pass_time(seconds, result):
        now[0] += seconds
        return result

    monkeypatch.setattr(loop, "batches", lambda: pass_time(2.0, made))
    monkeypatch.setattr(loop, "step", lambda batch: pass_time(3.0, {"loss": torch.zeros(())}))
    assert loop.trained_image(seconds=4.0) == pytest.approx(2 / 1024 + 3 / 64)


def test_a_run_is_its_images_and_its_evaluations():
    spec = spec_of("ce")
    settings = spec.optimization.model_copy(update={"epochs": 10})
    spec = spec.model_copy(update={"optimization": settings, "evaluation_interval": 4, "validation": 0.0})
    seconds = estimate.run_seconds(spec, estimate.Cost(0.5, 2.0), train_size=1000, test_size=100)
    assert seconds == 15 * 64 * 10 * 0.5 + 3 * 100 * 2.0


def test_gpus_that_only_have_a_file_are_not_counted(monkeypatch):
    """The driver shows one of two: a lease on the other would be of no use."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(slots, "count_gpus", lambda: 6)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert slots.usable_gpus() == ["0"]


def test_several_runs_on_one_gpu_are_not_thought_to_be_as_fast_as_one_each(monkeypatch):
    from nrd import cli

    monkeypatch.setenv("NRD_SLOTS", "4")
    monkeypatch.setattr("nrd.training.build.pick_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr("nrd.training.machine.describe", lambda device: {"device": "a GPU"})
    monkeypatch.setattr("nrd.training.slots.usable_gpus", lambda: ["0", "1"])
    monkeypatch.setattr("nrd.training.estimate.measure", lambda *_: estimate.Cost(1.0, 0.0))
    project = Project(REPOSITORY)
    study = project.study("demo")
    missing = list(study.specs.values())[:1]
    images = estimate.run_seconds(missing[0], estimate.Cost(1.0, 0.0), *sizes(project, missing[0]))
    for at_a_time in (None, 8):
        text = cli._estimate(project, study, missing, "cuda", 1, at_a_time, 0.0)
        assert "2 run(s) at a time" in text and text.endswith(cli._duration(images / 2))


def sizes(project, spec):
    dataset = project.datasets[spec.dataset.name]
    return dataset.train_size, dataset.test_size
