"""The full state of a run under way, in its scratch folder: what makes a killed run continue bit for bit.

Random draws are keyed on (seed, epoch, stream), so no generator's state belongs to it.
"""

import pickle
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nrd.files import replace_file
from nrd.spec import SpecError

FILE = "state.pt"
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
    with replace_file(folder / FILE) as temporary:
        torch.save(vars(state), temporary)
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
        state = State(**torch.load(path, map_location=device, weights_only=True))
    except (RuntimeError, pickle.UnpicklingError, EOFError, TypeError, ValueError, KeyError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SpecError(f"{path}: is damaged ({reason}); delete it to train {run} from the start") from None
    if state.run != run:
        raise SpecError(f"{path}: is the state of {state.run}, not of {run}; delete it to train from the start")
    return state
