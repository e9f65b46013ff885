"""The one training loop: every method trains through it, and a killed run continues to the identical result."""

import time
from pathlib import Path

import torch
from torch import Tensor

from nrd.data.arrays import load_arrays
from nrd.data.device import DeviceData, to_device
from nrd.data.labels import read_labels
from nrd.evaluation.predict import predict_probabilities
from nrd.layout import Layout
from nrd.methods.base import Context
from nrd.randomness import generator
from nrd.spec import RunOptions, RunSpec, SpecError
from nrd.training.batches import DrawAhead, chunk_size_for, make_batches
from nrd.training.build import build_method, build_optimizer, build_views, pick_device, set_kernels
from nrd.training.checkpoint import TIME_SHARE, State, load_optimizer, load_state, save_state
from nrd.training.finished import frozen_teacher
from nrd.training.lock import run_lock
from nrd.training.outputs import RunWriter
from nrd.training.progress import Progress
from nrd.training.schedule import learning_rate
from nrd.training.slots import leased_device
from nrd.training.statistics import EpochStatistics
from nrd.training.step import Step, wants_compilation
from nrd.training.tracking import ensure_follower


class TrainingFailed(RuntimeError):
    """The run cannot go on: its loss is no number any more."""


def train(spec: RunSpec, layout: Layout, options: RunOptions) -> Path:
    """Train a run to its end, from its last saved state if there is one.

    Returns:
        The run's folder, which then holds everything but ``metrics.json``.

    Raises:
        SpecError: data, labels or state are missing or do not fit, or another process trains the run and
            ``options.wait`` is not set; nothing was changed.
        TrainingFailed: the loss became NaN or infinite; the message names epoch, step and method.
    """
    if layout.is_trained(spec.name):
        return layout.run(spec.name)
    with run_lock(layout.scratch(spec.name), spec.name, options.wait):
        if not _was_finished(spec, layout):
            with leased_device(options.device, layout.root / "scratch") as device:
                Trainer(spec, layout, options.model_copy(update={"device": device})).run()
    return layout.run(spec.name)


def _was_finished(spec: RunSpec, layout: Layout) -> bool:
    """Whether another process finished the run while we waited, perhaps on another machine."""
    for folder in (layout.run(spec.name).parent, layout.run(spec.name)):
        if folder.is_dir():
            list(folder.iterdir())  # a network file system remembers absent files until a folder is opened again
    return layout.is_trained(spec.name)


