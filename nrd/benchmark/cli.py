"""``nrd benchmark``: how fast the parts are here, as a table and as JSON."""

import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

app = typer.Typer(help="Measure speed and agreement on this machine.", no_args_is_help=True)

Threads = Annotated[int, typer.Option(min=1, help="CPU threads.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, ...; auto is the GPU where there is one.")]
Output = Annotated[Optional[Path], typer.Option("--json", help="Also write the numbers to this file.")]  # noqa: UP045
View = Annotated[str, typer.Option(help="View of the student.")]
Teacher = Annotated[str, typer.Option(help="View of the teacher.")]
Precision = Annotated[str, typer.Option(help="float32 or bfloat16.")]
Epochs = Annotated[int, typer.Option(min=1, help="Of a whole run, whose seconds are told.")]
Root = Annotated[Path, typer.Option("--root", help="Folder that holds params/ and data/.", envvar="NRD_ROOT")]


@app.command()
def augment(
    views: Annotated[Optional[list[str]], typer.Argument(help="Names of views.")] = None,  # noqa: UP045
    batch: Annotated[Optional[int], typer.Option(min=1, help="Images at a time; by default as suits.")] = None,  # noqa: UP045
    seconds: Annotated[float, typer.Option(min=0, help="For each view and contestant.")] = 2.0,
    device: Device = "cpu",
    threads: Threads = 1,
    output: Output = None,
) -> None:
    """Compare the views with torchvision's transforms image by image, and kornia's if it is installed."""
    import torch

    torch.set_num_threads(threads)
    from nrd.benchmark.augment import measure
    from nrd.training.build import pick_device

    where = pick_device(device)
    chosen = views or ("crop", "gjs", "paper", "autoaugment", "augmix")
    rows = measure(chosen, batch, seconds, device=where, report=_saving(output, str(where)))
    _present(f"Views, images per {'CPU-' if where.type == 'cpu' else ''}second", rows, output)


@app.command()
def train(
    methods: Annotated[Optional[list[str]], typer.Argument(help="Names of methods, or all: the default.")] = None,  # noqa: UP045
    network: Annotated[Optional[list[str]], typer.Option(help="May be given several times; or all.")] = None,  # noqa: UP045
    student: View = "crop",
    teacher: Teacher = "augmix",
    batch: Annotated[int, typer.Option(min=2, help="Images of a step.")] = 64,
    precision: Precision = "float32",
    device: Device = "auto",
    seconds: Annotated[float, typer.Option(min=0, help="For each contestant.")] = 10.0,
    images: Annotated[Optional[int], typer.Option(min=4, help="Of an epoch; by default what suits the device.")] = None,  # noqa: UP045
    compiling: Annotated[str, typer.Option("--compile", help="auto, on or off.")] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Loader processes of the plain reference.")] = 0,
    epochs: Epochs = 400,
    threads: Threads = 1,
    root: Root = Path(),
    output: Output = None,
) -> None:
    """Compare training with a plain DataLoader and an eager step, and with what the device can do."""
    import torch

    from nrd.training.build import pick_device

    specs = _specs(root, methods or (), network or (), student, teacher, batch, precision)
    _check("--compile", [compiling], ("auto", "on", "off"))
    if images is not None and images < 2 * batch:
        raise _refusal(f"--images: {images} are fewer than two steps of {batch}")
    torch.set_num_threads(threads)
    where = pick_device(device)
    from nrd.benchmark.train import measure

    rows = measure(specs, where, seconds, compiling, workers, images, epochs, _saving(output, str(where)))
    _present("Training", rows, output)


@app.command()
def slots(
    method: Annotated[str, typer.Argument(help="Name of a method.")] = "nrd",
    network: Annotated[Optional[str], typer.Option()] = None,  # noqa: UP045
    student: View = "crop",
    teacher: Teacher = "augmix",
    batch: Annotated[int, typer.Option(min=2)] = 64,
    precision: Precision = "float32",
    device: Device = "auto",
    runs: Annotated[Optional[list[int]], typer.Option(min=1, help="Runs at a time; may be repeated.")] = None,  # noqa: UP045
    seconds: Annotated[float, typer.Option(min=0, help="For each number of runs.")] = 10.0,
    epochs: Epochs = 400,
    root: Root = Path(),
    output: Output = None,
) -> None:
    """Measure the total throughput of several runs at a time on one GPU, or on the cores of a CPU."""
    from nrd.benchmark.slots import measure
    from nrd.training.build import pick_device

    (spec,) = _specs(root, [method], [network] if network else (), student, teacher, batch, precision)
    where = str(pick_device(device))
    rows = measure(spec, where, runs or (), seconds, epochs=epochs, report=_saving(output, where))
    _present("Runs at a time", rows, output)


