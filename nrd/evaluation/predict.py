"""Class probabilities for whole datasets, in fixed batches."""

from collections.abc import Callable

import torch
from torch import Tensor

# Fixed: the last bits of a convolution may depend on the batch, and a resumed run must repeat an undisturbed one.
# A CPU is fastest while a layer's output fits its caches, a GPU with few, large launches.
EVALUATION_BATCHES = {"cpu": 125, "cuda": 2000}


@torch.inference_mode()
def predict_probabilities(
    predictor: Callable[[Tensor], Tensor],
    images: Tensor,
    view: Callable[[Tensor, dict], Tensor],
    precision: str = "float32",
) -> Tensor:
    """Return softmax probabilities ``(N, K)`` float32 of ``predictor`` (in evaluation mode) on ``images``.

    Args:
        predictor: maps normalised images ``(B, C, H, W)`` to logits ``(B, K)``.
        images: uint8 ``(N, C, H, W)``.
        view: usually the view ``none``; it normalises.
        precision: ``float32``, or ``bfloat16`` for autocast.
    """
    parts = []
    size = EVALUATION_BATCHES.get(images.device.type, 500)
    for start in range(0, len(images), size):
        batch = view(images[start : start + size], {})
        batch = batch.contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = predictor(batch)
        parts.append(logits.float().softmax(dim=1))
    return torch.cat(parts)
