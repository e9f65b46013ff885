"""The energy that the training device takes, from counters that the hardware keeps anyway.

They are read at the ends of epochs, never per step, and cover the whole device: runs that share it each see the energy
of all of them. Where nothing can be read, nothing is recorded.
"""

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")
NVML = "libnvidia-ml.so.1"  # comes with the driver


class EnergyMeter:
    """Counts joules from lap to lap.

    Args:
        source: what the counters cover, for people.
        read: returns the counters' values in joules.
        ranges: of each counter the joules after which it starts again from 0; infinite where it never does.
    """

    def __init__(self, source: str, read: Callable[[], list[float]], ranges: Sequence[float]) -> None:
        self.source, self._read, self._ranges = source, read, ranges
        self._last = read()

    def lap(self) -> float | None:
        """Return the joules since the last lap, or since the meter was made; None where a counter fails."""
        try:
            now = self._read()
        except (OSError, ValueError):
            return None
        before, self._last = self._last, now
        steps = zip(before, now, self._ranges, strict=True)
        return sum(value - old if value >= old else value - old + full for old, value, full in steps)


def energy_meter(device: torch.device, powercap: Path = POWERCAP) -> EnergyMeter | None:
    """Return the meter of a device, or None where this machine or this user cannot read one.

    On CUDA it is the board's own counter (NVML, from Volta on; not for a part of a partitioned GPU), elsewhere the
    processor packages' (RAPL through Linux's powercap, which many systems let only root read).
    """
    try:
        return _gpu_meter(device) if device.type == "cuda" else _processor_meter(powercap)
    except (OSError, ValueError, AttributeError):
        return None


def _processor_meter(powercap: Path) -> EnergyMeter | None:
    zones = sorted(powercap.glob("intel-rapl:*"))  # AMD's processors have the name, too
    packages = [zone for zone in zones if (zone / "name").read_text().startswith("package")]
    if not packages:
        return None
    ranges = [_joules(zone / "max_energy_range_uj") for zone in packages]
    return EnergyMeter(
        "processor packages of the whole machine (RAPL)",
        lambda: [_joules(zone / "energy_uj") for zone in packages],
        ranges,
    )


def _joules(path: Path) -> float:
    return int(path.read_text()) / 1e6


def _gpu_meter(device: torch.device) -> EnergyMeter:
    library = ctypes.CDLL(NVML)
    _succeed(library.nvmlInit_v2())
    handle = ctypes.c_void_p()
    # By its own name: numbers differ where CUDA_VISIBLE_DEVICES hides some of the GPUs.
    name = f"GPU-{torch.cuda.get_device_properties(device).uuid}".encode()
    _succeed(library.nvmlDeviceGetHandleByUUID(ctypes.c_char_p(name), ctypes.byref(handle)))

    def read() -> list[float]:
        millijoules = ctypes.c_ulonglong()
        _succeed(library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules)))
        return [millijoules.value / 1e3]

    return EnergyMeter("the whole GPU (NVML)", read, [float("inf")])


def _succeed(status: int) -> None:
    if status:
        raise OSError(f"NVML answers with error {status}")
