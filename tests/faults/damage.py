"""Files damaged between stages: what is done to them, who reads them next, and whether a table then tells a lie."""

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from nrd.study import Project
from tests.faults.project import LOOKED, STUDY, Reference, command

REPORT = Path("results/reports") / STUDY
RUNS = Path("results/runs")
BY_RUN = ("results.csv", "provenance.csv", "cost.csv")


@dataclass(frozen=True)
class Damage:
    """One damaged file: the stage whose project it is found in, its path, who reads it, and how it is made anew."""

    start: str
    path: Path
    reader: list[str]
    stage: str  # what the reader finishes, if it does
    names: list[str]  # of the runs it finishes
    remove: Path  # what the message says to delete
    again: list[list[str]]


def choose(target: str, reference: Reference, dice: random.Random) -> Damage:
    """Return the file that a target stands for; where there are several, and several readers, one is drawn."""
    names = reference.names
    first, second = _rounds(reference)
    name = dice.choice(names)
    train, evaluate, report = command("train", name), command("evaluate"), command("report")
    if target == "dataset":
        path, again = Path("data/datasets/digits.safetensors"), [command("data")]
        if dice.random() < 0.5:
            return Damage("labels", path, command("labels"), "labels", [], path, again)
        name = dice.choice([n for n in names if n != second])
        return Damage("train", path, command("train", name), "train", [name], path, again)
    if target == "labels":
        name = dice.choice([n for n in names if n != second])
        spec = Project(reference.done).study(STUDY).specs[name]
        path = Path("data/labels") / f"{spec.labels_name}.csv"
        return Damage("train", path, command("train", name), "train", [name], path, [command("labels")])
    if target == "checkpoint":
        path = Path("scratch") / names[0] / "state.pt"
        return Damage("stopped", path, command("train", names[0]), "train", [names[0]], path, [])
    if target == "weights":
        path, again = RUNS / first / "model.safetensors", [command("train", first)]
        return Damage("evaluate", path, command("train", second), "train", [second], RUNS / first, again)
    if target == "metrics":
        return Damage(
            "report", RUNS / name / "metrics.json", report, "report", [], RUNS / name / "metrics.json", [evaluate]
        )
    if target == "analysis":
        (path,) = (found.relative_to(reference.done) for found in reference.done.glob("results/analyses/*/*.npz"))
        stage = dice.choice(["analyse", "figures"])
        return Damage("done", path, command(stage), stage, [], path, [command("analyse")])
    if target == "results table":
        reader = ["report", STUDY, "--partial", "--part", "tables", "--part", "page"]
        return Damage("done", REPORT / "results.csv", reader, "report", [], REPORT, [report])
    if target == "report table":
        file = dice.choice(
            ["accuracy.csv", "curves.csv", "provenance.csv", "paired.csv", "reliability.csv", "ledger.csv"]
        )
        return Damage(
            "done", REPORT / file, ["report", STUDY, "--partial", "--part", "page"], "report", [], REPORT, [report]
        )
    file = {
        "spec": "spec.yaml",
        "history": "history.csv",
        "predictions": "predictions.npz",
        "machine": "machine.json",
        "timing": "timing.csv",
        "checksums": "sums.json",
    }[target]
    again = [train, evaluate]
    if target != "timing" and dice.random() < 0.5:
        return Damage("evaluate", RUNS / name / file, evaluate, "evaluate", names, RUNS / name, [train])
    return Damage("report", RUNS / name / file, report, "report", [], RUNS / name, again)


def _rounds(reference: Reference) -> tuple[str, str]:
    specs = Project(reference.done).study(STUDY).specs.values()
    return next((spec.requires[0], spec.name) for spec in specs if spec.requires)


def apply(kind: str, target: str, root: Path, damage: Damage, dice: random.Random) -> str:
    """Damage the file; return what was done to it."""
    path = root / damage.path
    content = bytearray(path.read_bytes())
    if kind == "truncated":
        keep = dice.randrange(len(content))
        path.write_bytes(content[:keep])
        return f"{damage.path}: {keep} of {len(content)} bytes"
    if kind == "bit flipped":
        place, bit = dice.randrange(len(content)), dice.randrange(8)
        content[place] ^= 1 << bit
        path.write_bytes(content)
        return f"{damage.path}: bit {bit} of byte {place}"
    for _ in range(100):
        text = MISSHAPE[target](path, dice)
        if path.read_bytes() != content:  # a flat array made flat is no damage
            return f"{damage.path}: {text}"
    raise AssertionError(f"{damage.path}: {kind} changes nothing")


