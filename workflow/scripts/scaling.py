"""Measures what many runs cost before and after training: resolving, planning, reporting, versioning.

    python workflow/scripts/scaling.py resolve --output results/measured/scaling/resolve.json
    python workflow/scripts/scaling.py plan report version ...

Everything happens in a temporary project. `resolve` and `plan` need no results; `report` and `version` make finished
runs whose files are valid, but whose numbers were drawn and not trained. Times are of child processes: on the wall, and
of CPU, which a busy machine does not change much; memory is their peak.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import save_file

from nrd.evaluation.run_metrics import evaluate_run
from nrd.files import write_text
from nrd.layout import Layout
from nrd.spec import RunSpec
from nrd.study import Project

ROOT = Path(__file__).resolve().parents[2]
METHODS = ("ce", "ls", "gce", "gjs", "nrd")
NOISES = ("clean", *(f"sym{rate}" for rate in range(10, 100, 10)))
VARIANTS = (0.01, 0.02, 0.05, 0.1)  # learning rates
CELLS = len(METHODS) * len(NOISES) * len(VARIANTS)
EPOCHS, TRAIN, TEST, CLASSES = 50, 1437, 360, 10
MACHINE = {
    "git_commit": "0" * 12,
    "device": "drawn",
    "device_type": "cpu",
    "threads": 1,
    "host": "here",
    "torch": "none",
}
RESOLVE = "from nrd.study import Project; assert len(Project().study('many').specs) == {}"


def main() -> None:
    """Measure the parts asked for and write them, with the machine, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--runs", type=int, nargs="+", help=f"numbers of runs, multiples of {CELLS}")
    parser.add_argument("--output", type=Path, help="also write the numbers to this file")
    arguments = parser.parse_args()
    part, numbers = PARTS[arguments.part]
    rows = []
    with tempfile.TemporaryDirectory(prefix="nrd-scaling-") as folder:
        for runs in arguments.runs or numbers:
            for row in part(make_project(Path(folder) / str(runs), runs), runs):
                print(json.dumps(row), flush=True)
                rows.append(row)
    if arguments.output:
        # Only now: a child's peak memory counts from what its parent held when it was started.
        import torch

        from nrd.training.machine import describe

        machine = describe(torch.device("cpu"))
        machine.pop("host")
        load = f"{os.getloadavg()[2]:.1f} over the last 15 minutes"
        measured = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "command": " ".join(sys.argv)}
        content = {**measured, "machine": {**machine, "load": load}, "rows": rows}
        write_text(arguments.output, json.dumps(content, indent=2) + "\n")


