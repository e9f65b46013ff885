"""``make faults``: inject many faults, show progress, write a summary. Fails if anything was lost or altered."""

import argparse
import collections
import json
import os
import platform
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from nrd.training.machine import describe
from tests.faults.plan import Fault, plan
from tests.faults.server import Server, work_folder

REPOSITORY = Path(__file__).resolve().parent.parent.parent
OUTPUT = REPOSITORY / "results/measured/reliability"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--number", type=int, default=500, help="faults to inject (default 500)")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same faults (default 1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="faults at a time (default: cores)")
    parser.add_argument("--only", type=int, nargs="*", help="indices of the faults to inject again")
    parser.add_argument("--place", help="only faults of this stage or file")
    parser.add_argument("--kind", help="only faults of this kind")
    parser.add_argument("--output", type=Path, help=f"folder of the summary (default, for whole plans: {OUTPUT})")
    parser.add_argument("--again", type=Path, help="summary whose failed faults are injected again")
    arguments = parser.parse_args()
    if arguments.again:
        again(arguments.again, arguments.jobs)
        return
    faults = plan(arguments.seed, arguments.number)
    whole = len(faults)
    faults = [fault for fault in faults if arguments.only is None or fault.index in arguments.only]
    faults = [
        fault for fault in faults if arguments.place in (None, fault.place) and arguments.kind in (None, fault.kind)
    ]
    print(f"{len(faults)} faults, seed {arguments.seed}, {arguments.jobs} at a time", flush=True)
    began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    verdicts = inject(faults, arguments.jobs)
    summary = summarise(verdicts)
    print(summary["sentence"])
    output = arguments.output or (OUTPUT if len(faults) == whole else None)
    if output:
        command = f"python -m tests.faults --number {arguments.number} --seed {arguments.seed} --jobs {arguments.jobs}"
        about = {"command": command, "started": started, "minutes": round((time.monotonic() - began) / 60, 1)}
        write(output, {**about, "machine": machine(), **summary})
    sys.exit(1 if summary["failed"] else 0)


def again(path: Path, jobs: int) -> None:
    """Inject the failed faults of an earlier plan again, after what they found was mended."""
    summary = json.loads(path.read_text())
    before = summary["failures"]
    faults = [Fault(*(verdict[key] for key in ("seed", "index", "place", "kind"))) for verdict in before]
    verdicts = inject(faults, jobs)
    for verdict in verdicts:
        cell = summary["table"][verdict["place"]][verdict["kind"]]
        for key, change in (("failed", -1), (verdict["verdict"], 1)):
            cell[key] = cell.get(key, 0) + change
            summary[key] += change
    summary["failures"] = [verdict for verdict in verdicts if verdict["verdict"] == "failed"]
    summary["sentence"] = f"{summary['injected']} faults injected, {summary['failed']} results lost or altered"
    summary["again_after_mending"] = summary.get("again_after_mending", []) + before
    print(summary["sentence"])
    write(path.parent, summary)
    sys.exit(1 if summary["failed"] else 0)


def machine() -> dict:
    """Where it ran, without the machine's name."""
    import torch

    found = describe(torch.device("cpu"), REPOSITORY)
    return {key: value for key, value in found.items() if key not in ("host", "threads")}


def build_reference(folder: Path) -> Path:
    """Make the undisturbed project in a process of its own."""
    command = [sys.executable, "-m", "tests.faults.server", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, stdin=subprocess.DEVNULL)
    return folder


def inject(faults: list[Fault], jobs: int) -> list[dict]:
    """Return the verdicts in the order of the faults."""
    waiting: queue.SimpleQueue[Fault] = queue.SimpleQueue()
    for fault in faults:
        waiting.put(fault)
    verdicts: dict[int, dict] = {}
    folder = Path(tempfile.mkdtemp(prefix="nrd-faults-", dir=work_folder()))
    try:
        kept = os.environ.get("NRD_FAULTS_REFERENCE")
        reference = Path(kept) if kept else build_reference(folder / "reference")

        def work() -> None:
            servers: dict[bool, Server] = {}
            while True:
                try:
                    fault = waiting.get_nowait()
                except queue.Empty:
                    break
                clock = fault.kind == "clock set back" and fault.place != "workflow"
                if clock not in servers:
                    servers[clock] = Server(reference, clock)
                verdicts[fault.index] = verdict = servers[clock].inject(fault)
                show(verdict, len(verdicts), len(faults))
            for server in servers.values():
                server.close()

        threads = [threading.Thread(target=work) for _ in range(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [verdicts[fault.index] for fault in faults]


def show(verdict: dict, done: int, total: int) -> None:
    """One line per fault."""
    text = f"[{done}/{total}] {verdict['index']:4d} {verdict['place']}, {verdict['kind']}: {verdict['verdict']}"
    print(f"{text} ({verdict['seconds']} s) {verdict['note']}", flush=True)
    for problem in verdict["problems"]:
        print(f"    {problem}", flush=True)


def summarise(verdicts: list[dict]) -> dict:
    """Return counts, a table of place and kind, and the faults after which something was wrong."""
    counts = collections.Counter(verdict["verdict"] for verdict in verdicts)
    table: dict[str, dict[str, dict[str, int]]] = {}
    for verdict in verdicts:
        cell = table.setdefault(verdict["place"], {}).setdefault(verdict["kind"], {})
        cell[verdict["verdict"]] = cell.get(verdict["verdict"], 0) + 1
    injected = len(verdicts) - counts["skipped"]
    return {
        "sentence": f"{injected} faults injected, {counts['failed']} results lost or altered",
        "injected": injected,
        **{key: counts[key] for key in ("right", "refused", "failed", "skipped")},
        "table": table,
        "failures": [verdict for verdict in verdicts if verdict["verdict"] == "failed"],
    }


def write(folder: Path, summary: dict) -> None:
    """Write the summary, to be committed: of what went wrong the first line, without the machine's paths."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "faults.json"
    kept = {key: [_brief(one) for one in summary.get(key, ())] for key in ("failures", "again_after_mending")}
    summary = {**summary, **{key: verdicts for key, verdicts in kept.items() if key in summary}}
    path.write_text(json.dumps(summary, indent=2) + "\n")
    print(f"{path} ({platform.python_implementation()} {platform.python_version()})")


def _brief(verdict: dict) -> dict:
    problems = [portable(problem) for problem in verdict["problems"]]
    return {**verdict, "note": portable(verdict["note"]), "problems": problems}


def portable(text: str) -> str:
    """Return a text's first line, its paths relative to the fault's project or to this one; of others only the name."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    first = re.sub(r"(?:/[^\s'\"/:]+)*/nrd-faults?-[^/\s]+/(?:project/)?", "", first)
    first = first.replace(f"{REPOSITORY}/", "")
    first = re.sub(r"(?<![\w.>])/(?:[^\s'\"/:,]+/)+([^\s'\"/:,]+)", r"\1", first)
    return first.replace(platform.node(), "localhost") if len(platform.node()) > 3 else first


if __name__ == "__main__":
    main()
