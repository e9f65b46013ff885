"""How long a study will take here, from a few seconds of measurement on images of the right size."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from nrd.data.device import Part
from nrd.evaluation.predict import predict_probabilities
from nrd.methods.base import Context
from nrd.randomness import generator
from nrd.spec import RunSpec
from nrd.training.batches import make_batches
from nrd.training.build import build_method, build_network, build_optimizer, build_views
from nrd.training.step import Step, wants_compilation

CPU_BATCH = 16
# Compiling, then recording CUDA graphs, takes the first few steps.
COMPILED_WARM_UP = 4


@dataclass(frozen=True)
class Cost:
    """Measured seconds per image: in training steps, and in an evaluation of all exported networks."""

    trained_image: float
    evaluated_image: float


def cost_key(spec: RunSpec) -> str:
    """Return a key that runs of equal cost per step share: losses over the same views cost about the same."""
    method = spec.method
    views = sorted((role, view.model_dump_json()) for role, view in method.views.items())
    counts = {key: value for key, value in method.hyperparameters.items() if key.endswith("_views")}
    shape = (spec.dataset.channels, spec.dataset.image_size, spec.optimization.batch_size, spec.precision)
    own_step = method.name if len(views) > 1 or "consistency" in method.implementation else ""
    teacher = method.teacher and method.teacher.model_copy(update={"checkpoint": None})
    return repr((spec.network, views, counts, teacher, shape, own_step))


def measure(spec: RunSpec, device: torch.device, seconds: float = 2.0) -> Cost:
    """Time the run's own step on random images, after warming up.

    A CPU's time grows with the images, so there small batches do, and the paper's step need not take half a minute.

    Args:
        spec: of the run.
        device: where it would train.
        seconds: measure at least this long, and at least one step.
    """
    batch, size = spec.optimization.batch_size, spec.dataset.image_size
    batch = min(batch, CPU_BATCH) if device.type == "cpu" else batch
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (batch * 8, spec.dataset.channels, size, size), dtype=torch.uint8, generator=draw)
    labels = torch.randint(0, spec.dataset.num_classes, (len(images),), generator=draw).to(device)
    part = Part(images.to(device), labels, labels)
    frozen = build_network(spec) if spec.requires else None  # its weights change no time
    method = build_method(spec, len(part), device, frozen=frozen)
    optimizer, (views, plain) = build_optimizer(spec, method), build_views(spec, device)
    context = Context(device, 0, 1, 8, batch)
    method.train()
    step = Step(method, optimizer, context, spec.precision, wants_compilation("auto", method, device))
    warm_up = COMPILED_WARM_UP if step.compiled else 1
    steps, began, epoch = -warm_up, 0.0, 0
    while steps <= 0 or time.perf_counter() - began < seconds:
        order = method.epoch_order(context, len(part), generator(0, epoch))
        for made, _ in make_batches(part, order, views, method.view_counts, (0, epoch), batch):
            step(made)
            _wait(device)
            steps += 1
            if steps <= 0:
                began = time.perf_counter()
            elif time.perf_counter() - began >= seconds:
                break
        epoch += 1
    per_image = (time.perf_counter() - began) / steps / batch
    method.eval()
    images = part.images
    began = time.perf_counter()
    for network in method.exports().values():
        predict_probabilities(network, images, plain, spec.precision)
    _wait(device)
    return Cost(per_image, (time.perf_counter() - began) / len(images))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def run_seconds(spec: RunSpec, cost: Cost, train_size: int, test_size: int) -> float:
    """Return the seconds a run will take, given what its steps and evaluations cost."""
    settings = spec.optimization
    held_out = round(spec.validation * train_size)
    images = (train_size - held_out) // settings.batch_size * settings.batch_size * settings.epochs
    evaluations = -(-settings.epochs // spec.evaluation_interval)
    return images * cost.trained_image + evaluations * (test_size + held_out) * cost.evaluated_image


def measure_all(specs: Iterable[RunSpec], device: torch.device, seconds: float = 2.0) -> dict[str, Cost]:
    """Measure each kind of step once; the result maps :func:`cost_key` to its cost."""
    costs: dict[str, Cost] = {}
    for spec in specs:
        if (key := cost_key(spec)) not in costs:
            costs[key] = measure(spec, device, seconds)
    return costs
