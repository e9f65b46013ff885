"""Several runs on one GPU: each GPU has slots, and a run leases one for as long as it trains.

A lease is a locked file, so the operating system returns it when its holder dies, however it dies. Who starts more
runs than there are slots makes them wait, not share. Machines that share the folder lease their own GPUs. Where a
cluster's scheduler has given a job its GPU there is nothing to lease; of several GPUs, the trainings within the job
lease one each.
"""

import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from nrd.gpus import count_gpus
from nrd.spec import SpecError

FOLDER = ".slots"
VARIABLE = "NRD_SLOTS"
POLL_SECONDS = 0.5
# What Slurm, PBS, LSF, Flux, OAR and Grid Engine call a job's number.
JOB_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID", "OAR_JOB_ID", "JOB_ID")


def slots_per_gpu() -> int:
    """Return how many runs share a GPU: ``NRD_SLOTS``, or one.

    Raises:
        SpecError: the variable is no positive number.
    """
    text = os.environ.get(VARIABLE, "1")
    if not text.isdecimal() or int(text) < 1:
        raise SpecError(f"{VARIABLE}: expected a number of at least 1, got {text!r}")
    return int(text)


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that this process may use, in the order in which CUDA numbers them."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return [str(index) for index in range(count_gpus())]
    names = []
    for name in (part.strip() for part in allowed.split(",")):
        if name in ("", "-1"):  # CUDA ignores what follows
            break
        names.append(name)
    return names


@contextmanager
def leased_device(
    device: str, scratch: Path, slots: int | None = None, gpus: Sequence[str] | None = None
) -> Iterator[str]:
    """Hold a slot of a GPU, the emptiest first, and name the device to train on.

    ``auto`` and ``cuda`` lease; a CPU, a GPU chosen by its number, and the one GPU that a scheduler gave to a job pass
    as they are.

    Args:
        device: as the run's options say.
        scratch: folder that holds the leases; processes of one machine that share it share the GPUs.
        slots: runs at a time on each GPU; None is :func:`slots_per_gpu`.
        gpus: names of the GPUs in CUDA's order; None asks the machine.

    Yields:
        A device for ``torch.device``: ``cuda:<number>`` where a slot was leased, else ``device`` itself.
    """
    if device not in ("auto", "cuda"):
        yield device
        return
    gpus, job = usable_gpus() if gpus is None else gpus, _job_with_gpus()
    if not gpus or (job and len(gpus) == 1):
        yield device
        return
    owner = _file_name(platform.node() + (f"-{job}" if job else ""))
    index, lock = _acquire(scratch / FOLDER / owner, gpus, slots or slots_per_gpu())
    try:
        yield f"cuda:{index}"
    finally:
        lock.release()


def usable_gpus() -> list[str]:
    """Return the visible GPUs that CUDA can use; there may be files of devices that it cannot."""
    import torch

    return visible_gpus()[: torch.cuda.device_count()] if torch.cuda.is_available() else []


def _job_with_gpus() -> str | None:
    """Return the number of the job to which a scheduler gave GPUs. Its GPU 0 may not be that of the job beside it."""
    if "CUDA_VISIBLE_DEVICES" not in os.environ:
        return None
    return next((os.environ[name] for name in JOB_VARIABLES if name in os.environ), None)


def _acquire(folder: Path, gpus: Sequence[str], slots: int) -> tuple[int, FileLock]:
    """Return the number of a GPU and the lock of one of its slots; wait while all are taken."""
    folder.mkdir(parents=True, exist_ok=True)
    told = False
    while True:
        # All first slots before any second one: runs spread over the GPUs before they share one.
        for slot in range(slots):
            for index, gpu in enumerate(gpus):
                lock = FileLock(folder / f"gpu-{_file_name(gpu)}.slot-{slot}.lock")
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    continue
                return index, lock
        if not told:
            told = True
            print(f"all {slots} slot(s) of {len(gpus)} GPU(s) are taken; waiting", file=sys.stderr, flush=True)
        time.sleep(POLL_SECONDS)


def _file_name(text: str) -> str:
    return "".join(character if character.isalnum() or character == "-" else "_" for character in text)
