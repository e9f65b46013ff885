"""How long a study will take here, from a few seconds of measurement on images of the right size."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from nrd.data.device import Part
from nrd.evaluation.predict import evaluation_batch, predict_probabilities
from nrd.methods.base import Batch, Context
from nrd.randomness import generator
from nrd.spec import RunSpec
from nrd.training.batches import Draws, chunk_size_for, draw_views, make_batches
from nrd.training.build import build_method, build_network, build_optimizer, build_views, set_kernels
from nrd.training.statistics import EpochStatistics
from nrd.training.step import Step, forget_compiled, wants_compilation

# A CPU's time grows with the images, so a step that would take longer than this is measured on a few images.
SLOW_STEP_SECONDS = 4.0
FEW_IMAGES = 16
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
    """Time the run's own loop on random images, after warming up.

    Views are made as in the loop, a whole chunk at a time, and steps are taken on the run's own batches. Only on a CPU,
    and only where a step takes seconds, forward and backward are timed on fewer images.

    Args:
        spec: of the run.
        device: where it would train.
        seconds: measure at least this long, and at least one chunk of views and one step.
    """
    if device.type == "cuda":
        set_kernels(deterministic=False)
    loop = _Loop(spec, device)
    loop.warm_up()
    trained = loop.trained_image(seconds)
    cost = Cost(trained, loop.evaluated_image(seconds / 4))
    forget_compiled()
    return cost


class _Loop:
    """An epoch of one chunk, as the training loop has it."""

    def __init__(self, spec: RunSpec, device: torch.device) -> None:
        self.spec, self.device, self.batch = spec, device, spec.optimization.batch_size
        self.steps, size = max(1, chunk_size_for(device) // self.batch), spec.dataset.image_size
        draw, number = torch.Generator().manual_seed(0), self.steps * self.batch
        shape = (number, spec.dataset.channels, size, size)
        images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw)
        labels = torch.randint(0, spec.dataset.num_classes, (number,), generator=draw).to(device)
        self.part = Part(images.to(device), labels, labels)
        frozen = build_network(spec) if spec.requires else None  # its weights change no time
        self.method = build_method(spec, number, device, frozen=frozen).train()
        self.views, self.plain = build_views(spec, device)
        self.context = Context(device, spec.seed, 1, self.steps, self.batch)
        compiled = wants_compilation("auto", self.method, device)
        self.step = Step(self.method, build_optimizer(spec, self.method), self.context, spec.precision, compiled)
        self.step.set_rate(spec.optimization.learning_rate)
        self.order = self.method.epoch_order(self.context, number, generator(spec.seed, 0, "order"))
        self.taken = self.batch  # images of a batch that a step is given
        # On a GPU the loop draws while the device trains.
        self.draws = None if device.type == "cpu" else self._draw()

    def _draw(self) -> Draws:
        size = self.part.images.shape[-2:]
        return draw_views(self.views, self.method.view_counts, self.order.numel(), size, (self.spec.seed, 0))

    def batches(self) -> list[Batch]:
        """Make the views of the chunk."""
        key, counts = (self.spec.seed, 0), self.method.view_counts
        chunk_size = chunk_size_for(self.device)
        made = make_batches(self.part, self.order, self.views, counts, key, chunk_size, self.draws)
        return [batch for batch, _ in made]

    def warm_up(self) -> None:
        """Compile, record, fill caches, and choose how many images a step can be measured on."""
        batches = self.batches()
        if self.device.type == "cpu":
            self.taken = min(self.batch, FEW_IMAGES)
            spent = min(_seconds(lambda: self._train(batches[:1]), self.device) for _ in range(2))
            if spent / self.taken * self.batch <= SLOW_STEP_SECONDS:
                self.taken = self.batch
        self._train(batches[: COMPILED_WARM_UP if self.step.compiled else 1])

    def _train(self, batches: list[Batch], seconds: float = float("inf")) -> int:
        """Take a step on each batch, on a CPU only until the time is up; return the number of images."""
        began, statistics = time.perf_counter(), EpochStatistics(len(batches), self.taken, self.device)
        for batch in batches:
            statistics.add(self.step(_first(batch, self.taken)))
            # A GPU takes its time with what the host has long asked for: no clock until it is done.
            if self.device.type == "cpu" and time.perf_counter() - began >= seconds:
                break
        return statistics.steps * self.taken

    def trained_image(self, seconds: float) -> float:
        """Return the seconds of an image in training: in making its views, and in a step."""
        augmenting = stepping = 0.0
        augmented = stepped = 0
        while not stepped or augmenting + stepping < seconds:
            began = time.perf_counter()
            batches = self.batches()
            made = time.perf_counter()
            stepped += self._train(batches, max(0.0, seconds - augmenting - stepping - (made - began)))
            _wait(self.device)
            augmented += len(self.part)
            augmenting, stepping = augmenting + made - began, stepping + time.perf_counter() - made
        return augmenting / augmented + stepping / stepped

    def evaluated_image(self, seconds: float) -> float:
        """Return the seconds of an image in an evaluation of every network that the run keeps."""
        self.method.eval()
        images = self.part.images[: evaluation_batch(self.part.images)]

        def evaluate() -> None:
            for network in self.method.exports().values():
                predict_probabilities(network, images, self.plain, self.spec.precision)

        times = [_seconds(evaluate, self.device)]
        while sum(times) < seconds:
            times.append(_seconds(evaluate, self.device))
        return min(times) / len(images)


def _first(batch: Batch, number: int) -> Batch:
    if number >= len(batch.targets):
        return batch
    views = {role: [view[:number] for view in views] for role, views in batch.views.items()}
    return Batch(views, batch.targets[:number], batch.indices[:number])


def _seconds(function: Callable[[], object], device: torch.device) -> float:
    began = time.perf_counter()
    function()
    _wait(device)
    return time.perf_counter() - began


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
