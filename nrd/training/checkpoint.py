"""The full state of a run under way, in its scratch folder: what makes a killed run continue bit for bit.

Random draws are keyed on (seed, epoch, stream), so no generator's state belongs to it.
"""

import io
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nrd.checksums import digest
from nrd.files import write_bytes
from nrd.spec import SpecError

FILE = "state.pt"
# Before PyTorch's own bytes stands a line with their checksum. A state without it is older, and is still read.
TITLE = b"nrd state "
# Saving may take this share of the time: a small network is not saved after each of its short epochs.
TIME_SHARE = 0.05


@dataclass
class State:
    """What resuming needs. ``history`` and ``timing`` are rows of finished epochs."""

    run: str
    epoch: int  # finished epochs
    method: dict[str, Any]
    optimizer: dict[str, Any]
    history: list[dict[str, float]] = field(default_factory=list)
    timing: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)


def save_state(state: State, folder: Path) -> float:
    """Write the state; a kill leaves the previous one. Returns the seconds it took."""
    start = time.perf_counter()
    memory = io.BytesIO()
    torch.save(vars(state), memory)
    content = memory.getvalue()
    write_bytes(folder / FILE, TITLE + digest(content).encode() + b"\n" + content)
    return time.perf_counter() - start


def load_state(run: str, folder: Path, device: torch.device) -> State | None:
    """Return the last saved state, or None where there is none. Nothing in the file is executed.

    Raises:
        SpecError: the file is damaged or belongs to another run; deleting it starts the run anew.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        content = torch.load(io.BytesIO(_payload(path.read_bytes())), map_location=device, weights_only=True)
        state = State(**content)
        if not len(state.history) == len(state.timing) == state.epoch:
            raise ValueError(f"it has {len(state.history)} rows for {state.epoch} epochs")
    except Exception as error:  # PyTorch and its unpickler raise whatever a damaged file leads them to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SpecError(f"{path}: is damaged ({reason}); delete it to train {run} from the start") from None
    if state.run != run:
        raise SpecError(f"{path}: is the state of {state.run}, not of {run}; delete it to train from the start")
    return state


def load_optimizer(optimizer: torch.optim.Optimizer, content: dict[str, Any]) -> None:
    """Set an optimiser's state, as ``optimizer.load_state_dict`` would.

    Raises:
        ValueError: it is another optimiser's; PyTorch compares groups and counts, but no shapes.
    """
    optimizer.load_state_dict(content)
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor) and value.dim() and value.shape != parameter.shape:
                raise ValueError(f"{key} has shape {tuple(value.shape)}, its parameter {tuple(parameter.shape)}")


def _payload(content: bytes) -> bytes:
    """Return PyTorch's bytes of a state file.

    Raises:
        ValueError: they are not those that were written.
    """
    title, separator, payload = content.partition(b"\n")
    if not title.startswith(TITLE):
        return content
    if not separator or title.removeprefix(TITLE).decode(errors="replace") != digest(payload):
        raise ValueError("its SHA-256 is not the one in its first line")
    return payload
