"""Networks of finished runs, read back from their weights."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import nn

from nrd.checksums import read_checked
from nrd.layout import Layout
from nrd.spec import RunSpec, SpecError
from nrd.training.build import build_network

STUDENT = "student."


def frozen_teacher(spec: RunSpec, layout: Layout) -> nn.Module | None:
    """Return the finished student that a run's teacher names, in evaluation mode; None where it names none.

    Raises:
        SpecError: the run it names is not finished, or its weights are damaged or do not fit this run's network.
    """
    if not spec.requires:
        return None
    (name,) = spec.requires
    path = layout.run(name) / "model.safetensors"
    if not path.is_file():
        raise SpecError(f"{path}: there is no such file; {spec.name} learns from that run: train {name} first")
    return read_student(spec, name, path)


def snapshot_path(layout: Layout, run: str, epoch: int) -> Path:
    """Where a finished run keeps its networks of an epoch that the spec wants a snapshot of."""
    return layout.run(run) / "snapshots" / f"epoch-{epoch:04d}.safetensors"


def read_student(spec: RunSpec, name: str, path: Path, signed: bool = True) -> nn.Module:
    """Return the student of a file of weights, in evaluation mode.

    Args:
        spec: whose network it is.
        name: of the run that wrote the file.
        path: of the file.
        signed: whether the file must name its run; snapshots do not.

    Raises:
        SpecError: the file is missing or damaged, or its weights are another run's or another network's.
    """
    folder = path.parent if signed else path.parent.parent
    network = build_network(spec)
    try:
        read_checked(folder, path.relative_to(folder).as_posix())
        with safe_open(path, framework="pt") as file:
            owner = (file.metadata() or {}).get("run")
            keys = [key for key in list(file.keys()) if key.startswith(STUDENT)]
            tensors = {key.removeprefix(STUDENT): file.get_tensor(key) for key in keys}
    except (SafetensorError, OSError) as error:
        raise SpecError(f"{path}: is damaged ({error}); delete its folder to train {name} again") from None
    if signed and owner != name:
        raise SpecError(f"{path}: holds the weights of {owner}, not of {name}")
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise SpecError(f"{path}: does not fit network {spec.network.name} ({reason})") from None
    return network.eval()
