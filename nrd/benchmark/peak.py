"""What the device at hand can do at most, and what a step asks of it."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Large enough to be bound by arithmetic, and by memory rather than caches.
MATRIX = {"cpu": 1024, "cuda": 8192}
COPY_BYTES = {"cpu": 256 * 2**20, "cuda": 2**31}


def clock(device: torch.device) -> float:
    """Return seconds: the process's own on a CPU, where others disturb; on a GPU those on the wall, work done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def fastest(function: Callable[[], Any], device: torch.device, turns: int = 8) -> float:
    """Return the seconds of the fastest of some calls, after one that warms up."""
    function()
    best = float("inf")
    for _ in range(turns):
        began = clock(device)
        function()
        best = min(best, clock(device) - began)
    return best


def matmul_flops(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """Return the floating-point operations per second of a large matrix product, rounded as convolutions round."""
    n = MATRIX.get(device.type, 1024)
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty(n, n, device=device, dtype=dtype)
    before = torch.backends.cuda.matmul.allow_tf32
    # By PyTorch's defaults float32 convolutions round to TF32 and products do not: no peak to compare them with.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    try:
        return 2 * n**3 / fastest(lambda: torch.mm(a, b, out=out), device)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def copy_bandwidth(device: torch.device) -> float:
    """Return the bytes per second that a copy of a large tensor reads and writes."""
    source = torch.zeros(COPY_BYTES.get(device.type, 2**28), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / fastest(lambda: target.copy_(source), device)


class Traffic(TorchDispatchMode):
    """Sums the bytes that operations read and write, each from and to memory, and counts the operations.

    It is the traffic of a step whose operations share nothing through caches or fusion: more than a compiled step has.
    """

    NOTHING = ("empty", "new_empty", "detach")

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        result = func(*args, **(kwargs or {}))
        if not func.is_view and not func.overloadpacket.__name__.startswith(self.NOTHING):
            tensors = [t for t in torch.utils._pytree.tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            self.operations += 1
        return result
