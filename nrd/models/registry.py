"""The names of the networks, and the one function that makes them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from nrd.models.preact_resnet import PreActResNet
from nrd.models.torchvision_resnet import torchvision_resnet

# Parameters are for 10 classes / 100 classes, multiply-accumulates for one 3×32×32 image and 10 classes.
MODELS: dict[str, Callable[..., nn.Module]] = {
    # Any other: give widths and blocks.
    "preact_resnet": PreActResNet,
    # What the GJS and NRD papers call PreActResNet-34. 1 860 138 / 1 871 748 parameters, 0.276 G.
    "preact_resnet34_thin": partial(PreActResNet, widths=(32, 64, 128), blocks=(5, 5, 5)),
    # He et al. 2016 at its usual widths. 21 279 306 / 21 325 476 parameters, 1.159 G.
    "preact_resnet34": partial(PreActResNet, widths=(64, 128, 256, 512), blocks=(3, 4, 6, 3), final_norm=False),
    # ELR+ and DivideMix on CIFAR. 11.17 M / 11.22 M parameters, 0.555 G.
    "preact_resnet18": partial(PreActResNet, widths=(64, 128, 256, 512), blocks=(2, 2, 2, 2), final_norm=False),
    # For experiments on a laptop core at 32×32. 308 266 parameters, 12.3 M.
    "preact_resnet_pocket": partial(PreActResNet, widths=(32, 64, 128), blocks=(1, 1, 1), stem_stride=2),
    # For the 8×8 digits of the demo.
    "preact_resnet_tiny": partial(PreActResNet, widths=(16, 32, 64), blocks=(1, 1, 1)),
    # torchvision's: ELR on CIFAR (with cifar_stem), WebVision.
    "resnet34": partial(torchvision_resnet, "resnet34"),
    "resnet50": partial(torchvision_resnet, "resnet50"),
}


def create_model(
    name: str, num_classes: int, in_channels: int = 3, *, generator: torch.Generator | None = None, **options: Any
) -> nn.Module:
    """Make an untrained network.

    Args:
        name: a name from ``MODELS``.
        num_classes: number of logits.
        in_channels: channels of the images.
        generator: CPU generator that every initial weight is drawn from; torch's global generator is then neither
            read nor moved. None draws from the global one.
        options: what the network's maker takes, such as ``cifar_stem`` for torchvision's ResNets, or ``widths`` and
            ``blocks`` for pre-activation ones.

    Returns:
        The network on the CPU, in training mode. It maps (B, in_channels, H, W) to logits (B, num_classes).

    Raises:
        ValueError: for an unknown name, or a generator that is not on the CPU.
        TypeError: for an option that the network does not have.

    >>> seeds = (torch.Generator().manual_seed(1) for _ in range(2))
    >>> first, second = (create_model("preact_resnet_tiny", 10, generator=seed) for seed in seeds)
    >>> bool((first.head.weight == second.head.weight).all())
    True
    """
    if name not in MODELS:
        raise ValueError(f"unknown network {name!r}; known: {', '.join(MODELS)}")
    if generator is None:
        return MODELS[name](num_classes, in_channels, **options)
    if generator.device.type != "cpu":
        raise ValueError(f"initial weights need a CPU generator, not one on {generator.device}")
    # Whatever a maker draws, it draws from the global CPU generator: lend it the given one's state for the while.
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(generator.get_state())
        model = MODELS[name](num_classes, in_channels, **options)
        state = torch.get_rng_state()
    generator.set_state(state)
    return model
