"""A run trained by the project's own step, and where its time goes."""

import sys
from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor

from nrd.benchmark.peak import clock
from nrd.data.device import Part
from nrd.evaluation.predict import predict_probabilities
from nrd.methods.base import Batch, Context
from nrd.randomness import generator
from nrd.spec import RunSpec
from nrd.training.batches import DrawAhead, chunk_size_for, make_batches
from nrd.training.build import build_method, build_optimizer, build_views, set_kernels
from nrd.training.statistics import EpochStatistics
from nrd.training.step import Step, wants_compilation


class Ours:
    """A training as the loop does it, without files.

    Args:
        spec: what to train.
        images: uint8 ``(N, C, H, W)`` of training.
        labels: given labels ``(N,)``.
        device: to train on.
        compiling: ``auto``, ``on`` or ``off``.
    """

    def __init__(
        self, spec: RunSpec, images: Tensor, labels: Tensor, device: torch.device, compiling: str = "auto"
    ) -> None:
        self.spec, self.device = spec, device
        if device.type == "cuda":
            set_kernels(deterministic=False)
        self.part = Part(images.to(device), labels.to(device), labels.to(device))
        self.method = build_method(spec, len(images), device).train()
        self.views, self.plain = build_views(spec, device)
        batch_size = spec.optimization.batch_size
        self.context = Context(device, spec.seed, 1, len(images) // batch_size, batch_size)
        compiled = wants_compilation(compiling, self.method, device)
        optimizer = build_optimizer(spec, self.method)
        self.step = Step(self.method, optimizer, self.context, spec.precision, compiled)
        self.step.set_rate(spec.optimization.learning_rate)
        self.epochs = 0
        counts = self.method.view_counts
        # As in the loop; it knows of no last epoch.
        self.draw_ahead = None if device.type == "cpu" else DrawAhead(self.views, counts, spec.seed, sys.maxsize)

    def batches(self) -> Iterator[Batch]:
        """Yield one epoch's batches."""
        self.context.epoch, self.context.step = self.epochs, 0
        order = self.method.epoch_order(self.context, len(self.part), generator(self.spec.seed, self.epochs, "order"))
        self.statistics = EpochStatistics(*order.shape, self.device)
        key, counts = (self.spec.seed, self.epochs), self.method.view_counts
        self.epochs += 1
        size, chunk_size = self.part.images.shape[-2:], chunk_size_for(self.device)
        draws = self.draw_ahead(order.numel(), size, key[1]) if self.draw_ahead else None
        for batch, _ in make_batches(self.part, order, self.views, counts, key, chunk_size, draws):
            yield batch
            self.context.step += 1

    def epoch(self, learning_rate: float | None = None) -> None:
        """Train one epoch."""
        if learning_rate is not None:
            self.step.set_rate(learning_rate)
        for batch in self.batches():
            self.statistics.add(self.step(batch))
        self.statistics.first_bad_step()

    def parts(self, spent: Counter) -> None:
        """Train one eager epoch and add the seconds of each part of it; on a GPU each part is waited for.

        So on a GPU they are not the parts of the compiled step: only augmentation, which is not compiled, is the same.
        """
        step, device = self.step, self.device
        batches = self.batches()
        while True:
            began = clock(device)
            batch = next(batches, None)
            spent["augmentation"] += clock(device) - began
            if batch is None:
                return
            taught = _Timed(getattr(self.method, "teacher", None), spent, device)
            began = clock(device)
            losses = step._forward(batch.views, batch.targets, batch.indices)
            seconds = taught.remove()
            spent["forward"] += clock(device) - began - seconds
            began = clock(device)
            step.optimizer.zero_grad(set_to_none=True)
            losses["loss"].backward()
            spent["backward"] += clock(device) - began
            began = clock(device)
            step.optimizer.step()
            spent["optimiser"] += clock(device) - began
            began = clock(device)
            self.method.on_step_end(self.context)
            spent["average"] += clock(device) - began
            began = clock(device)
            self.statistics.add(losses)
            spent["statistics"] += clock(device) - began

    def evaluate(self, images: Tensor) -> Tensor:
        """Return the student's class probabilities on plain images, uint8 ``(N, C, H, W)``."""
        self.method.eval()
        result = predict_probabilities(
            self.method.exports()["student"], images.to(self.device), self.plain, self.spec.precision
        )
        self.method.train()
        return result


class _Timed:
    """Takes the time of a module's forward passes until it is removed."""

    def __init__(self, module: torch.nn.Module | None, spent: Counter, device: torch.device) -> None:
        self.seconds, self.spent, self.hooks = 0.0, spent, []
        if module is not None:

            def before(*_: object) -> None:
                self.began = clock(device)

            def after(*_: object) -> None:
                self.seconds += clock(device) - self.began

            self.hooks = [module.register_forward_pre_hook(before), module.register_forward_hook(after)]

    def remove(self) -> float:
        for hook in self.hooks:
            hook.remove()
        self.spent["teacher"] += self.seconds
        return self.seconds
