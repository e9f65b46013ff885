"""Total throughput of several runs at a time: on one GPU, or on the cores of a CPU.

Each run is a process of its own, as in the workflow. They warm up, start together, and train for the same seconds on
the wall.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch

from nrd.benchmark.ours import Ours
from nrd.benchmark.train import noise
from nrd.spec import RunSpec


def measure(
    spec: RunSpec,
    device: str = "cpu",
    runs: Sequence[int] = (),
    seconds: float = 10.0,
    images: int | None = None,
) -> list[dict[str, Any]]:
    """Measure the images per second of all runs together.

    Args:
        spec: that each run trains.
        device: ``cpu``, or a GPU that all runs share.
        runs: numbers of runs at a time; by default 1, 2, 4 and 8 on a GPU, and on a CPU 1 and one per core. A CPU's
            runs have one thread each; one run on all cores' threads is measured beside them.
        seconds: on the wall, after warming up.
        images: of an epoch; None is enough of them for the device.

    Returns:
        For each setting ``runs``, ``threads`` of each, and ``images_per_second`` of all together.
    """
    cores = len(os.sched_getaffinity(0))
    if device == "cpu":
        settings = [(number, 1) for number in runs or sorted({1, cores})]
        settings += [(1, cores)] if cores > 1 and not runs else []
    else:
        settings = [(number, 1) for number in runs or (1, 2, 4, 8)]
    job = {"spec": spec.model_dump(mode="json"), "device": device, "seconds": seconds, "images": images}
    return [
        {
            "method": spec.method.name,
            "network": spec.network.name,
            "device": device,
            "runs": number,
            "threads": threads,
            "images_per_second": _together({**job, "threads": threads}, number),
        }
        for number, threads in settings
    ]


def _together(job: dict[str, Any], number: int) -> float:
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
        return sum(float(process.stdout.readline()) for process in processes)
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _work(job: dict[str, Any]) -> None:
    """Train in this process: say ``ready``, wait for a line, say how many images per second it were."""
    torch.set_num_threads(job["threads"])
    device = torch.device(job["device"])
    spec = RunSpec.model_validate(job["spec"])
    ours = Ours(spec, *noise(device, job["images"]), device)
    ours.epoch()
    print("ready", flush=True)
    sys.stdin.readline()
    began, images = time.perf_counter(), 0
    spent = 0.0
    while not images or spent < job["seconds"]:
        ours.epoch()  # ends by reading a loss, so the device is done with it
        images += ours.context.steps_per_epoch * spec.optimization.batch_size
        spent = time.perf_counter() - began
    print(images / spent, flush=True)


if __name__ == "__main__":
    _work(json.loads(sys.argv[1]))
