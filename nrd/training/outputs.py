"""What a run writes: a live history in its scratch folder, and its finished files in ``results/runs``."""

import csv
import io
import json
import resource
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from nrd.checksums import write_sums
from nrd.files import append_text, write_bytes, write_text
from nrd.layout import TRAINED, Layout
from nrd.methods.base import Method
from nrd.spec import RunOptions, RunSpec
from nrd.training.checkpoint import FILE as STATE_FILE
from nrd.training.checkpoint import State
from nrd.training.energy import energy_meter
from nrd.training.machine import describe
from nrd.training.progress import Progress

# Saved as float16: that rounds a probability by at most 0.05 % of itself and halves a run's folder.
PREDICTIONS = "predictions.npz"
MODEL = "model.safetensors"


def to_csv(rows: list[dict[str, float]]) -> str:
    """Return rows as CSV with the union of their columns; floats are written so that they read back unchanged."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def export_tensors(method: Method) -> dict[str, Tensor]:
    """Return the exported networks' parameters and buffers under ``<network>.<name>``."""
    return {
        f"{name}.{key}": tensor.detach().cpu().contiguous()
        for name, network in method.exports().items()
        for key, tensor in network.state_dict().items()
    }


class RunWriter:
    """Writes a run's files. The run is finished when the last of them, the model, is in its place."""

    def __init__(self, spec: RunSpec, layout: Layout, options: RunOptions, device: torch.device) -> None:
        self.spec, self.layout, self.options, self.device = spec, layout, options, device
        self.scratch = layout.scratch(spec.name)
        self.log = self.scratch / "log.txt"
        self.failure = self.scratch / "failure.json"
        self.started = _now()
        self.energy = energy_meter(device)

    def begin(self, state: State) -> None:
        """Start or continue: the live history is cut back to the epoch of the saved state."""
        self.failure.unlink(missing_ok=True)
        write_text(self.scratch / "spec.yaml", self.spec.to_yaml())
        write_text(self.scratch / "history.csv", to_csv(state.history))
        self._columns = list(dict.fromkeys(key for row in state.history for key in row))
        self._rows = list(state.history)
        write_text(self.scratch / "machine.json", self._machine())
        if self.energy:
            self.energy.lap()  # what comes before the first epoch is not its energy

    def _machine(self, **more: str) -> str:
        content = {
            "run": self.spec.name,
            "study": self.options.study,
            **describe(self.device, self.layout.root),
            "energy": self.energy and self.energy.source,
            "options": self.options.model_dump(mode="json"),
            "started": self.started,
            **more,
        }
        return json.dumps(content, indent=2) + "\n"

    def append(self, row: dict[str, float]) -> None:
        """Add an epoch to the live history, which a person or the tracker may be reading."""
        self._rows.append(row)
        if set(row) <= set(self._columns):
            text = io.StringIO()
            csv.DictWriter(text, self._columns, lineterminator="\n").writerow(row)
            append_text(self.scratch / "history.csv", text.getvalue())
        else:
            self._columns = list(dict.fromkeys([*self._columns, *row]))
            write_text(self.scratch / "history.csv", to_csv(self._rows))

    def timing_row(self, epoch: int, seconds: float, images: int) -> dict[str, float]:
        """Return an epoch's row of ``timing.csv``; memory is the peak so far, in MiB.

        ``energy_joules``, where it can be read, is that of the device since the row before.
        """
        joules = self.energy.lap() if self.energy else None
        if self.device.type == "cuda":
            memory = torch.cuda.max_memory_allocated(self.device) / 2**20
        else:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        return {
            "epoch": epoch,
            "seconds": round(seconds, 4),
            "images_per_second": round(images / seconds, 1),
            "peak_memory_mib": round(memory, 1),
            **({} if joules is None else {"energy_joules": round(joules, 1)}),
        }

    def snapshot(self, method: Method, epoch: int) -> None:
        """Keep the networks as they are after an epoch."""
        write_bytes(self.scratch / "snapshots" / f"epoch-{epoch:04d}.safetensors", save(export_tensors(method)))

    def failed(self, message: str) -> None:
        """Leave word of why the run cannot go on."""
        content = {"run": self.spec.name, "message": message, "time": _now()}
        write_text(self.failure, json.dumps(content, indent=2) + "\n")

    def finish(self, state: State, method: Method, predictions: dict[str, Tensor], progress: Progress) -> None:
        """Write the run's files, the model last, and clear the scratch folder."""
        folder = self.layout.run(self.spec.name)
        # Of an earlier training, one of whose files is gone: from here on the run is not finished.
        for earlier in (MODEL, "metrics.json"):
            (folder / earlier).unlink(missing_ok=True)
        write_text(folder / "spec.yaml", self.spec.to_yaml())
        write_text(folder / "history.csv", to_csv(state.history))
        write_text(folder / "timing.csv", to_csv(state.timing))
        write_text(folder / "machine.json", self._machine(finished=_now()))
        snapshots = sorted((self.scratch / "snapshots").glob("epoch-*.safetensors"))
        for snapshot in snapshots:
            write_bytes(folder / "snapshots" / snapshot.name, snapshot.read_bytes())
        archive = io.BytesIO()
        np.savez_compressed(archive, **{key: _compact(tensor) for key, tensor in predictions.items()})
        write_bytes(folder / PREDICTIONS, archive.getvalue())
        seconds = sum(row["seconds"] for row in state.timing)
        progress.note(f"finished {state.epoch} epochs in {seconds:.1f} s of training and evaluation", show=False)
        write_bytes(folder / "log.txt", self.log.read_bytes())
        model = save(export_tensors(method), metadata={"run": self.spec.name})
        files = [*(name for name in TRAINED if name != MODEL), *(f"snapshots/{path.name}" for path in snapshots)]
        write_sums(folder, files, {MODEL: model})
        write_bytes(folder / MODEL, model)
        for leftover in (STATE_FILE, "history.csv", "spec.yaml", "machine.json", "log.txt"):
            (self.scratch / leftover).unlink(missing_ok=True)
        shutil.rmtree(self.scratch / "snapshots", ignore_errors=True)


def _compact(tensor: Tensor) -> np.ndarray:
    array = tensor.cpu().numpy()
    return array.astype(np.float16) if array.dtype.kind == "f" else array


def read_predictions(folder: Path) -> dict[str, np.ndarray]:
    """Return a finished run's predictions: probabilities as float32, labels as int64."""
    with np.load(folder / PREDICTIONS, allow_pickle=False) as content:
        return {
            key: content[key].astype(np.float32) if content[key].dtype == np.float16 else content[key]
            for key in content
        }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
