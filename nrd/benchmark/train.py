"""How fast training is, beside the plain way to do the same, and how far from what the device can do."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nrd.benchmark.augment import has_counterpart
from nrd.benchmark.ours import Ours
from nrd.benchmark.peak import Traffic, clock, copy_bandwidth, matmul_flops
from nrd.benchmark.reference import METHODS, Reference
from nrd.models import count_macs, create_model
from nrd.randomness import generator
from nrd.spec import RunSpec
from nrd.training.step import forget_compiled

TURNS = 5
# Images of an epoch: enough for one chunk of augmentation, and for a few steps.
IMAGES = {"cpu": 1024, "cuda": 16384}
EPOCH, EVALUATED = 50_000, 10_000  # CIFAR's training and test images


def noise(device: torch.device, number: int | None = None, batch_size: int = 1) -> tuple[Tensor, Tensor]:
    """Return random images and labels: what suits the device, and two steps at least. Their content changes no time."""
    draw, number = torch.Generator().manual_seed(0), number or max(IMAGES.get(device.type, 1024), 2 * batch_size)
    images = torch.randint(256, (number, 3, 32, 32), dtype=torch.uint8, generator=draw)
    return images, torch.randint(10, (number,), generator=draw)


def measure(
    specs: Sequence[RunSpec],
    device: torch.device | None = None,
    seconds: float = 10.0,
    compiling: str = "auto",
    workers: int = 0,
    images: int | None = None,
    epochs: int = 400,
    report: Callable[[list[dict[str, Any]]], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Measure each run.

    Args:
        specs: what to train; the plain reference takes float32 and knows the project's own methods.
        device: to train on; None is the CPU.
        seconds: for each contestant, at least one of its steps or epochs per turn.
        compiling: ``auto``, ``on`` or ``off``.
        workers: loader processes of the reference; CPU seconds are those of one process, so 0 on a CPU.
        images: of an epoch; None is enough of them for the device.
        epochs: of the whole run that ``run_seconds`` is about.
        report: called with the rows so far after each run.

    Returns:
        One row per run; see :func:`measure_one`.
    """
    device = device or torch.device("cpu")
    peaks: dict[str, dict[str, float]] = {}
    rows, shown = [], []
    for spec in specs:
        rows.append(measure_one(spec, device, seconds, compiling, workers, images, epochs))
        forget_compiled()
        # A peak is what was ever reached: other programs may have disturbed one measurement.
        before, found = peaks.get(spec.precision, {}), _peaks(device, spec.precision)
        peaks[spec.precision] = {name: max(value, before.get(name, 0.0)) for name, value in found.items()}
        shown = [{**row, **peaks[row["precision"]], **_fractions(row, peaks[row["precision"]])} for row in rows]
        report(shown)
    return shown


def _peaks(device: torch.device, precision: str) -> dict[str, float]:
    return {
        "matmul_gflops": matmul_flops(device, getattr(torch, precision)) / 1e9,
        "copy_gigabytes_per_second": copy_bandwidth(device) / 1e9,
    }


def measure_one(
    spec: RunSpec,
    device: torch.device,
    seconds: float,
    compiling: str = "auto",
    workers: int = 0,
    number: int | None = None,
    epochs: int = 400,
) -> dict[str, Any]:
    """Measure one run; the two ways take turns, and each reports its fastest.

    Returns:
        ``images_per_second`` of both ways and their ratio ``times_faster``; ``shares`` of the parts of our step and
        ``reference_shares`` of loading and of the step of the other; ``epoch_seconds`` for 50 000 images;
        ``evaluated_images_per_second`` of one network, and ``evaluation_share`` of an epoch that ends with an
        evaluation of every network that the run keeps on 10 000 images; ``run_seconds`` of ``epochs`` such epochs with
        as many evaluations as the run asks for; ``augmentation_share`` of the step as measured, compiled or not;
        ``gflop`` and ``gigabytes`` per step. Seconds are the process's own on a CPU. What is said of the reference is
        None for a method or a view that it does not know.
    """
    batch = spec.optimization.batch_size
    images, labels = noise(device, number, batch)
    ours = Ours(spec, images, labels, device, compiling)
    model = create_model(spec.network.name, 10, generator=generator(1, "init", 0), **spec.network.options)
    # Macs are counted before the reference takes the model.
    macs = count_macs(model, (3, 32, 32))
    steps = ours.context.steps_per_epoch
    plain_parts, turns = Counter(), []
    contestants = {"nrd": _epochs(ours, steps)}
    if spec.method.name in METHODS and all(has_counterpart(view.name) for view in spec.method.views.values()):
        contestants["reference"] = _steps(Reference(spec, model, images, labels, device, workers), plain_parts)
    best = dict.fromkeys(contestants, 0.0)
    for advance in contestants.values():
        advance(device, 0.0)  # warms up
    plain_parts.clear()
    for _ in range(TURNS):
        for name, advance in contestants.items():
            count, spent = advance(device, seconds / TURNS)
            best[name] = max(best[name], count * batch / spent)
        turns.append(Counter())
        ours.parts(turns[-1])
    # Each part's fastest turn, as for the whole.
    own_parts = Counter({part: min(turn[part] for turn in turns) for part in turns[0]})
    speed, reference, evaluated = best["nrd"], best.get("reference"), _evaluation(ours, images, device)
    views = spec.method.views
    evaluation = EVALUATED * len(ours.method.exports()) / evaluated
    run = run_seconds(spec, epochs, speed, evaluation)
    return {
        "method": spec.method.name,
        "network": spec.network.name,
        **{role: views[role].name if role in views else None for role in ("student", "teacher")},
        "batch": batch,
        "precision": spec.precision,
        "compiled": ours.step.compiled,
        "images_per_second": speed,
        "reference_images_per_second": reference,
        "times_faster": reference and speed / reference,
        "epoch_seconds": EPOCH / speed,
        "epochs": epochs,
        "run_seconds": run,
        "evaluated_images_per_second": evaluated,
        "evaluation_share": evaluation / (evaluation + EPOCH / speed),
        "shares": _shares(own_parts),
        "augmentation_share": own_parts["augmentation"] / steps * speed / batch,
        "reference_shares": _shares(plain_parts),
        "forward_backward_seconds": sum(own_parts[part] for part in ("forward", "teacher", "backward")) / steps,
        "gflop": 2e-9 * macs * batch * _passes(ours.method.view_counts),
        **_traffic(Ours(spec, images[: batch * 2], labels[: batch * 2], device, "off")),
    }