@app.command()
def agreement(
    method: Annotated[str, typer.Argument(help="Name of a method that the plain reference has.")] = "nrd",
    dataset: Annotated[str, typer.Option(help="Of 32×32 colour images in ten classes, in params/datasets.")] = (
        "cifar10-5k"
    ),
    train_images: Annotated[int, typer.Option(min=100)] = 2000,
    test_images: Annotated[int, typer.Option(min=100)] = 2000,
    epochs: Annotated[int, typer.Option(min=1)] = 12,
    seeds: Annotated[int, typer.Option(min=2, help="Pairs of trainings.")] = 5,
    student: View = "crop",
    teacher: Teacher = "augmix",
    device: Device = "auto",
    threads: Threads = 1,
    root: Root = Path(),
    output: Output = None,
) -> None:
    """Train pairs by the fast step and by the plain reference, and compare their test accuracies."""
    import torch

    from nrd.benchmark.agreement import NETWORK, fitting, measure
    from nrd.benchmark.augment import check_views
    from nrd.benchmark.reference import METHODS
    from nrd.data.arrays import load_arrays
    from nrd.study import Project
    from nrd.training.build import pick_device

    _check("method", [method], tuple(METHODS))
    (spec,) = _specs(root, [method], (), student, teacher, 64, "float32")
    torch.set_num_threads(threads)
    project, where = Project(root), pick_device(device)
    _check("--dataset", [dataset], fitting(project.datasets))
    check_views([view.name for view in spec.method.views.values()])
    arrays = load_arrays(project.layout.dataset(dataset), project.datasets[dataset].checksum)
    parts = [
        (torch.from_numpy(images[:number].copy()), torch.from_numpy(labels[:number].copy()))
        for images, labels, number in (
            (arrays.train_images, arrays.train_labels, train_images),
            (arrays.test_images, arrays.test_labels, test_images),
        )
    ]
    spec = spec.model_copy(update={"network": NETWORK})
    result = measure(*parts, spec, epochs, seeds, where, lambda row: print(json.dumps(row), flush=True))
    print(f"ours less reference: {result['difference']:+.2f} ± {result['interval']:.2f} points (95 %)")
    _saving(output, str(where))([result])
    _tell(output)


@app.command()
def table(
    files: Annotated[Optional[list[Path]], typer.Argument(help="Written by --json, of one kind.")] = None,  # noqa: UP045
    update: Annotated[Optional[Path], typer.Option(help="A document whose tables are made anew instead.")] = None,  # noqa: UP045
    root: Root = Path(),
) -> None:
    """Print measured numbers as a Markdown table, or make those of a document anew."""
    from nrd.benchmark.table import markdown, refresh
    from nrd.files import write_text

    if bool(files) == bool(update):
        raise _refusal("give either files to print, or a document to --update")
    if update is None:
        print(markdown(files))
        return
    try:
        write_text(update, refresh(update.read_text(encoding="utf-8"), root))
    except OSError as error:
        raise _refusal(f"{update}: {error.strerror}") from None


def _specs(
    root: Path,
    methods: Sequence[str],
    networks: Sequence[str],
    student: str,
    teacher: str,
    batch: int,
    precision: str,
) -> list[Any]:
    """Return what to train, once every name is known to exist."""
    from nrd.benchmark.specs import POCKET, benchmark_specs
    from nrd.catalogue import NETWORKS, VIEWS
    from nrd.study import Project

    project = Project(root)
    methods = () if list(methods) == ["all"] else methods
    networks = tuple(NETWORKS) if list(networks) == ["all"] else networks
    _check("method", methods, tuple(project.methods))
    _check("--network", networks, tuple(NETWORKS))
    _check("--student, --teacher", [student, teacher], tuple(VIEWS))
    _check("--precision", [precision], ("float32", "bfloat16"))
    return benchmark_specs(project, methods, networks or (POCKET,), student, teacher, batch, precision)


def _check(what: str, given: Sequence[str], allowed: Sequence[str]) -> None:
    if unknown := set(given) - set(allowed):
        raise _refusal(f"{what}: there is no {', '.join(sorted(unknown))}; allowed: {', '.join(allowed)}")


def _refusal(message: str) -> Exception:
    from nrd.spec import SpecError

    return SpecError(message)


def _present(title: str, rows: list[dict[str, Any]], output: Path | None) -> None:
    """Print rows as a table, each measure a line, and where they were saved."""
    from rich.console import Console
    from rich.table import Table

    flat = [_flatten(row) for row in rows]
    table = Table("", *[str(index + 1) for index in range(len(flat))], title=title)
    for key in dict.fromkeys(key for row in flat for key in row):
        table.add_row(key, *[_show(row.get(key)) for row in flat])
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    _tell(output)


def _flatten(row: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        flat |= _flatten(value, f"{prefix}{key} ") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _show(value: Any) -> str:
    shown: Callable[[float], str] = lambda number: f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"  # noqa: E731
    return shown(value) if isinstance(value, float) else "–" if value is None else str(value)


def _saving(output: Path | None, device: str) -> Callable[[list[dict[str, Any]]], None]:
    """Return what saves the rows so far, if they are to be saved: a late failure then costs only the rest."""
    if output is None:
        return lambda rows: None
    import torch

    from nrd.files import write_text
    from nrd.training.machine import describe

    machine = describe(torch.device(device))
    machine.pop("host")  # says nothing about speed
    measured = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "command": " ".join(["nrd", *sys.argv[1:]])}

    def save(rows: list[dict[str, Any]]) -> None:
        write_text(output, json.dumps({**measured, "machine": machine, "rows": rows}, indent=2) + "\n")

    return save


def _tell(output: Path | None) -> None:
    if output is not None:
        print(f"written to {output}")