def make_project(root: Path, runs: int) -> Layout:
    """Copy the workflow into a folder, with one study of so many runs instead of the others."""
    if runs % CELLS:
        raise SystemExit(f"error: {runs} runs: not a multiple of {CELLS}")
    root.mkdir()
    shutil.copyfile(ROOT / "Snakefile", root / "Snakefile")
    for name in ("workflow", "profiles", "params"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    studies = root / "params" / "studies"
    study = yaml.safe_load((studies / "demo.yaml").read_text())
    study |= {"name": "many", "title": "Many runs", "description": "To measure what their number costs."}
    variants = [
        {"name": f"lr{rate}".replace(".", "p"), "title": f"lr {rate}", "settings": {"learning_rate": rate}}
        for rate in VARIANTS
    ]
    seeds = list(range(1, runs // CELLS + 1))
    study["grid"] = [
        {"datasets": ["digits"], "noises": NOISES, "methods": METHODS, "seeds": seeds, "variants": variants}
    ]
    study = json.loads(json.dumps(study))
    (studies / "many.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    for path in studies.glob("*.yaml"):
        if path.stem not in ("many", "paper"):  # `paper` stays: the default target needs it
            path.unlink()
    return Layout(root)


def measured(root: Path, *command: str) -> dict[str, float]:
    """Run a command and return its seconds on the wall and of CPU, and its peak memory in MiB, children included."""
    environment = {**os.environ, "NRD_TRACKING": "off", "PYTHONPATH": str(ROOT)}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    before, began = os.times(), time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=root, env=environment, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        if process.returncode:
            raise SystemExit(f"error: {' '.join(command)}: {output.read()[-2000:]}")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    wall = time.perf_counter() - began
    return {"seconds": round(wall, 2), "cpu_seconds": round(cpu, 2), "peak_memory_mib": round(usage.ru_maxrss / 1024)}


def resolve(layout: Layout, runs: int) -> list[dict]:
    """Time our own part of planning: from the YAML files to named specs."""
    return [{"what": "resolve", "runs": runs, **measured(layout.root, sys.executable, "-c", RESOLVE.format(runs))}]


def plan(layout: Layout, runs: int) -> list[dict]:
    """Time a dry run of the whole workflow on an empty project: our resolving and Snakemake's graph of jobs."""
    return [{"what": "snakemake -n", "runs": runs, **measured(layout.root, *DRY_RUN)}]


DRY_RUN = ("snakemake", "-n", "--quiet", "all", "--cores", "2", "many")


def report(layout: Layout, runs: int) -> list[dict]:
    """Time the report over finished runs, part by part, and the workflow's look at a project with nothing to do."""
    specs = write_runs(layout)
    files = [path for path in layout.run("x").parent.rglob("*") if path.is_file()]
    sizes = {"files": len(files), "mib": round(sum(path.stat().st_size for path in files) / 2**20, 1)}
    rows = [{"what": "finished runs", "runs": len(specs), **sizes}]
    nrd = (sys.executable, "-m", "nrd")
    rows.append(
        {"what": "nrd runs --summary", "runs": runs, **measured(layout.root, *nrd, "runs", "many", "--summary")}
    )
    for part in ("results", "tables", "figures", "page"):
        command = (*nrd, "report", "many", "--part", part)
        rows.append({"what": f"nrd report --part {part}", "runs": runs, **measured(layout.root, *command)})
    rows.append({"what": "nrd report", "runs": runs, **measured(layout.root, *nrd, "report", "many")})
    page = layout.report("many") / "index.html"
    rows.append({"what": "index.html", "runs": runs, "mib": round(page.stat().st_size / 2**20, 1)})
    rows.append({"what": "snakemake -n, all finished", "runs": runs, **measured(layout.root, *DRY_RUN)})
    return rows


def version(layout: Layout, runs: int) -> list[dict]:
    """Time DVC over the folder of finished runs: taking it in, and looking whether anything changed."""
    write_runs(layout)
    measured(layout.root, "git", "init", "-q")
    measured(layout.root, "dvc", "init", "-q")
    measured(layout.root, "dvc", "remote", "add", "-q", "-d", "store", "remote")
    commands = (("add", "results/runs"), ("push",), ("status",))
    return [{"what": f"dvc {c[0]}", "runs": runs, **measured(layout.root, "dvc", *c, "-q")} for c in commands]


def write_runs(layout: Layout) -> dict[str, RunSpec]:
    """Write a folder for every run of the study, of the size of a run on digits, and evaluate it."""
    specs = Project(layout.root).study("many").specs
    for number, spec in enumerate(specs.values()):
        write_run(spec, layout, np.random.default_rng(number))
    return specs


def write_run(spec: RunSpec, layout: Layout, generator: np.random.Generator) -> None:
    """Write one finished run whose predictions were drawn."""
    folder = layout.run(spec.name)
    folder.mkdir(parents=True)
    predictions = drawn_predictions(spec, generator)
    accuracy = float(np.mean(predictions["student_test"].argmax(axis=1) == predictions["test_labels"]))
    rows = [drawn_epoch(epoch, accuracy, generator) for epoch in range(1, EPOCHS + 1)]
    rows[-1]["test_accuracy"] = accuracy
    write_text(folder / "spec.yaml", spec.to_yaml())
    write_text(folder / "history.csv", to_csv(rows))
    timing = [
        {"epoch": row["epoch"], "seconds": 0.5, "images_per_second": 2874.0, "peak_memory_mib": 450.0} for row in rows
    ]
    write_text(folder / "timing.csv", to_csv(timing))
    write_text(folder / "machine.json", json.dumps({"run": spec.name, "study": "many", **MACHINE}))
    write_text(folder / "log.txt", "".join(f"epoch {row['epoch']} loss {row['loss']:.4f}\n" for row in rows))
    np.savez_compressed(folder / "predictions.npz", **predictions)
    weights = {"student.weight": generator.normal(size=25_000).astype(np.float32)}
    save_file(weights, folder / "model.safetensors", metadata={"run": spec.name})
    evaluate_run(spec.name, layout)


def to_csv(rows: list[dict[str, float]]) -> str:
    """Return rows of one kind as CSV."""
    lines = [",".join(rows[0]), *(",".join(map(repr, row.values())) for row in rows)]
    return "\n".join(lines) + "\n"


def drawn_predictions(spec: RunSpec, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw labels and class probabilities as a finished run holds them."""
    true, labels = generator.integers(0, CLASSES, TRAIN), generator.integers(0, CLASSES, TEST)
    wrong = generator.random(TRAIN) < spec.noise.rate
    given = np.where(wrong, (true + generator.integers(1, CLASSES, TRAIN)) % CLASSES, true)
    parts = {"test_labels": labels, "train_true": true, "train_given": given}
    for name in ("student", "teacher") if spec.method.teacher else ("student",):
        for part, of in (("test", labels), ("train", true)):
            logits = generator.normal(size=(len(of), CLASSES)) + 3 * np.eye(CLASSES)[of]
            odds = np.exp(logits)
            parts[f"{name}_{part}"] = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float16)
    return parts


def drawn_epoch(epoch: int, accuracy: float, generator: np.random.Generator) -> dict[str, float]:
    """Draw an epoch's row of the history."""
    columns = ("loss", "train_accuracy", "train_clean_accuracy", "train_mislabeled_accuracy", "train_memorised")
    shares = dict(zip(columns, generator.random(len(columns)).tolist(), strict=True))
    return {"epoch": epoch, "learning_rate": 0.05, **shares, "test_accuracy": accuracy * epoch / EPOCHS}


Part = Callable[[Layout, int], list[dict]]
PARTS: dict[str, tuple[Part, tuple[int, ...]]] = {
    "resolve": (resolve, (1000, 2000, 5000, 10_000)),
    "plan": (plan, (600, 2000, 10_000)),
    "report": (report, (2000,)),
    "version": (version, (2000,)),
}

if __name__ == "__main__":
    main()