def _arrays(path: Path, dice: random.Random) -> str:
    arrays = load_file(path)
    key = dice.choice(sorted(key for key, array in arrays.items() if array.ndim))
    array = arrays[key]
    choices: dict[str, Callable] = {
        "one sample fewer": lambda a: a[:-1],
        "flat": lambda a: a.reshape(-1),
        "as float": lambda a: a.astype(np.float32),
        "twice": lambda a: np.concatenate([a, a]),
    }
    how = dice.choice(sorted(choices))
    arrays[key] = np.ascontiguousarray(choices[how](array))
    save_file(arrays, path, metadata=_metadata(path))
    return f"{key} {how}"


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        return file.metadata() or {}


def _labels(path: Path, dice: random.Random) -> str:
    """A well-formed label file, with its own right checksum, of too few samples or of labels out of range."""
    from nrd.checksums import digest

    head, columns, rows = path.read_text().partition("index,true_label,given_label\n")
    lines = rows.splitlines()
    how = dice.choice(["a row fewer", "a row more", "a label out of range", "a column more", "labels of others"])
    if how == "a row fewer":
        lines.pop()
    elif how == "a row more":
        lines.append(f"{len(lines)},0,0")
    elif how == "a label out of range":
        lines[dice.randrange(len(lines))] = "0,3,10"
    elif how == "a column more":
        lines = [f"{line},0" for line in lines]
    else:
        lines = [f"{i},{(int(line.split(',')[1]) + 1) % 10},0" for i, line in enumerate(lines)]
    body = columns + "".join(f"{line}\n" for line in lines)
    kept = [line for line in head.splitlines() if not line.startswith("# sha256")]
    path.write_text("\n".join([*kept, f"# sha256: {digest(body.encode())}"]) + "\n" + body)
    return how


def _state(path: Path, dice: random.Random) -> str:
    """A state with its own right checksum, whose tensors or rows are not this run's."""
    from nrd.training.checkpoint import load_state, save_state

    state = load_state(path.parent.name, path.parent, torch.device("cpu"))
    how = dice.choice(["weights", "momentum", "history", "epoch"])
    if how == "weights":
        key = dice.choice(sorted(k for k, v in state.method.items() if isinstance(v, torch.Tensor) and v.dim()))
        state.method[key] = torch.zeros(3)
    elif how == "momentum":
        momenta = state.optimizer["state"]
        momenta[dice.choice(sorted(momenta))]["momentum_buffer"] = torch.zeros(3)
    elif how == "history":
        state.history = state.history[:-1]
    else:
        state.epoch += 1
    save_state(state, path.parent)
    return f"another {how}"


def _text(path: Path, dice: random.Random) -> str:
    """A text file of another shape: a list where a mapping belongs, a column or a row too many or too few."""
    text = path.read_text()
    if path.suffix == ".json":
        content = json.loads(text)
        how = dice.choice(["a list", "nested", "a key fewer"])
        changed = {"a list": [content], "nested": {"content": content}}.get(how)
        if changed is None:
            gone = dice.choice(sorted(content))
            changed = {key: value for key, value in content.items() if key != gone}
        path.write_text(json.dumps(changed))
        return how
    if path.suffix == ".yaml":
        how, changed = dice.choice(
            [("a list", "- " + text.replace("\n", "\n  ")), ("a text", "spec"), ("a key more", text + "x: 1\n")]
        )
        path.write_text(changed)
        return how
    lines = text.splitlines()
    how = dice.choice(["a row fewer", "a row twice", "a column fewer", "rows swapped"])
    if how == "a row fewer":
        lines.pop()
    elif how == "a row twice":
        lines.append(lines[-1])
    elif how == "a column fewer":
        lines = [line.rpartition(",")[0] for line in lines]
    elif len(lines) > 2:
        lines[1], lines[-1] = lines[-1], lines[1]
    path.write_text("\n".join(lines) + "\n")
    return how


def _predictions(path: Path, dice: random.Random) -> str:
    with np.load(path) as content:
        arrays = dict(content)
    key = dice.choice(sorted(arrays))
    how = dice.choice(["one sample fewer", "flat", "absent"])
    if how == "absent":
        del arrays[key]
    else:
        arrays[key] = arrays[key][:-1] if how == "one sample fewer" else arrays[key].reshape(-1)[: len(arrays[key]) - 1]
    np.savez_compressed(path, **arrays)
    if dice.random() < 0.5:  # as of a run that is older than checksums: then its shape alone must tell
        (path.parent / "sums.json").unlink()
        return f"{key} {how}, without sums.json"
    return f"{key} {how}"