def run_seconds(spec: RunSpec, epochs: int, speed: float, evaluation: float) -> float:
    """Return the seconds of a whole run on 50 000 images.

    Args:
        spec: says how often the run evaluates.
        epochs: of the run.
        speed: trained images per second.
        evaluation: seconds of one evaluation.
    """
    return epochs * EPOCH / speed + -(-epochs // spec.evaluation_interval) * evaluation


def _passes(views: Mapping[str, int]) -> int:
    """Return a step's forward-sized passes: a backward pass takes two, and only the student has one."""
    return sum((3 if role == "student" else 1) * count for role, count in views.items())


Advance = Callable[[torch.device, float], tuple[int, float]]


def _epochs(ours: Ours, steps: int) -> Advance:
    def advance(device: torch.device, seconds: float) -> tuple[int, float]:
        began, count = clock(device), 0
        while True:
            ours.epoch()
            count += steps
            if (spent := clock(device) - began) >= seconds:
                return count, spent

    return advance


def _steps(reference: Reference, parts: Counter) -> Advance:
    """A slow reference need not finish an epoch in a turn: its steps all take the same."""

    def endless() -> Iterator[Callable[[], None]]:
        while True:
            yield from reference.steps()

    steps = endless()

    def advance(device: torch.device, seconds: float) -> tuple[int, float]:
        began, count = clock(device), 0
        while True:
            start = clock(device)
            step = next(steps)
            loaded = clock(device)
            step()
            done = clock(device)
            parts["loading"] += loaded - start
            parts["step"] += done - loaded
            count += 1
            if (spent := done - began) >= seconds and count >= 4:
                return count, spent

    return advance


def _evaluation(ours: Ours, images: Tensor, device: torch.device) -> float:
    images, best = images.to(device), 0.0  # the loop's test images are there from the start
    for _ in range(3):
        began = clock(device)
        ours.evaluate(images)
        best = max(best, len(images) / (clock(device) - began))
    return best


def _shares(parts: Counter) -> dict[str, float]:
    total = sum(parts.values())
    return {name: seconds / total for name, seconds in parts.items()}


def _traffic(ours: Ours) -> dict[str, float]:
    """Count an eager step's operations and bytes."""
    batches = ours.batches()
    ours.step(next(batches))
    batch = next(batches)
    with Traffic() as traffic:
        ours.step(batch)
    return {"gigabytes": traffic.bytes / 1e9, "operations": traffic.operations}


def _fractions(row: dict[str, Any], peaks: dict[str, float]) -> dict[str, float]:
    """Return which share of the peaks the measured step reaches; traffic is that of an unfused step."""
    step = row["batch"] / row["images_per_second"]
    return {
        "fraction_of_matmul_peak": row["gflop"] / step / peaks["matmul_gflops"],
        "forward_backward_fraction_of_matmul_peak": row["gflop"]
        / row["forward_backward_seconds"]
        / peaks["matmul_gflops"],
        "fraction_of_copy_bandwidth": row["gigabytes"] / step / peaks["copy_gigabytes_per_second"],
    }
