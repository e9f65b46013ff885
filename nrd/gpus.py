"""How many GPUs this machine offers, without asking torch: the workflow must parse in a second or two."""

import os
from pathlib import Path


def count_gpus(devices: Path = Path("/dev")) -> int:
    """Return the number of NVIDIA devices; ``CUDA_VISIBLE_DEVICES`` may allow fewer."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(list(devices.glob("nvidia[0-9]*")))
