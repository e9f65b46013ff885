"""What happens in one fault: a project is put down, the fault injected, and what is left is held against the right."""

import os
import random
import shutil
import signal
import time
from pathlib import Path

from tests.faults import damage
from tests.faults.plan import DAMAGES, STAGES, Fault
from tests.faults.process import MS_BIND, MS_RDONLY, MS_REMOUNT, Ended, mount, own_mounts, run, start
from tests.faults.project import ORDER, STUDY, Reference, command, differences, give_teacher, told
from tests.faults.workflow import workflow

CLOCKS = ("-3s", "-400d", "+400d", "-1h")


class Skipped(Exception):
    """This system does not permit the fault."""


class Case:
    """One fault in its own project."""

    def __init__(self, fault: Fault, reference: Reference, folder: Path) -> None:
        self.fault, self.reference = fault, reference
        self.dice: random.Random = fault.dice
        self.root, self.output = folder / "project", folder / "output"
        self.root.mkdir()
        self.output.mkdir()
        self.name = self.dice.choice(reference.names) if fault.place == "train" else ""
        self.note = ""

    def run(self) -> dict:
        """Return the verdict: right, refused or skipped, or what was lost or altered."""
        try:
            if self.fault.place == "workflow":
                verdict, self.note = workflow(self.fault, self.reference, self.root)
            elif self.fault.kind in DAMAGES:
                verdict = self._damaged()
            else:
                verdict = self._disturbed()
            problems = []
        except Skipped as reason:
            verdict, problems, self.note = "skipped", [], str(reason)
        except AssertionError as error:
            verdict, problems = "failed", [str(error)]
        return {**self.fault.as_dict(), "verdict": verdict, "note": self.note, "problems": problems}

    # While a stage runs

    def _disturbed(self) -> str:
        stage = self.fault.place
        method = {
            "killed at a moment": self._killed_at_a_moment,
            "killed at a file operation": self._killed_at_an_operation,
            "disk full": self._disk_full,
            "file too large": self._file_too_large,
            "read-only folder": self._read_only,
            "clock set back": self._clock,
            "two at once": self._two,
        }[self.fault.kind]
        if self.fault.kind != "disk full":
            self._put()
        verdict = method()
        self._ends_right(stage)
        return verdict

    def _put(self) -> None:
        self.reference.copy(self.fault.place, self.root)
        give_teacher(self.reference.folder, self.root, self.name)

    @property
    def _command(self) -> list[str]:
        return command(self.fault.place, self.name)

    def _fact(self, kind: str) -> float:
        return self.reference.facts[kind][f"{self.fault.place} {self.name}".strip()]

    def _ends_right(self, stage: str) -> None:
        """The same command again, as a person would type it, must end with the undisturbed result."""
        ended = run(self.root, self._command, self.output)
        check(ended.status == 0, f"the command after the fault fails: {ended.err[-1500:]}")
        self._same(stage)

    def _same(self, stage: str, names: list[str] | None = None) -> None:
        names = names or ([self.name] if self.name else self.reference.names)
        found = differences(self.reference.done, self.root, stage, names)
        check(not found, f"not as undisturbed: {', '.join(found)}")

    def _killed_at_a_moment(self) -> str:
        for _ in range(self.dice.choice([1, 1, 2])):
            moment = self.dice.uniform(0, self._fact("seconds"))
            running = start(self.root, self._command, self.output)
            ended = running.wait(moment)
            if ended is None:
                running.kill()
                ended = running.wait()
            self.note += f"after {moment:.3f} s (status {ended.status}) "
        return "right"

    def _killed_at_an_operation(self) -> str:
        operation = self.dice.randint(1, int(self._fact("operations")))
        ended = run(self.root, self._command, self.output, die_at=operation)
        self.note = f"before file operation {operation} of {self._fact('operations')} (status {ended.status})"
        check(ended.status in (0, -signal.SIGKILL), f"ended with {ended.status}: {ended.err[-1500:]}")
        return "right"

    def _disk_full(self) -> str:
        """On a file system of its own that has room for a part of what the stage writes."""
        if not own_mounts() or not mount("tmpfs", self.root, "tmpfs", 0, "size=64m"):
            raise Skipped("mounting is not permitted here")
        self._put()
        status = os.statvfs(self.root)
        used = (status.f_blocks - status.f_bfree) * status.f_frsize
        room = 4096 * self.dice.randint(0, max(1, int(self._fact("bytes") // 4096)))
        if not mount("tmpfs", self.root, "tmpfs", MS_REMOUNT, f"size={used + room}"):
            raise Skipped("remounting is not permitted here")
        verdict = self._refused_or_right(run(self.root, self._command, self.output))
        self.note += f"{room} of {self._fact('bytes')} bytes of room"
        check(mount("tmpfs", self.root, "tmpfs", MS_REMOUNT, "size=64m"), "remounting failed")
        return verdict

    def _file_too_large(self) -> str:
        """What a disk quota or a full disk does, without mounts: writing past a size fails."""
        largest = self.dice.choice([512, 4096, 20_000, self.dice.randrange(300, 140_000)])
        self.note = f"no file over {largest} bytes "
        return self._refused_or_right(run(self.root, self._command, self.output, largest=largest))

    def _read_only(self) -> str:
        folder = self.root / ("data" if self.fault.place in ("data", "labels") else "results")
        folder.mkdir(exist_ok=True)
        mounted = own_mounts() and mount(str(folder), folder, None, MS_BIND)
        if mounted:
            check(mount("none", folder, None, MS_REMOUNT | MS_BIND | MS_RDONLY), "no read-only mount")
        elif os.getuid() == 0:
            raise Skipped("mounting is not permitted here, and permissions do not bind root")
        else:
            _permit(folder, 0o555)
        ended = run(self.root, self._command, self.output)
        problems = told(ended)
        check(not problems, "; ".join(problems))
        check(folder.name in ended.errors[0], f"does not name the folder: {ended.errors[0]}")
        self.note = ended.errors[0]
        if mounted:
            check(mount("none", folder, None, MS_REMOUNT | MS_BIND), "no writable mount")
        else:
            _permit(folder, 0o755)
        return "refused"

    def _clock(self) -> str:
        """Set back (or forward) at a random moment; and all files carry times of other years."""
        if "libfaketime" not in os.environ.get("LD_PRELOAD", ""):
            raise Skipped("libfaketime is not installed")
        for path in sorted(self.root.rglob("*")):
            moment = time.time() + self.dice.uniform(-3e8, 3e8)
            os.utime(path, (moment, moment))
        clock = (self.dice.choice(CLOCKS), self.dice.uniform(0, self._fact("seconds")))
        ended = run(self.root, self._command, self.output, clock=clock)
        self.note = f"{clock[0]} after {clock[1]:.3f} s"
        check(ended.status == 0, f"fails: {ended.err[-1500:]}")
        self._same(self.fault.place)
        return "right"

    def _two(self) -> str:
        """Twice at once, the second a random while after the first."""
        running = start(self.root, self._command, self.output)
        delay = self.dice.uniform(0, self._fact("seconds"))
        self.note = f"{delay:.3f} s apart "
        time.sleep(delay)
        both = [running, start(self.root, self._command, self.output)]
        ended = [process.wait() for process in both]
        check(all(ended), "hangs")
        check(any(end.status == 0 for end in ended), f"both fail: {ended[0].err[-800:]} {ended[1].err[-800:]}")
        for end in ended:
            self._refused_or_right(end)
        self._same(self.fault.place)
        return "refused" if any(end.status for end in ended) else "right"

    def _refused_or_right(self, ended: Ended) -> str:
        if ended.status == 0:
            self._same(self.fault.place)
            return "right"
        problems = told(ended)
        check(not problems, "; ".join(problems))
        self.note += f"{ended.errors[0]} "
        return "refused"

    # Between stages

    def _damaged(self) -> str:
        """The next reader ends right or refuses, no table shows a wrong number, and the remedy it names heals."""
        found = damage.choose(self.fault.place, self.reference, self.dice)
        self.reference.copy(found.start, self.root)
        if found.stage == "train":
            self._prepare_training(found)
        before = (self.root / found.path).read_bytes()
        self.note = damage.apply(self.fault.kind, self.fault.place, self.root, found, self.dice) + " "
        check((self.root / found.path).read_bytes() != before, f"{found.path}: was not damaged")
        ended = run(self.root, found.reader, self.output)
        if ended.status == 0:
            verdict = "right"
            if found.stage not in ("report", "figures"):
                self._same(found.stage, found.names)
        else:
            problems = told(ended)
            check(not problems, "; ".join(problems))
            named = found.path.name in ended.errors[0] or str(found.remove) in ended.errors[0]
            check(named, f"does not name {found.path}: {ended.errors[0]}")
            verdict = "refused"
            self.note += ended.errors[0]
        if found.stage == "report" and ended.status == 0:
            wrong = damage.wrong_numbers(self.reference, self.root)
            check(not wrong, f"wrong numbers: {wrong[:5]}")
        if found.stage == "figures" and ended.status == 0:
            wrong = damage.wrong_figures(self.reference, self.root)
            check(not wrong, f"wrong numbers: {wrong[:5]}")
        self._healed(found)
        return verdict

    def _prepare_training(self, found: damage.Damage) -> None:
        name = found.names[0]
        if found.start == "evaluate":
            shutil.rmtree(self.root / damage.RUNS / name)
        give_teacher(self.reference.folder, self.root, name)

    def _healed(self, found: damage.Damage) -> None:
        path = self.root / found.remove
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        quick = ["report", STUDY, "--partial", "--part", "results", "--part", "tables"]
        reader = quick if found.start == "report" else found.reader
        for arguments in [*found.again, reader]:
            ended = run(self.root, arguments, self.output)
            check(ended.status == 0, f"the remedy fails: nrd {' '.join(arguments)}: {ended.err[-1500:]}")
        if found.stage != "report" or found.start == "done":
            self._same(found.stage, found.names)
        else:
            wrong = damage.wrong_numbers(self.reference, self.root)
            # Trained again at another time; and the figures' tables are still those of the damaged run.
            wrong = [line for line in wrong if line.startswith(("results.csv", "accuracy", "paired"))]
            check(not wrong, f"not healed: {wrong[:5]}")


def check(condition: object, message: str) -> None:
    """Raise what a verdict reports."""
    if not condition:
        raise AssertionError(message)


def _permit(folder: Path, mode: int) -> None:
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(mode)


assert STAGES == ORDER
