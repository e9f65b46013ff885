"""What runs cost: time, throughput and memory from their ``timing.csv``, and the machine from ``machine.json``."""

import json
from pathlib import Path

import pandas as pd

from nrd.layout import Layout
from nrd.report.results import read_state, write_csv
from nrd.study import Study

COST = "cost.csv"
TEXT = ("run", "dataset", "method", "network", "device", "device_type", "host")
COLUMNS = (*TEXT, "epochs", "threads", "seconds", "images_per_second", "peak_memory_mib")


def collect_cost(study: Study, layout: Layout) -> pd.DataFrame:
    """Return one row per finished run whose times can be read.

    Columns: run, dataset, method, network, device, device_type (cpu, cuda), host, epochs, threads, ``seconds`` of all
    epochs (training and evaluation), ``images_per_second`` (median over epochs), ``peak_memory_mib`` (of the process
    or, on a GPU, of the device).
    """
    rows = []
    for name, spec in study.specs.items():
        if read_state(name, layout).status == "done":
            times = _times(layout.run(name) / "timing.csv")
            if times:
                machine = _machine(layout.run(name) / "machine.json")
                keys = {"run": name, "dataset": spec.dataset.name, "method": spec.method.name}
                rows.append(keys | {"network": spec.network.name, **machine, **times})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def write_cost(study: Study, layout: Layout) -> Path:
    """Write ``cost.csv``, apart from the results, because it is never the same twice; return its path."""
    path = layout.report(study.config.name) / COST
    write_csv(path, collect_cost(study, layout))
    return path


def _times(path: Path) -> dict[str, float]:
    try:
        table = pd.read_csv(path)
        memory = table.get("peak_memory_mib")
        return {
            "epochs": len(table),
            "seconds": round(float(table["seconds"].sum()), 1),
            "images_per_second": round(float(table["images_per_second"].median()), 1),
            "peak_memory_mib": None if memory is None else float(memory.max()),
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _machine(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {key: content.get(key) for key in ("device", "device_type", "host", "threads")}
    except (OSError, ValueError, AttributeError):
        return {}


def by_method(cost: pd.DataFrame) -> pd.DataFrame:
    """Return one row per dataset, network, method and device, in the order of the runs.

    Columns: these, ``runs``, ``seconds`` per run (mean), ``images_per_second`` and ``peak_memory_mib`` (medians over
    runs), ``total_seconds`` and ``gpu_hours`` (of all runs; 0 where the device is no GPU).
    """
    keys = ["dataset", "network", "method", "device", "device_type"]
    groups = cost.groupby(keys, sort=False, dropna=False)
    table = groups.agg(
        runs=("run", "size"),
        seconds=("seconds", "mean"),
        images_per_second=("images_per_second", "median"),
        peak_memory_mib=("peak_memory_mib", "median"),
        total_seconds=("seconds", "sum"),
    ).reset_index()
    table["gpu_hours"] = table["total_seconds"].where(table["device_type"] == "cuda", 0) / 3600
    return table
