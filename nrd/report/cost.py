"""What runs cost: time, throughput and memory from their ``timing.csv``, and the machine from ``machine.json``."""

import io
import json
from pathlib import Path

import pandas as pd

from nrd.checksums import read_checked
from nrd.layout import Layout
from nrd.report.plain import write_plain
from nrd.report.render import decimals, duration, thousands
from nrd.report.results import read_state, write_csv
from nrd.report.titles import Titles, read_titles
from nrd.study import Study

COST = "cost.csv"
TEXT = ("run", "dataset", "method", "network", "device", "device_type", "host", "energy_of")
COLUMNS = (*TEXT, "epochs", "threads", "seconds", "images_per_second", "peak_memory_mib", "energy_kwh")
JOULES_PER_KWH = 3.6e6
NOTE = (
    "Time per run: mean, training and evaluation of all epochs; in all: of all runs. Images/s: training images per "
    "second of an epoch, its evaluation included, median over epochs and runs. Memory: peak of the process, or of the "
    "device on a GPU. Runs that shared a machine with others took longer than alone."
)


def collect_cost(study: Study, layout: Layout) -> pd.DataFrame:
    """Return one row per finished run whose times can be read.

    Columns: run, dataset, method, network, device, device_type (cpu, cuda), host, epochs, threads, ``seconds`` of all
    epochs (training and evaluation), ``images_per_second`` (median over epochs), ``peak_memory_mib`` (of the process
    or, on a GPU, of the device), ``energy_kwh`` and, in words, ``energy_of``: what it was measured at (empty where it
    could not be read at all epochs).
    """
    rows = []
    for name, spec in study.specs.items():
        if read_state(name, layout).status == "done":
            times = _times(layout.run(name) / "timing.csv")
            if times:
                machine = _machine(layout.run(name) / "machine.json")
                keys = {"run": name, "dataset": spec.dataset.name, "method": spec.method.name}
                rows.append(keys | {"network": spec.network.name, **machine, **times})
    # Whole numbers, also where the file of one of the runs does not say.
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"epochs": "Int64", "threads": "Int64"})


def write_cost(study: Study, layout: Layout) -> Path:
    """Write ``cost.{csv,md,tex}``, apart from the results, because they are never the same twice; return the first.

    The CSV has a row per run, the others a row per method.
    """
    path = layout.report(study.config.name) / COST
    table = collect_cost(study, layout)
    write_csv(path, table)
    write_plain(path.with_suffix(""), note(table), *printed(table, read_titles(study, layout)))
    return path


def note(cost: pd.DataFrame) -> str:
    """Return what the numbers are, and what the energy is that of."""
    measured = list(dict.fromkeys(cost.loc[cost["energy_kwh"].notna(), "energy_of"]))
    if not measured:
        return f"{NOTE} Energy: not readable on this machine, or by this user."
    return (
        f"{NOTE} Energy per run: of {' or '.join(measured)}, by its own counter; runs side by side each count the "
        "energy of all."
    )


def printed(cost: pd.DataFrame, titles: Titles) -> tuple[list[str], list[tuple[str, list[list[str]]]]]:
    """Return heads and, for each dataset, network and device, rows per method as they are printed.

    Runs whose machine cannot be read are left out: nobody could say what their time was measured on.
    """
    methods = by_method(cost[cost["device"].notna()])
    gpu, energy = methods["gpu_hours"].sum() > 0, methods["energy_kwh"].notna().any()
    heads = ["Method", "Runs", "Time per run", "In all", "Images/s", "Memory (MiB)"]
    heads += (["GPU-hours"] if gpu else []) + (["kWh per run"] if energy else [])
    groups = []
    for keys, part in methods.groupby(["dataset", "network", "device"], sort=False, dropna=False):
        names = [titles.dataset(keys[0]), *(name for name in keys[1:] if isinstance(name, str))]
        rows = [_printed(row, titles, gpu, energy) for row in part.itertuples()]
        groups.append((", ".join(name for name in names if name), rows))
    return heads, groups


def _printed(row: object, titles: Titles, gpu: bool, energy: bool) -> list[str]:
    texts = [titles.methods.get(row.method, row.method), str(row.runs), duration(row.seconds)]
    texts += [duration(row.total_seconds), thousands(row.images_per_second), thousands(row.peak_memory_mib)]
    texts += [f"{row.gpu_hours:.1f}"] if gpu else []
    return texts + ([decimals(row.energy_kwh, 4)] if energy else [])


def _times(path: Path) -> dict[str, float]:
    try:
        table = pd.read_csv(io.BytesIO(read_checked(path.parent, path.name)))
        memory, joules = table.get("peak_memory_mib"), table.get("energy_joules")
        whole = joules is not None and joules.notna().all()
        return {
            "epochs": len(table),
            "seconds": round(float(table["seconds"].sum()), 1),
            "images_per_second": round(float(table["images_per_second"].median()), 1),
            "peak_memory_mib": None if memory is None else float(memory.max()),
            "energy_kwh": round(float(joules.sum()) / JOULES_PER_KWH, 9) if whole else None,
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _machine(path: Path) -> dict[str, object]:
    try:
        content = json.loads(read_checked(path.parent, path.name))
        found = {key: content.get(key) for key in ("device", "device_type", "host", "threads")}
        return found | {"energy_of": content.get("energy")}
    except (OSError, ValueError, AttributeError):
        return {}


def by_method(cost: pd.DataFrame) -> pd.DataFrame:
    """Return one row per dataset, network, method and device, in the order of the runs.

    Columns: these, ``runs``, ``seconds`` per run (mean), ``images_per_second`` and ``peak_memory_mib`` (medians over
    runs), ``total_seconds`` and ``gpu_hours`` (of all runs; 0 where the device is no GPU), ``energy_kwh`` (per run,
    mean over the runs whose energy could be read).
    """
    keys = ["dataset", "network", "method", "device", "device_type"]
    groups = cost.groupby(keys, sort=False, dropna=False)
    table = groups.agg(
        runs=("run", "size"),
        seconds=("seconds", "mean"),
        images_per_second=("images_per_second", "median"),
        peak_memory_mib=("peak_memory_mib", "median"),
        total_seconds=("seconds", "sum"),
        energy_kwh=("energy_kwh", "mean"),
    ).reset_index()
    table["gpu_hours"] = table["total_seconds"].where(table["device_type"] == "cuda", 0) / 3600
    return table
