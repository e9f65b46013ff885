"""The live follower: one background process per project, store and machine, started by trainings.

A training only looks whether a follower is there and starts one if not; whatever goes wrong with the mirror, it goes
wrong over there.
"""

import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

import nrd
from nrd.files import write_if_changed
from nrd.layout import Layout
from nrd.spec import SpecError
from nrd.training.lock import HOLDER, is_locked
from nrd.training.tracking.mirror import Mirror
from nrd.training.tracking.records import Fingerprint, fingerprint, is_active, read_json
from nrd.training.tracking.store import (
    URI_VARIABLE,
    TrackingError,
    first_line,
    is_enabled,
    shown,
    store_key,
    store_uri,
    tracking_folder,
)

POLL_SECONDS, IDLE_SECONDS = 2.0, 15.0
LOOK_AGAIN_SECONDS, START_SECONDS = 15.0, 10.0
LONGEST_WAIT = 60.0
LOOK_BACK_SECONDS = 60.0  # a short run may be over before the follower has started

_looked: dict[tuple[Path, str], float] = {}


def ensure_follower(layout: Layout, uri: str | None = None, idle: float = IDLE_SECONDS) -> bool:
    """Start a follower for this project, store and machine unless one is there. Never raises, never waits.

    Meant to be called after the run's lock is taken, and again after each epoch: it does nothing for fifteen seconds
    after it has looked.

    Args:
        layout: Folders of the project.
        uri: The store; by default ``MLFLOW_TRACKING_URI`` or the project's own database.
        idle: After so many seconds without an active run the follower ends.

    Returns:
        Whether runs are being mirrored, as far as one can tell at once.
    """
    if not is_enabled() or importlib.util.find_spec("mlflow") is None:
        return False
    try:
        uri = store_uri(layout, uri)
        key = (layout.root.resolve(), uri)
        if time.monotonic() - _looked.get(key, -LOOK_AGAIN_SECONDS) >= LOOK_AGAIN_SECONDS:
            _looked[key] = time.monotonic()
            if not _is_followed(layout, uri):
                _start(layout, uri, idle)
        return True
    except (OSError, RuntimeError, ValueError):
        return False


def _file(layout: Layout, uri: str, suffix: str) -> Path:
    """A follower sees only its own machine's processes, so each machine has its own."""
    return tracking_folder(layout) / f"{platform.node()}-{store_key(uri)}.{suffix}"


def _is_followed(layout: Layout, uri: str) -> bool:
    """Whether a follower holds the lock, or one was started a moment ago and may not have got there."""
    starting = _file(layout, uri, "starting")
    if starting.is_file() and time.time() - starting.stat().st_mtime < START_SECONDS:
        return True
    return is_locked(_file(layout, uri, "lock"))


