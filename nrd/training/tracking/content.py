"""What is logged of a run, and under which names. Plain functions of its record, without MLflow."""

import json
import math
from collections.abc import Mapping

from nrd.spec import NoiseSpec, RunSpec
from nrd.training.tracking.records import Record, Row, digest

RUN_TAG, PROJECT_TAG, MIRRORED_TAG = "nrd.run", "nrd.project", "nrd.mirrored"
STUDIES_TAG, FAILURE_TAG = "studies", "failure"
NOTE_TAG = "mlflow.note.content"
EPOCH = "epoch"  # the history's column
EPOCHS = "epochs"  # finished epochs, logged as a metric: its last value says how far the mirror is
ARTIFACTS = ("spec.yaml", "history.csv", "timing.csv", "machine.json", "metrics.json", "log.txt")
DIAGRAM = "reliability.png"  # drawn from the predictions, which themselves are not logged
MAX_TAG = 4000


def parameters(spec: RunSpec) -> dict[str, str]:
    """Return the flattened spec, defaults included: ``{"optimization.learning_rate": "0.05", ...}``."""
    return dict(_flatten(spec.model_dump(mode="json"), ""))


def _flatten(value: object, key: str):  # noqa: ANN202
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flatten(inner, f"{key}.{name}" if key else name)
    elif value is not None and value != []:
        yield key, value if isinstance(value, str) else json.dumps(value)


def tags(record: Record, project: str) -> dict[str, str]:
    """Return what runs are found, grouped and compared by."""
    spec, machine = record.spec, record.machine
    values = {
        RUN_TAG: spec.name,
        PROJECT_TAG: project,
        "dataset": spec.dataset.name,
        "noise": spec.noise.slug,
        "noise_rate": f"{spec.noise.rate:g}",
        "method": spec.method.name,
        "network": spec.network.name,
        "seed": str(spec.seed),
        "cell": cell(spec),
        "git_commit": machine.get("git_commit"),
        "host": machine.get("host"),
        "device": machine.get("device"),
        "mlflow.source.name": "nrd train",
        "mlflow.source.type": "LOCAL",
        FAILURE_TAG: record.failure,
    }
    return {key: str(value)[:MAX_TAG] for key, value in values.items() if value}


def cell(spec: RunSpec) -> str:
    """Return the name that runs share which differ in nothing but their seed."""
    settings = json.loads(spec.canonical)
    settings.pop("seed")
    return f"{spec.noise.slug}.{spec.method.name}-{digest(json.dumps(settings, sort_keys=True))[:8]}"


def title(spec: RunSpec) -> str:
    """Return the name that people see: the run's, without the dataset, which is the experiment's.

    The interface cuts long names, and the seed should still be seen.
    """
    return spec.name.removeprefix(f"{spec.dataset.name}.")


def description(spec: RunSpec) -> str:
    """Return a run's description for people."""
    settings = spec.optimization
    return (
        f"**{spec.method.name}** on {spec.dataset.name} with {_noise(spec.noise)}, seed {spec.seed}: "
        f"{spec.network.name}, {settings.epochs} epochs, batch size {settings.batch_size}, "
        f"learning rate {settings.learning_rate:g}, weight decay {settings.weight_decay:g}.\n\n"
        f"Folder: `results/runs/{spec.name}`"
    )


def _noise(noise: NoiseSpec) -> str:
    if noise.definition == "none":
        return "clean labels"
    if noise.label_set:
        return f"the human labels {noise.label_set}"
    return f"{100 * noise.rate:g} % {noise.definition} label noise"


def epoch_metrics(row: Row) -> dict[str, float]:
    """Return a row of the history as ``epoch/...``: the interface shows groups by name, so curves come first."""
    curves = {f"epoch/{key}": value for key, value in row.items() if key != EPOCH}
    return {EPOCHS: row[EPOCH], **curves}


def final_metrics(record: Record) -> dict[str, float]:
    """Return the numbers of ``metrics.json`` as ``result/...`` and what training took as ``training/...``."""
    return evaluation(record) | _costs(record)


def evaluation(record: Record) -> dict[str, float]:
    """Return the numbers of ``metrics.json`` as ``result/...``; empty before the run is evaluated."""
    return {f"result/{key}": float(value) for key, value in (record.metrics or {}).items() if _is_number(value)}


def _costs(record: Record) -> dict[str, float]:
    seconds = [row["seconds"] for row in record.timing if row.get("seconds")]
    images = sum(row["seconds"] * row["images_per_second"] for row in record.timing if "images_per_second" in row)
    memory = [row["peak_memory_mib"] for row in record.timing if "peak_memory_mib" in row]
    if not seconds:
        return {}
    costs = {"training/seconds": sum(seconds), "training/images_per_second": images / sum(seconds)}
    energy = [row["energy_joules"] for row in record.timing if "energy_joules" in row]
    costs |= {"training/energy_joules": sum(energy)} if len(energy) == len(record.timing) else {}
    return costs | ({"training/peak_memory_mib": max(memory)} if memory else {})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def mark(record: Record, artifacts: int, before: Mapping[str, str]) -> str:
    """Return what a finished run's mirror is made from; as long as it stays the same, nothing is to be done."""
    parts = {**before, "history": digest(record.history)}
    if record.metrics is not None:
        parts["metrics"] = digest(json.dumps(record.metrics, sort_keys=True))
    parts["artifacts"] = str(max(artifacts, int(before.get("artifacts", 0))))
    return " ".join(f"{key}={value}" for key, value in parts.items())


def read_mark(text: str | None) -> dict[str, str]:
    """Return the parts of a mark.

    Example:
        >>> read_mark("history=ab metrics=cd artifacts=6")
        {'history': 'ab', 'metrics': 'cd', 'artifacts': '6'}
    """
    return dict(part.split("=", 1) for part in (text or "").split() if "=" in part)


def join_studies(*lists: str | None) -> str:
    """Return names of studies united, in order.

    Example:
        >>> join_studies("paper, demo", None, "short")
        'demo, paper, short'
    """
    names = {name.strip() for text in lists if text for name in text.split(",")}
    return ", ".join(sorted(names - {""}))
