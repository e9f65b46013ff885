"""One process per run: the operating system drops the lock when its holder dies."""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from nrd.spec import SpecError

FILE = "lock"
HOLDER = "holder.json"


@contextmanager
def run_lock(folder: Path, run: str) -> Iterator[None]:
    """Hold a run's scratch folder.

    Raises:
        SpecError: another process holds it; the message names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / FILE)
    try:
        lock.acquire(timeout=0.5)  # somebody who asks whether it is held takes it for a moment
    except Timeout:
        raise SpecError(f"{run}: is being trained by {_holder(folder)}; wait for it, or stop it first") from None
    try:
        (folder / HOLDER).write_text(json.dumps({"host": platform.node(), "pid": os.getpid()}), encoding="utf-8")
        yield
    finally:
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether some living process on this machine holds the run."""
    return is_locked(folder / FILE)


def is_locked(file: Path) -> bool:
    """Whether some living process on this machine holds a lock file."""
    if not file.is_file():
        return False
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _holder(folder: Path) -> str:
    try:
        holder = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']}"
    except (OSError, ValueError, KeyError):
        return "another process"