def _start(layout: Layout, uri: str, idle: float) -> None:
    folder = tracking_folder(layout)
    folder.mkdir(parents=True, exist_ok=True)
    _file(layout, uri, "starting").touch()
    command = [sys.executable, "-m", "nrd.training.tracking", "follow", "--root", str(layout.root.resolve())]
    with (folder / "follower.log").open("a", encoding="utf-8") as log:
        subprocess.Popen(
            [*command, "--idle", str(idle)],
            cwd=layout.root.resolve(),
            env=_environment(uri),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _environment(uri: str) -> dict[str, str]:
    """The store's address may hold a password: it goes through the environment, where `ps` does not show it."""
    package = str(Path(nrd.__file__).resolve().parents[1])
    paths = [path for path in (os.environ.get("PYTHONPATH"), package) if path]
    return {
        **os.environ,
        URI_VARIABLE: uri,
        "PYTHONPATH": os.pathsep.join(paths),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }


def follow(layout: Layout, uri: str | None = None, poll: float = POLL_SECONDS, idle: float = IDLE_SECONDS) -> None:
    """Mirror this machine's runs of a project as they grow, until none has been active for ``idle`` seconds.

    Returns at once where another follower is at work.
    """
    uri = store_uri(layout, uri)
    follower = Follower(layout, uri)
    lock = FileLock(_file(layout, uri, "lock"))
    while True:
        try:
            lock.acquire(timeout=1)  # somebody who looks whether it is free holds it for a moment
        except Timeout:
            return
        try:
            follower.run(poll, idle)
        finally:
            lock.release()
        if not follower.look():  # a training may have seen us holding the lock just before we gave up
            return


class Follower:
    """Watches the runs of one machine."""

    def __init__(self, layout: Layout, uri: str) -> None:
        self.layout, self.uri = layout, uri
        tracking_folder(layout).mkdir(parents=True, exist_ok=True)
        self.notes = _file(layout, uri, "json")
        self.watched: dict[str, Fingerprint | None] = dict.fromkeys(read_json(self.notes).get("watched", ()))
        # What began after the previous follower last looked has been seen by nobody.
        self.since = self.notes.stat().st_mtime if self.notes.is_file() else time.time() - LOOK_BACK_SECONDS
        self.first = True
        self.mirror: Mirror | None = None
        self.next_try, self.wait, self.said = 0.0, POLL_SECONDS, ""

    def run(self, poll: float, idle: float) -> None:
        """Poll until nothing has been active for ``idle`` seconds; the time that copying takes does not count."""
        self.say(f"follows {shown(self.uri)}")
        quiet = 0.0
        while quiet < idle:
            quiet = 0.0 if self.look() else quiet + poll
            self.copy()
            time.sleep(poll)
        left = f"; not mirrored to the end: {', '.join(sorted(self.watched))}" if self.watched else ""
        self.say(f"no run is active: ends{left}")

    def look(self) -> bool:
        """Find new runs and return whether any is active. Each start of a run rewrites its holder's note."""
        since, self.since = self.since - POLL_SECONDS, time.time()
        with os.scandir(tracking_folder(self.layout).parent) as folders:  # hundreds at each poll: glob is too slow
            for folder in folders:
                if folder.name not in self.watched and self._is_new(folder.path, since):
                    self.watched[folder.name] = None
        self.first = False
        self._remember()
        return any(is_active(self.layout.scratch(name)) for name in self.watched)

    def _is_new(self, folder: str, since: float) -> bool:
        try:
            recent = os.stat(f"{folder}/{HOLDER}").st_mtime >= since  # noqa: PTH116
        except OSError:
            return False
        if recent and read_json(Path(folder, HOLDER)).get("host") == platform.node():
            return True
        return self.first and is_active(Path(folder))

    def copy(self) -> None:
        """Mirror what has changed; an unreachable store is tried again, at growing intervals."""
        if time.monotonic() < self.next_try:
            return
        try:
            for name in sorted(self.watched):
                self._copy_run(name)
            self.wait = POLL_SECONDS
        except TrackingError as error:
            self.mirror = None
            self.wait = min(2 * self.wait, LONGEST_WAIT)
            self.next_try = time.monotonic() + self.wait
            self.say(f"{first_line(error)}; tries again")

    def _copy_run(self, name: str) -> None:
        now = fingerprint(self.layout, name)
        if now == self.watched[name]:
            return
        try:
            self.mirror = self.mirror or Mirror(self.layout, self.uri)
            if self.mirror.write(name) == "created":
                self.say(f"mirrors {name}")
        except SpecError as error:
            self.say(f"{name}: {first_line(error)}")
        self.watched[name] = now
        awaits_evaluation = self.layout.is_trained(name) and not self.layout.is_finished(name)
        if not now.active and not awaits_evaluation:
            del self.watched[name]

    def _remember(self) -> None:
        """Leave word for the next follower: what is not mirrored to its end, and when we last looked."""
        if not write_if_changed(self.notes, json.dumps({"watched": sorted(self.watched)}) + "\n"):
            os.utime(self.notes)

    def say(self, text: str) -> None:
        """Write a line to the follower's log, but not the same one again and again."""
        if text != self.said:
            self.said = text
            print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} [{os.getpid()}] {text}", flush=True)
