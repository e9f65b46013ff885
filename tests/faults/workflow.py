"""Faults in the workflow as a whole: two Snakemakes at once, one killed, one whose clock jumps back."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.faults.plan import Fault
from tests.faults.project import EXACT, REPOSITORY, STUDY, Reference, same

PARTS = ("Snakefile", "workflow", "profiles")
SECONDS = 25.0  # about what training and evaluating one run takes through the workflow
LIMIT = 400


def workflow(fault: Fault, reference: Reference, root: Path) -> tuple[str, str]:
    """Train and evaluate one run through Snakemake under a fault; return the verdict and a note.

    Raises:
        AssertionError: something was lost, altered, or done twice.
    """
    reference.copy("train", root)
    for part in PARTS:
        copy = shutil.copytree if (REPOSITORY / part).is_dir() else shutil.copyfile
        copy(REPOSITORY / part, root / part)
    common = root / "workflow/rules/common.smk"
    main = root / "Snakefile"
    main.write_text(main.read_text().replace("rules.paper.input", f"rules.{STUDY}.input"))
    assert "rules.paper.input" not in common.read_text()
    name = fault.dice.choice([n for n in reference.names if ".ce." in n])
    target = f"results/runs/{name}/metrics.json"
    note = {"two at once": _two, "killed at a moment": _killed, "clock set back": _clock}[fault.kind](
        fault, root, target
    )
    _finished(_snakemake(root, target), root)
    for file in EXACT:
        assert same(reference.done / "results/runs" / name / file, root / "results/runs" / name / file), file
    log = (root / "results/runs" / name / "log.txt").read_text()
    assert log.count("starts:") == 1, f"trained twice: {log}"
    assert log.count("finished ") == 1, log
    assert "Nothing to be done" in _text(_snakemake(root, target)), "done twice"
    return ("refused" if "refused" in note else "right"), note


def _snakemake(root: Path, *arguments: str, prefix: tuple[str, ...] = (), **environment: str) -> subprocess.Popen:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "NRD_TRACKING": "off", **environment}
    command = [*prefix, "snakemake", "--cores", "1", *arguments]
    log = (root / f"snakemake-{time.monotonic_ns()}.log").open("w+")
    process = subprocess.Popen(command, cwd=root, env=env, stdout=log, stderr=log, start_new_session=True)
    process.log = log
    return process


def _text(process: subprocess.Popen) -> str:
    try:
        process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError("snakemake hangs") from None
    process.log.seek(0)
    return process.log.read()


def _finished(process: subprocess.Popen, root: Path) -> None:
    text = _text(process)
    if process.returncode and "--unlock" in text:  # what it says itself after it was killed
        assert _text(_snakemake(root, "--unlock")) is not None
        process = _snakemake(root, *process.args[3:])
        text = _text(process)
    assert process.returncode == 0, text[-3000:]


def _two(fault: Fault, root: Path, target: str) -> str:
    first = _snakemake(root, target)
    time.sleep(fault.dice.uniform(0, SECONDS / 2))
    second = _snakemake(root, target)
    texts = [_text(process) for process in (first, second)]
    assert 0 in (first.returncode, second.returncode), texts[0][-1500:] + texts[1][-1500:]
    for process, text in zip((first, second), texts, strict=True):
        if process.returncode:
            assert "lock" in text.lower() and "cannot be locked" in text, text[-2000:]
            return "the other one was refused: the directory is locked"
    return "one after the other"


def _killed(fault: Fault, root: Path, target: str) -> str:
    moment = fault.dice.uniform(2, SECONDS)
    process = _snakemake(root, target)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return f"killed after {moment:.1f} s with its jobs (status {process.returncode})"


def _clock(fault: Fault, root: Path, target: str) -> str:
    """The training's machine was an hour ahead of the evaluation's: Snakemake refuses until the clocks agree."""
    run = root / target.rpartition("/")[0]
    _finished(_snakemake(root, f"{run.relative_to(root)}/model.safetensors"), root)
    for path in run.iterdir():
        os.utime(path, (time.time() + 3600, time.time() + 3600))
    process = _snakemake(root, target)
    text = _text(process)
    if process.returncode == 0:
        return "training an hour ahead of its evaluation"
    assert "could indicate a clock skew problem" in text and target in text, text[-3000:]
    for path in run.iterdir():
        os.utime(path)
    return "refused: outputs older than inputs, a clock skew problem"
