"""Accuracy is not traded for speed: the fast step and the plain reference train the same, seed by seed."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nrd.benchmark.ours import Ours
from nrd.benchmark.reference import Reference
from nrd.label_noise import corrupt
from nrd.models import create_model
from nrd.randomness import generator
from nrd.spec import NetworkSpec, RunSpec
from nrd.training.schedule import learning_rate
from nrd.training.step import forget_compiled

# A quarter of the pocket network's width.
NETWORK = NetworkSpec(name="preact_resnet", options={"widths": (16, 32, 64), "blocks": (1, 1, 1), "stem_stride": 2})
NOISE = ("symmetric", 0.4)


def fitting(datasets: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the datasets that the network and the plain reference take: 32×32, colour, ten classes."""
    wanted = (3, 32, 10)
    return tuple(name for name, it in datasets.items() if (it.channels, it.image_size, it.num_classes) == wanted)


def measure(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    spec: RunSpec,
    epochs: int = 12,
    seeds: int = 5,
    device: torch.device | None = None,
    report: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Train pairs that share initial weights, given labels and schedule, and compare their test accuracies.

    Views and batches are drawn anew by each, so that pairs differ as two runs of one program would.

    Args:
        train: uint8 images ``(N, 3, 32, 32)`` and true labels.
        test: the same, to judge by.
        spec: what to train.
        epochs: of each training, on a cosine schedule.
        seeds: number of pairs, at least 2.
        device: None is the CPU.
        report: called with each pair's row.

    Returns:
        ``pairs`` with the accuracies of both, their mean ``difference`` (ours less the reference's) with the
        half-width ``interval`` of its 95 % confidence interval, all in percentage points.
    """
    from scipy.stats import t as student

    device = device or torch.device("cpu")
    pairs = []
    for seed in range(1, seeds + 1):
        given = torch.from_numpy(corrupt(train[1].numpy(), *NOISE, num_classes=10, seed=seed).labels)
        row = {
            "seed": seed,
            "nrd": _train_ours(spec, epochs, seed, (train[0], given), test, device),
            "reference": _train_reference(spec, epochs, seed, (train[0], given), test, device),
        }
        forget_compiled()
        report(row)
        pairs.append(row)
    differences = np.array([row["nrd"] - row["reference"] for row in pairs])
    spread = differences.std(ddof=1) / math.sqrt(seeds)
    return {
        "method": spec.method.name,
        "images": len(train[1]),
        "test_images": len(test[1]),
        "epochs": epochs,
        "noise": " ".join(map(str, NOISE)),
        "pairs": pairs,
        "difference": float(differences.mean()),
        "interval": float(student.ppf(0.975, seeds - 1) * spread),
    }


def _rates(spec: RunSpec, epochs: int) -> list[float]:
    settings = spec.optimization
    schedule = settings.schedule.model_copy(update={"name": "cosine"})
    settings = settings.model_copy(update={"epochs": epochs, "schedule": schedule})
    return [learning_rate(settings, epoch) for epoch in range(epochs)]


Data = tuple[Tensor, Tensor]


def _train_ours(spec: RunSpec, epochs: int, seed: int, train: Data, test: Data, device: torch.device) -> float:
    ours = Ours(spec.model_copy(update={"seed": seed}), *train, device)
    for rate in _rates(spec, epochs):
        ours.epoch(rate)
    return 100 * (ours.evaluate(test[0]).argmax(dim=1).cpu() == test[1]).double().mean().item()


def _train_reference(spec: RunSpec, epochs: int, seed: int, train: Data, test: Data, device: torch.device) -> float:
    torch.manual_seed(seed)  # the reference draws from the global generator
    network = spec.network
    model = create_model(network.name, 10, generator=generator(seed, "init", 0), **network.options)
    reference = Reference(spec, model, *train, device)
    for rate in _rates(spec, epochs):
        reference.epoch(rate)
    return 100 * reference.accuracy(*test)
