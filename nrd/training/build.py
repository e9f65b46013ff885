"""From a spec to what trains: method with its networks, optimiser and views."""

import os
from pathlib import Path

import torch
from torch import nn

from nrd.augment import create_view
from nrd.augment.views import View
from nrd.methods.base import Method
from nrd.methods.registry import create_method
from nrd.models import create_model
from nrd.randomness import generator
from nrd.spec import RunSpec, SpecError
from nrd.training.sgd import EagerSGD


def pick_device(name: str) -> torch.device:
    """Return the device of that name, and make a numbered GPU this process's own; ``auto`` is the GPU if there is one.

    Raises:
        SpecError: CUDA, or the GPU of that number, was asked for and is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SpecError(f"device {name!r}: CUDA is not available here; use cpu or auto")
    if device.type == "cuda" and device.index is not None:
        if device.index >= (number := torch.cuda.device_count()):
            raise SpecError(f"device {name!r}: there are {number} GPU(s), counted from 0")
        torch.cuda.set_device(device)  # or pinned memory and graphs would make a context on GPU 0 as well
    return device


def build_network(spec: RunSpec, index: int = 0) -> nn.Module:
    """Return a freshly initialised network of the spec; ``index`` counts those of one method."""
    return create_model(
        spec.network.name,
        spec.dataset.num_classes,
        spec.dataset.channels,
        generator=generator(spec.seed, "init", index),
        **spec.network.options,
    )


def set_kernels(deterministic: bool) -> None:
    """Choose CUDA's kernels: the fastest that a trial finds, or only those that repeat a result bit for bit."""
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        # Read when cuBLAS starts; without it, its matrix products refuse to be deterministic.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        from torch._inductor import config

        config.deterministic = True  # or each process chooses by trial how compiled kernels split their sums


def build_method(
    spec: RunSpec, num_samples: int, device: torch.device, root: Path = Path(), frozen: nn.Module | None = None
) -> Method:
    """Return the spec's method with freshly initialised networks, on the device, in channels-last format.

    Args:
        spec: of the run.
        num_samples: of the training part.
        device: where it will train.
        root: folder that a method's own file is relative to.
        frozen: the finished network that the spec's teacher names (:func:`nrd.training.finished.frozen_teacher`).
    """
    method = create_method(spec.method, root)
    networks = [build_network(spec, index) for index in range(method.num_networks)]
    given = {} if frozen is None else {"frozen": frozen}  # most methods know of no such thing
    method.setup(networks, num_samples, spec.dataset.num_classes, **given)
    return method.to(device, memory_format=torch.channels_last)


def build_optimizer(spec: RunSpec, method: Method) -> torch.optim.Optimizer:
    """Return SGD as the spec says; the loop sets the learning rate of each epoch."""
    settings = spec.optimization
    return EagerSGD(
        method.trainable(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def build_views(spec: RunSpec, device: torch.device) -> tuple[dict[str, View], View]:
    """Return the training views by role, and the view that evaluation uses."""
    dataset = spec.dataset
    views = {
        role: create_view(view.name, dataset.mean, dataset.std, **view.options).to(device)
        for role, view in spec.method.views.items()
    }
    return views, create_view("none", dataset.mean, dataset.std).to(device)