def _answers(path: Path, dice: random.Random) -> str:
    """A file with its own right checksums, whose arrays do not fit together or which is about other weights."""
    from nrd.checksums import sealed
    from nrd.evaluation.answers import digest_array

    with np.load(path) as content:
        arrays = dict(content)
    about = json.loads(str(arrays.pop("about")))
    key = dice.choice(sorted(arrays))
    how = dice.choice(["one fewer", "nested", "absent", "other weights"])
    if how == "absent":
        del arrays[key]
    elif how == "other weights":
        about["weights"]["model.safetensors"] = "0" * 64
    else:
        arrays[key] = arrays[key][:-1] if how == "one fewer" else arrays[key][None]
    about["arrays"] = {name: digest_array(array) for name, array in arrays.items()}
    np.savez_compressed(path, about=np.array(json.dumps(sealed(about), sort_keys=True)), **arrays)
    return how if how == "other weights" else f"{key} {how}"


MISSHAPE = dict.fromkeys(
    ("spec", "history", "machine", "timing", "checksums", "metrics", "results table", "report table"), _text
) | {"dataset": _arrays, "weights": _arrays, "labels": _labels, "checkpoint": _state, "predictions": _predictions}
MISSHAPE["analysis"] = _answers


def wrong_numbers(reference: Reference, root: Path) -> list[str]:
    """Return the lines of a report's files that no report of the undamaged runs, or of all but one, has."""
    import pandas as pd

    found = []
    undisturbed = reference.done / REPORT
    for file in sorted(path.name for path in undisturbed.iterdir() if path.suffix in (".csv", ".md", ".tex", ".json")):
        path = root / REPORT / file
        if not path.is_file():
            found.append(f"{file} is missing")
        elif file in BY_RUN:
            tables = [
                pd.read_csv(place / REPORT / file, dtype=str, keep_default_na=False) for place in (reference.done, root)
            ]
            found += [f"{file}: {text}" for text in _wrong_cells(*tables)]
        elif path.suffix != ".json" or file == "summary.json":
            variants = [undisturbed, *(reference.folder / f"without-{name}" for name in reference.names)]
            right = {
                line
                for place in variants
                if (place / file).is_file()
                for line in (place / file).read_text().splitlines()
            }
            found += [f"{file}: {line}" for line in path.read_text().splitlines() if line not in right]
    return found


def wrong_figures(reference: Reference, root: Path) -> list[str]:
    """Return lines of the figures' data that the undisturbed ones lack, and whether a run is left out tacitly."""
    undisturbed, folder, found = reference.done / "results/reports" / LOOKED, root / "results/reports" / LOOKED, []
    files = sorted(path.name for path in undisturbed.glob("*.csv") if path.name not in BY_RUN)
    for file in files:
        right = (undisturbed / file).read_text().splitlines()
        found += [f"{file}: {line}" for line in (folder / file).read_text().splitlines() if line not in right]
    same = all((undisturbed / file).read_bytes() == (folder / file).read_bytes() for file in files)
    if not same and "results/analyses/" not in (folder / "paper_figures.json").read_text():
        found.append("a run is left out, and no reason given")
    return found


def _wrong_cells(right, table) -> list[str]:
    """Each cell must be the undisturbed one or empty; an empty accuracy needs a reason."""
    found = []
    rows = {row["run"]: row for row in right.to_dict("records")}
    for row in table.to_dict("records"):
        for key, value in row.items():
            if key in ("status", "reason") or value in ("", rows[row["run"]].get(key)):
                continue
            found.append(f"{row['run']} {key}: {value} is not {rows[row['run']].get(key)}")
        if row.get("test_accuracy_last") == "" and not row.get("reason"):
            found.append(f"{row['run']}: no number and no reason")
    return found


def variants(reference: Reference, output: Path) -> None:
    """Keep the report's tables with each run damaged in turn: what a table may show instead of a wrong number."""
    from tests.faults.process import run

    for name in reference.names:
        root = reference.folder / "variant"
        reference.copy("report", root)
        (root / RUNS / name / "metrics.json").write_text("{")
        assert run(root, command("report"), output).status == 0
        shutil.copytree(root / REPORT, reference.folder / f"without-{name}")
        shutil.rmtree(root)
