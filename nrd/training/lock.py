"""One process per run: the operating system drops the lock when its holder dies, however it dies.

Between machines this holds as far as their shared file system's locks (``flock``) do; docs/cluster.md has a test.
"""

import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from nrd.files import errors_name
from nrd.spec import SpecError

FILE = "lock"
HOLDER = "holder.json"
POLL_SECONDS = 2.0


@contextmanager
def run_lock(folder: Path, run: str, wait: bool = False) -> Iterator[None]:
    """Hold a run's scratch folder.

    Args:
        folder: the run's scratch folder; it is made.
        run: the run's name.
        wait: wait for another holder to end, which is said once on standard error.

    Raises:
        SpecError: another process holds it, and ``wait`` is not set; the message names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / FILE)
    try:
        lock.acquire(timeout=0.5)  # somebody who asks whether it is held takes it for a moment
    except Timeout:
        if not wait:
            raise SpecError(f"{run}: is being trained by {_holder(folder)}; wait for it, or stop it first") from None
        print(f"{run}: is being trained by {_holder(folder)}; waits for it", file=sys.stderr, flush=True)
        lock.acquire(timeout=-1, poll_interval=POLL_SECONDS)
    try:
        with errors_name(folder / HOLDER):
            (folder / HOLDER).write_text(json.dumps({"host": platform.node(), "pid": os.getpid()}), encoding="utf-8")
        yield
    finally:
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether some living process holds the run, on any machine that the lock reaches."""
    return is_locked(folder / FILE)


def is_locked(file: Path) -> bool:
    """Whether some living process holds a lock file, on any machine that the lock reaches."""
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