class Trainer:
    """A run under way."""

    def __init__(self, spec: RunSpec, layout: Layout, options: RunOptions) -> None:
        self.spec, self.layout, self.options = spec, layout, options
        torch.set_num_threads(options.threads)
        self.device = pick_device(options.device)
        if self.device.type == "cuda":
            set_kernels(options.deterministic)
        arrays = load_arrays(layout.dataset(spec.dataset.name), spec.dataset.checksum)
        self.data: DeviceData = to_device(spec, arrays, read_labels(spec, layout.labels(spec.labels_name)), self.device)
        frozen = frozen_teacher(spec, layout)
        self.method = build_method(spec, len(self.data.train), self.device, layout.root, frozen)
        self.optimizer = build_optimizer(spec, self.method)
        self.views, self.evaluation_view = build_views(spec, self.device)
        self.context = Context(
            device=self.device,
            seed=spec.seed,
            epochs=spec.optimization.epochs,
            steps_per_epoch=len(self.data.train) // spec.optimization.batch_size,
            batch_size=spec.optimization.batch_size,
        )
        self.writer = RunWriter(spec, layout, options, self.device)
        self.state = self._resume()
        compiled = wants_compilation(options.compile, self.method, self.device)
        # On a CPU there is nothing to overlap with: the device is the host.
        ahead = self.device.type != "cpu"
        epochs = spec.optimization.epochs
        self.draw_ahead = DrawAhead(self.views, self.method.view_counts, spec.seed, epochs) if ahead else None
        self.step = Step(self.method, self.optimizer, self.context, spec.precision, compiled)

    def _resume(self) -> State:
        state = load_state(self.spec.name, self.layout.scratch(self.spec.name), self.device)
        if state is None:
            return State(self.spec.name, 0, {}, {})
        try:
            self.method.load_state_dict(state.method)
            load_optimizer(self.optimizer, state.optimizer)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            path = self.layout.scratch(self.spec.name) / "state.pt"
            reason = str(error).splitlines()[0]
            raise SpecError(f"{path}: does not fit this run ({reason}); delete it to train from the start") from None
        return state

    def run(self) -> None:
        """Train the remaining epochs and write the run's files."""
        state, epochs = self.state, self.spec.optimization.epochs
        self.writer.begin(state)
        self._mirror()
        with Progress(self.spec.name, epochs, state.epoch, self.writer.log) as progress:
            rate = self.data.train.true.ne(self.data.train.given).double().mean().item()
            start = f"continues after epoch {state.epoch}" if state.epoch else "starts"
            progress.note(
                f"{start}: {len(self.data.train)} images, {100 * rate:.2f} % mislabeled, "
                f"{self.device}, {self.options.threads} thread(s), {'compiled' if self.step.compiled else 'eager'}"
            )
            saved_at, save_seconds = time.perf_counter(), 0.0
            while state.epoch < epochs:
                began = time.perf_counter()
                row = self._epoch(state.epoch)
                seconds = time.perf_counter() - began
                state.epoch += 1
                state.history.append(row)
                images = self.context.steps_per_epoch * self.context.batch_size
                state.timing.append(self.writer.timing_row(state.epoch, seconds, images))
                self.writer.append(row)
                self._mirror()
                if state.epoch in self.spec.snapshots:
                    self.writer.snapshot(self.method, state.epoch)
                progress.epoch(row, images / seconds)
                if (time.perf_counter() - saved_at) * TIME_SHARE >= save_seconds or state.epoch == epochs:
                    state.method, state.optimizer = self.method.state_dict(), self.optimizer.state_dict()
                    save_seconds = save_state(state, self.layout.scratch(self.spec.name))
                    saved_at = time.perf_counter()
            self.method.eval()
            self.writer.finish(state, self.method, self._predictions(), progress)

    def _mirror(self) -> None:
        """See to it that somebody mirrors the run to MLflow; that costs nothing here and never fails."""
        if self.options.tracking:
            ensure_follower(self.layout)

    def _epoch(self, epoch: int) -> dict[str, float]:
        """Train one epoch (counted from 0) and return its row of ``history.csv``."""
        spec, context = self.spec, self.context
        context.epoch, context.step = epoch, 0
        rate = learning_rate(spec.optimization, epoch)
        self.step.set_rate(rate)
        self.method.train()
        self.method.on_epoch_start(context)
        train = self.data.train
        order = self.method.epoch_order(context, len(train), generator(spec.seed, epoch, "order"))
        statistics = EpochStatistics(*order.shape, self.device)
        chunk_size = chunk_size_for(self.device, self.options.chunk_size)
        counts, key = self.method.view_counts, (spec.seed, epoch)
        draws = self.draw_ahead(order.numel(), train.images.shape[-2:], epoch) if self.draw_ahead else None
        for batch, _ in make_batches(train, order, self.views, counts, key, chunk_size, draws):
            statistics.add(self.step(batch))
            context.step += 1
        if (bad := statistics.first_bad_step()) is not None:
            message = f"the loss is not finite in epoch {epoch + 1}, first at step {bad + 1}, method {spec.method.name}"
            self.writer.failed(message)
            raise TrainingFailed(f"{spec.name}: {message}")
        order = order.to(self.device)
        row = {"epoch": epoch + 1, "learning_rate": rate, **statistics.summary(train.true[order], train.given[order])}
        if (epoch + 1) % spec.evaluation_interval == 0 or epoch + 1 == spec.optimization.epochs:
            row |= self._accuracies()
        return row

    def _accuracies(self) -> dict[str, float]:
        """Accuracy on the clean test part for each exported network, and on the noisy validation part."""
        self.method.eval()
        result = {}
        for name, network in self.method.exports().items():
            prefix = "" if name == "student" else f"{name}_"
            result[f"{prefix}test_accuracy"] = self._accuracy(network, self.data.test)
        if len(self.data.validation):
            result["validation_accuracy"] = self._accuracy(self.method.predict, self.data.validation)
        return result

    def _accuracy(self, predictor, part) -> float:  # noqa: ANN001
        probabilities = predict_probabilities(predictor, part.images, self.evaluation_view, self.spec.precision)
        return (probabilities.argmax(dim=1) == part.given).double().mean().item()

    def _predictions(self) -> dict[str, Tensor]:
        """Class probabilities on test and plain training images, and the labels to judge them by."""
        data = self.data
        result = {
            "test_labels": data.test.true,
            "train_true": data.train.true,
            "train_given": data.train.given,
        }
        for name, network in self.method.exports().items():
            for part in ("test", "train"):
                images = getattr(data, part).images
                result[f"{name}_{part}"] = predict_probabilities(
                    network, images, self.evaluation_view, self.spec.precision
                )
        return result
