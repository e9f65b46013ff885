"""The real command in a forked process: killed, squeezed, or with its clock set back; and mounts of one's own."""

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
LIBC = ctypes.CDLL(None, use_errno=True)
LIMIT = 240.0  # seconds after which a command hangs
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.chmod")


@dataclass(frozen=True)
class Ended:
    """How a command ended; a negative status is the signal that killed it."""

    status: int
    out: str
    err: str
    seconds: float

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


@dataclass
class Running:
    """A command under way."""

    pid: int
    folder: Path
    began: float

    def kill(self) -> None:
        """SIGKILL to it and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def wait(self, seconds: float = LIMIT) -> Ended | None:
        """Return how it ended, or None if it has not after so many seconds."""
        end = time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() >= end:
                return None
            select.select([], [], [], 0.002)  # libfaketime breaks time.sleep
        texts = [self._printed(name) for name in ("out", "err")]
        return Ended(os.waitstatus_to_exitcode(status), *texts, time.monotonic() - self.began)

    def _printed(self, name: str) -> str:
        path = self.folder / f"{self.pid}.{name}"
        return path.read_text(errors="replace") if path.exists() else ""


def start(
    root: Path,
    arguments: list[str],
    output: Path,
    die_at: int = 0,
    count_to: Path | None = None,
    largest: int | None = None,
    clock: tuple[str, float] | None = None,
) -> Running:
    """Start ``nrd <arguments>`` in a project.

    Args:
        root: of the project.
        arguments: of the command.
        output: folder for what it prints.
        die_at: it kills itself at this file operation in the project, counted from 1.
        count_to: file for the number of its file operations in the project.
        largest: size in bytes that no file may pass.
        clock: libfaketime's offset, and the seconds after which it is set.
    """
    began = time.monotonic()
    pid = os.fork()
    if pid:
        return Running(pid, output, began)
    status = 70
    try:
        os.setsid()
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(output / f"{os.getpid()}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.chdir(root)
        if largest is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then writing fails with an error, as on a full disk
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        if clock is not None:
            signal.signal(signal.SIGALRM, lambda *_: os.environ.update(FAKETIME=clock[0]))
            signal.setitimer(signal.ITIMER_REAL, max(clock[1], 1e-6))
        counted = _count_operations(root.resolve(), die_at) if die_at or count_to else [0]
        status = _call(arguments)
        if count_to:
            count_to.write_text(str(counted[0]))
    finally:
        os._exit(status)


def _call(arguments: list[str]) -> int:
    """Run the command as its script does; a traceback goes where Python would print it."""
    import traceback

    from nrd.cli import main

    sys.argv = ["nrd", *arguments]
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    try:
        main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _count_operations(root: Path, die_at: int) -> list[int]:
    """Count what the process does to files below a folder; at the given count it dies, as by ``kill -9``."""
    counted = [0]

    def hook(event: str, arguments: tuple) -> None:
        if event not in EVENTS:
            return
        path = arguments[0]
        if event == "open" and not (len(arguments) > 2 and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        if not isinstance(path, str | os.PathLike) or not Path(root, path).is_relative_to(root):
            return
        counted[0] += 1
        if counted[0] == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return counted


def run(root: Path, arguments: list[str], output: Path, **how: object) -> Ended:
    """Run ``nrd <arguments>`` to its end."""
    running = start(root, arguments, output, **how)
    ended = running.wait()
    if ended is None:
        running.kill()
        running.wait()
        raise AssertionError(f"nrd {' '.join(arguments)} hangs")
    return ended


def own_mounts() -> bool:
    """Give this process mounts of its own, which end with it. False where the system does not permit that."""
    uid, gid = os.getuid(), os.getgid()
    if LIBC.unshare(CLONE_NEWNS) != 0:
        if LIBC.unshare(CLONE_NEWNS | CLONE_NEWUSER) != 0:
            return False
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    return mount("none", Path("/"), None, MS_REC | MS_PRIVATE)


def mount(source: str, target: Path, kind: str | None, flags: int = 0, options: str = "") -> bool:
    """Call mount(2); False where it fails."""
    encoded = [None if text is None else str(text).encode() for text in (source, target, kind)]
    return LIBC.mount(*encoded, ctypes.c_ulong(flags), options.encode() or None) == 0
