"""Total throughput of several runs at a time: on one GPU, or on the cores of a CPU.

Each run is a process of its own, as in the workflow. They warm up, start together, train for the same seconds on the
wall, and then evaluate together.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from nrd.benchmark.ours import Ours
from nrd.benchmark.train import EVALUATED, noise, run_seconds
from nrd.spec import RunSpec
from nrd.training.build import pick_device


def measure(
    spec: RunSpec,
    device: str = "cpu",
    runs: Sequence[int] = (),
    seconds: float = 10.0,
    images: int | None = None,
    epochs: int = 400,
    report: Callable[[list[dict[str, Any]]], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Measure the images per second of all runs together.

    Args:
        spec: that each run trains.
        device: ``cpu``, or a GPU that all runs share.
        runs: numbers of runs at a time; by default 1, 2, 4 and 8 on a GPU, and on a CPU 1 and one per core. A CPU's
            runs have one thread each; one run on all cores' threads is measured beside them.
        seconds: on the wall, after warming up.
        images: of an epoch; None is enough of them for the device.
        epochs: of the whole run that ``run_seconds`` is about.
        report: called with the rows so far after each setting.

    Returns:
        For each setting ``runs``, ``threads`` of each, ``images_per_second`` and ``evaluated_images_per_second`` of all
        together, and ``run_seconds``: those of a whole run of 50 000 images, divided by the runs at a time.
    """
    cores = len(os.sched_getaffinity(0))
    if device == "cpu":
        settings = [(number, 1) for number in runs or sorted({1, cores})]
        settings += [(1, cores)] if cores > 1 and not runs else []
    else:
        settings = [(number, 1) for number in runs or (1, 2, 4, 8)]
    job = {"spec": spec.model_dump(mode="json"), "device": device, "seconds": seconds, "images": images}
    rows = []
    for number, threads in settings:
        trained, evaluated = _together({**job, "threads": threads}, number)
        row = {"method": spec.method.name, "network": spec.network.name, "device": device, "runs": number}
        row |= {"threads": threads, "images_per_second": trained, "evaluated_images_per_second": evaluated}
        # An image counts as evaluated when every network that a run keeps has seen it.
        row |= {"epochs": epochs, "run_seconds": run_seconds(spec, epochs, trained, EVALUATED / evaluated)}
        rows.append(row)
        report(rows)
    return rows


def _together(job: dict[str, Any], number: int) -> tuple[float, float]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(job["threads"])}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "nrd.benchmark.slots", json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(number)
    ]
    try:
        for process in processes:
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(f"a run of {number} at a time ended before it started")
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        speeds = [json.loads(process.stdout.readline()) for process in processes]
        return sum(trained for trained, _ in speeds), sum(evaluated for _, evaluated in speeds)
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _work(job: dict[str, Any]) -> None:
    """Train in this process: say ``ready``, wait for a line, say how many images per second were trained and judged."""
    torch.set_num_threads(job["threads"])
    device = pick_device(job["device"])
    spec = RunSpec.model_validate(job["spec"])
    images, labels = noise(device, job["images"], spec.optimization.batch_size)
    ours = Ours(spec, images, labels, device)
    images = images.to(device)
    ours.epoch()
    ours.evaluate(images).cpu()
    print("ready", flush=True)
    sys.stdin.readline()
    of_epoch = ours.context.steps_per_epoch * ours.context.batch_size
    # Both end by reading a number, so the device is done with them.
    trained = _per_second(lambda: ours.epoch() or of_epoch, job["seconds"])
    evaluated = _per_second(lambda: len(ours.evaluate(images).cpu()), job["seconds"] / 4)
    print(json.dumps([trained, evaluated / len(ours.method.exports())]), flush=True)


def _per_second(function: Callable[[], int], seconds: float) -> float:
    began, number, spent = time.perf_counter(), 0, 0.0
    while not number or spent < seconds:
        number += function()
        spent = time.perf_counter() - began
    return number / spent


if __name__ == "__main__":
    _work(json.loads(sys.argv[1]))
