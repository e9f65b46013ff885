"""The fork server: it has imported what the command imports, and forks a process for every fault.

It reads a fault per line and writes a verdict per line, and is a process of its own: no thread of a test runner may
be there when it forks. Started with libfaketime where the clock is to be set.
"""

import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.plan import Fault

FAKETIME = next(iter(glob.glob("/usr/lib/*/faketime/libfaketime.so.1")), None)  # noqa: PTH207


class Server:
    """A fork server as its clients see it."""

    def __init__(self, reference: Path, clock: bool = False) -> None:
        env = {**os.environ, **QUIET}
        if clock and FAKETIME:
            env |= {
                "LD_PRELOAD": FAKETIME,
                "FAKETIME": "+0",
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
            env["DONT_FAKE_MONOTONIC"] = "1"
        command = [sys.executable, "-m", "tests.faults.server", str(reference)]
        root = Path(__file__).resolve().parent.parent.parent
        self.process = subprocess.Popen(
            command, cwd=root, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def inject(self, fault: Fault) -> dict:
        """Return a fault's verdict."""
        self.process.stdin.write(json.dumps(fault.as_dict()) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the fork server died"
        return json.loads(line)

    def close(self) -> None:
        """Let it end."""
        self.process.stdin.close()
        self.process.wait()


# One thread, so that forking is safe.
QUIET = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
QUIET |= {"NRD_TRACKING": "off", "MPLBACKEND": "agg"}


def import_all() -> None:
    """Import what the command imports, also what it imports late, and start no thread."""
    import sklearn.datasets
    import torch
    import torch._dynamo

    torch.set_num_threads(1)
    from nrd import analysis  # noqa: F401
    from nrd.cli import main  # noqa: F401
    from nrd.data import sources  # noqa: F401
    from nrd.evaluation import run_metrics  # noqa: F401
    from nrd.report import cost, figures, page, paper_figures, results, tables  # noqa: F401
    from nrd.training import loop  # noqa: F401

    sklearn.datasets.load_digits()
    tasks = Path("/proc/self/task")
    names = [(task / "comm").read_text().strip() for task in tasks.iterdir()] if tasks.is_dir() else []
    # Arrow's allocator has a thread, and handlers that make forking safe.
    others = [name for name in names if not name.startswith("jemalloc")]
    assert len(others) <= 1, f"threads where none may be: {others}"


def work_folder() -> str | None:
    """In memory where there is such a folder: a fault's project is small, and its files are written to be killed."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _inject(fault: Fault, reference: Path) -> dict:
    """Fork a process that injects one fault and return its verdict."""
    from tests.faults.cases import Case
    from tests.faults.project import Reference

    folder = Path(tempfile.mkdtemp(prefix="nrd-fault-", dir=work_folder()))
    began = time.monotonic()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.setsid()
            verdict = Case(fault, Reference(reference), folder).run()
            (folder / "verdict.json").write_text(json.dumps(verdict))
            status = 0
        except BaseException as error:
            import traceback

            (folder / "verdict.json").write_text(_broken(fault, f"{error!r} {traceback.format_exc()[-2000:]}"))
        finally:
            os._exit(status)
    os.waitpid(pid, 0)
    try:
        verdict = json.loads((folder / "verdict.json").read_text())
    except (OSError, ValueError):
        verdict = json.loads(_broken(fault, "left no verdict"))
    shutil.rmtree(folder, ignore_errors=True)
    return {**verdict, "seconds": round(time.monotonic() - began, 2)}


def _broken(fault: Fault, problem: str) -> str:
    return json.dumps({**fault.as_dict(), "verdict": "failed", "note": "", "problems": [problem]})


def main() -> None:
    """Serve until the input ends."""
    os.environ.update(QUIET)
    import_all()
    verdicts = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    reference = Path(sys.argv[1])
    if not reference.exists():
        from tests.faults import damage, project

        made = project.build(reference.with_suffix(".part"))
        damage.variants(made, made.folder / "output")
        made.folder.rename(reference)
        print(json.dumps({"reference": str(reference)}), file=verdicts)
        return
    for line in sys.stdin:
        print(json.dumps(_inject(Fault(**json.loads(line)), reference)), file=verdicts)


if __name__ == "__main__":
    main()
