"""What was tried to make training faster on a CPU, measured anew: ``python workflow/scripts/tried.py [seconds]``.

Each line is a ratio of the process's CPU seconds, new by old: the median of turns that the two ways take one after the
other in one process, on one thread, with the lowest and the highest. Tables: docs/performance.md.
"""

import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from nrd.augment import create_view
from nrd.benchmark.augment import MEAN, STD
from nrd.benchmark.peak import clock
from nrd.benchmark.specs import POCKET, benchmark_specs
from nrd.benchmark.train import noise
from nrd.evaluation import predict
from nrd.models import create_model
from nrd.study import Project

CPU = torch.device("cpu")
TURNS = 7
Way = Callable[[], object]


def seconds_of(way: Way, least: float) -> float:
    """Return the CPU seconds of one call, from as many as fill the time."""
    began, calls = clock(CPU), 0
    while True:
        way()
        calls += 1
        if (spent := clock(CPU) - began) >= least:
            return spent / calls


def compare(what: str, new: Way, old: Way, seconds: float) -> None:
    """Print the ratio of two ways to do the same work."""
    new(), old()
    ratios = [seconds_of(new, seconds) / seconds_of(old, seconds) for _ in range(TURNS)]
    print(f"{what}: {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})", flush=True)


def pass_of(batch: int, channels_last: bool = True, bfloat16: bool = False, steps: int = 1) -> Way:
    """Return forward and backward of the pocket network on so many batches."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = create_model(POCKET, 10, generator=torch.Generator().manual_seed(0)).to(memory_format=layout)
    images = torch.randn(batch, 3, 32, 32).contiguous(memory_format=layout)
    labels = torch.arange(batch) % 10

    def way() -> None:
        for _ in range(steps):
            network.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                logits = network(images)
            torch.nn.functional.cross_entropy(logits.float(), labels).backward()

    return way


def evaluation(size: int) -> Way:
    """Return an evaluation of the pocket network on 1000 images, so many at a time."""
    network = create_model(POCKET, 10, generator=torch.Generator().manual_seed(0)).eval()
    network, plain = network.to(memory_format=torch.channels_last), create_view("none", MEAN, STD)
    images, _ = noise(CPU, 1000)

    def way() -> None:
        before, predict.evaluation_batch = predict.evaluation_batch, lambda images: size
        predict.predict_probabilities(network, images, plain)
        predict.evaluation_batch = before

    return way


def augmentation(chunk: int) -> Way:
    """Return AugMix of 2048 images, so many at a time, with all parameters drawn before."""
    view = create_view("augmix", MEAN, STD)
    images, _ = noise(CPU, 2048)
    draw = view.draw(len(images), 32, 32, torch.Generator().manual_seed(0))

    def way() -> None:
        for start in range(0, len(images), chunk):
            part = slice(start, start + chunk)
            view(images[part], {name: values[part] for name, values in draw.items()})

    return way


def main(seconds: float = 1.0) -> None:
    """Measure each of them for about ``14 · seconds``."""
    torch.set_num_threads(1)
    (spec,) = benchmark_specs(Project(Path(__file__).parents[2]), ["ce"])
    batch = spec.optimization.batch_size
    compare("channels-last instead of contiguous, forward and backward", pass_of(batch), pass_of(batch, False), seconds)
    compare("bfloat16 autocast, forward and backward", pass_of(batch, bfloat16=True), pass_of(batch), seconds)
    compare("one step of 128 images instead of two of 64", pass_of(128), pass_of(64, steps=2), seconds)
    compare("evaluation of 128 images at a time instead of 500", evaluation(128), evaluation(500), seconds)
    for other in (64, 256, 512, 2048):
        compare(f"AugMix in chunks of 1024 instead of {other}", augmentation(1024), augmentation(other), seconds)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]))
