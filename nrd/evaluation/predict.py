"""Class probabilities for whole datasets, in fixed batches."""

from collections.abc import Callable

import torch
from torch import Tensor

# Pixels at a time. A CPU is fastest while a layer's output fits its caches, a GPU with few, large launches.
PIXELS = {"cpu": 128 * 1024, "cuda": 2048 * 1024}
LARGEST_BATCH = 2048


def evaluation_batch(images: Tensor) -> int:
    """Return how many images are predicted at a time.

    It depends on their size and device alone: the last bits of a convolution may depend on the batch, and a resumed
    run must repeat an undisturbed one.
    """
    pixels = PIXELS.get(images.device.type, PIXELS["cpu"])
    return max(1, min(LARGEST_BATCH, pixels // (images.shape[-1] * images.shape[-2])))


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
    size = evaluation_batch(images)
    for start in range(0, len(images), size):
        batch = view(images[start : start + size], {})
        batch = batch.contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = predictor(batch)
        parts.append(logits.float().softmax(dim=1))
    return torch.cat(parts)
