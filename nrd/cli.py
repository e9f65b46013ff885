"""The ``nrd`` command: what each rule of the workflow calls, a person can type.

Heavy imports stay inside the commands that need them, so that ``nrd --help`` and ``nrd runs`` answer at once.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from nrd import __version__
from nrd.benchmark.cli import app as benchmark_app
from nrd.commands import analyse, schemas
from nrd.files import remedy
from nrd.layout import Layout
from nrd.resolve import resolve_noise
from nrd.runs_cli import HERE, Root
from nrd.runs_cli import app as runs_app
from nrd.spec import RunOptions, RunSpec, SpecError, parse
from nrd.study import Project, Study

app = typer.Typer(
    help="Noise-robust distillation for noisy labels: data, labels, training, evaluation, reports.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


app.add_typer(runs_app, name="runs")
app.add_typer(benchmark_app, name="benchmark")
app.command()(analyse)
app.command()(schemas)

StudyOption = Annotated[Optional[str], typer.Option("--study", "-s", help="Study that the runs belong to.")]  # noqa: UP045


def _version(show: bool) -> None:
    if show:
        print(f"nrd {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Noise-robust distillation for noisy labels: data, labels, training, evaluation, reports."""


@app.command()
def data(
    datasets: Annotated[list[str], typer.Argument(help="Names in params/datasets.")],
    download: Annotated[bool, typer.Option(help="Download what no folder holds.")] = True,
    root: Root = HERE,
) -> None:
    """Verify datasets and write their prepared arrays to data/datasets."""
    from nrd.data.sources import prepare

    project = Project(root)
    for name in datasets:
        if name not in project.datasets:
            raise SpecError(f"there is no dataset {name!r}; params/datasets has: {', '.join(project.datasets)}")
        print(prepare(project.datasets[name], project.layout, download))


@app.command()
def labels(
    names: Annotated[Optional[list[str]], typer.Argument(help="Label files, such as digits.sym40.s1.")] = None,  # noqa: UP045
    study: StudyOption = None,
    root: Root = HERE,
) -> None:
    """Draw given labels and write them to data/labels, for the named files or for all of a study."""
    from nrd.data.arrays import load_arrays
    from nrd.data.labels import draw_labels, write_labels

    project = Project(root)
    wanted = _labels_by_name(project, study)
    arrays = {}
    for name in names or ([] if study is None else list(wanted)):
        if name not in wanted:
            raise SpecError(f"no run of {study or 'any study'} uses labels {name!r}")
        spec = wanted[name]
        dataset = spec.dataset
        if dataset.name not in arrays:
            arrays[dataset.name] = load_arrays(project.layout.dataset(dataset.name), dataset.checksum)
        config = project.datasets[dataset.name]
        drawn = draw_labels(spec, arrays[dataset.name], config, project.layout)
        path = project.layout.labels(name)
        write_labels(drawn, spec, path)
        print(f"{path}: {100 * drawn.actual_rate:.2f} % of {len(drawn.true)} labels are wrong")


def _labels_by_name(project: Project, study: str | None) -> dict[str, RunSpec]:
    studies = [study] if study else list(project.studies)
    return {spec.labels_name: spec for name in studies for spec in project.study(name).specs.values()}


@app.command()
def train(
    runs: Annotated[Optional[list[str]], typer.Argument(help="Names of runs, or spec.yaml files.")] = None,  # noqa: UP045
    study: StudyOption = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...; auto is the GPU where there is one.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; one each is best for several runs at a time.")] = 1,
    chunk_size: Annotated[int, typer.Option(min=0, help="Images augmented at a time; 0: what suits the device.")] = 0,
    deterministic: Annotated[bool, typer.Option(help="On CUDA: only deterministic kernels.")] = False,
    compiling: Annotated[str, typer.Option("--compile", help="The step: auto (on CUDA), on or off.")] = "auto",
    track: Annotated[bool, typer.Option(help="Mirror the run to MLflow while it trains.")] = True,
    wait: Annotated[bool, typer.Option("--wait", help="Where another process trains a run, wait for it.")] = False,
    root: Root = HERE,
) -> None:
    """Train runs, each from where it was stopped. Without names: all runs of --study."""
    project = Project(root)
    specs = _specs(project, runs or [], study)
    content = {
        "device": device,
        "threads": threads,
        "chunk_size": chunk_size,
        "deterministic": deterministic,
        "compile": compiling,
        "tracking": track,
        "wait": wait,
        "study": study,
    }
    options = parse(RunOptions, content, Path("command line"))
    from nrd.training.loop import train as train_run

    for spec in specs:
        print(train_run(spec, project.layout, options))


def _specs(project: Project, runs: list[str], study: str | None) -> list[RunSpec]:
    if not runs and study is None:
        raise SpecError("nothing to train: give names of runs, spec.yaml files, or --study")
    if not runs:
        return list(project.study(study).specs.values())
    return [
        RunSpec.from_yaml(Path(run)) if run.endswith((".yaml", ".yml")) else project.find(run, study) for run in runs
    ]


@app.command()
def evaluate(
    runs: Annotated[Optional[list[str]], typer.Argument(help="Names of trained runs.")] = None,  # noqa: UP045
    study: StudyOption = None,
    root: Root = HERE,
) -> None:
    """Write metrics.json from a trained run's history and predictions; needs neither GPU nor dataset."""
    from nrd.evaluation.run_metrics import evaluate_run

    project = Project(root)
    if not runs:
        if study is None:
            raise SpecError("nothing to evaluate: give names of runs, or --study")
        runs = [name for name in project.study(study).specs if project.layout.is_trained(name)]
    for name in runs:
        result = evaluate_run(name, project.layout)
        print(f"{name}: test accuracy {100 * result['test_accuracy_last']:.2f} % (last epoch)")


@app.command()
def report(
    study: Annotated[str, typer.Argument(help="Name in params/studies.")],
    part: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="results, tables, figures, paper-figures or page; without it all, in this order."),
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Report on whatever runs are finished.")] = False,
    root: Root = HERE,
) -> None:
    """Build a study's results.csv, tables, figures and page from its finished runs."""
    from nrd.report import PARTS, build

    project = Project(root)
    if unknown := set(part or []) - set(PARTS):
        raise SpecError(f"--part: there is no {', '.join(sorted(unknown))}; allowed: {', '.join(PARTS)}")
    print(build(project.study(study), project.layout, tuple(part or PARTS), partial))


@app.command()
def hyperparameters(
    dataset: Annotated[str, typer.Option(help="Name in params/datasets.")],
    noise: Annotated[str, typer.Option(help="Such as sym40, asym20 or clean.")],
    study: Annotated[Optional[str], typer.Option("--study", "-s", help="As this study's runs use them.")] = None,  # noqa: UP045
    root: Root = HERE,
) -> None:
    """Print the searched settings of every method for a dataset and noise, with their sources.

    A study may set some of them itself: with --study, what its runs use.
    """
    from rich.console import Console
    from rich.table import Table

    from nrd.ledger import ledger_rows

    project = Project(root)
    rows = ledger_rows(project.datasets, project.methods, dataset, noise, project.layout.params / "methods")
    title = f"{dataset}, {noise}"
    if study is not None:
        from nrd.report.settings import used_rows

        slug = resolve_noise(noise, project.datasets[dataset], "--noise").slug
        rows, title = used_rows(project.study(study), project.layout, dataset, slug), f"{study}: {title}"
    table = Table("method", "lr", "weight decay", "own", "source", title=title)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


@app.command()
def estimate(
    study: Annotated[str, typer.Argument(help="Name in params/studies.")],
    device: Annotated[str, typer.Option(help="cpu, cuda, ...; auto is the GPU where there is one.")] = "auto",
    threads: Annotated[int, typer.Option(min=1)] = 1,
    at_a_time: Annotated[Optional[int], typer.Option(min=1, help="Runs at a time; one per core or GPU.")] = None,  # noqa: UP045
    seconds: Annotated[float, typer.Option(min=0, help="Measure each kind of step this long.")] = 1.0,
    root: Root = HERE,
) -> None:
    """Say how long a study's missing runs will take on this machine, after a few seconds of measurement."""
    project = Project(root)
    missing = [spec for name, spec in project.study(study).specs.items() if not project.layout.is_trained(name)]
    print(_estimate(project, project.study(study), missing, device, threads, at_a_time, seconds))


def _estimate(
    project: Project,
    study: Study,
    missing: list[RunSpec],
    device_name: str,
    threads: int,
    at_a_time: int | None,
    seconds: float,
) -> str:
    import torch

    from nrd.training.build import pick_device
    from nrd.training.estimate import cost_key, measure_all, run_seconds
    from nrd.training.machine import describe
    from nrd.training.slots import usable_gpus

    torch.set_num_threads(threads)
    device = pick_device(device_name)
    costs = measure_all(missing, device, seconds)
    total = 0.0
    for spec in missing:
        sizes = project.datasets[spec.dataset.name]
        total += run_seconds(spec, costs[cost_key(spec)], sizes.train_size, sizes.test_size)
    # What several runs gain on one GPU was not measured: `nrd benchmark slots` does that.
    here = max(1, (os.cpu_count() or 1) // threads if device.type == "cpu" else len(usable_gpus()))
    slots = min(at_a_time or here, here) if device.type == "cuda" else at_a_time or here
    where = f"{describe(device)['device']}, {slots} run(s) at a time, {threads} thread(s) each"
    return (
        f"{study.config.name}: {len(missing)} of {len(study.specs)} runs are missing; "
        f"on this machine ({where}) they take about {_duration(total / slots)}"
    )


def _duration(seconds: float) -> str:
    for unit, size in (("years", 365 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


@app.command()
def track(
    sync: Annotated[Optional[str], typer.Option("--sync", help="Only this study's runs.")] = None,  # noqa: UP045
    lenient: Annotated[bool, typer.Option("--lenient", help="Report a store out of reach, but succeed.")] = False,
    root: Root = HERE,
) -> None:
    """Bring runs to MLflow: whatever is not there yet, and nothing twice."""
    from nrd.training.tracking import TrackingError, is_enabled, known_runs
    from nrd.training.tracking import sync as sync_runs

    if lenient and not is_enabled():
        print("not mirrored to MLflow: NRD_TRACKING is off")
        return
    project = Project(root)
    runs = project.study(sync).specs if sync else known_runs(project.layout)
    try:
        summary = sync_runs(project.layout, runs, study=sync)
    except TrackingError as error:
        if not lenient:
            raise
        print(f"not mirrored to MLflow: {error}; `nrd track` tries again")
        return
    print(summary)
    for name, reason in summary.failed.items():
        print(f"{name}: {reason}", file=sys.stderr)


@app.command()
def ui(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
    root: Root = HERE,
) -> None:
    """Open MLflow's page on this project's runs."""
    from nrd.training.tracking import open_ui

    open_ui(Layout(root), host, port)


def main() -> None:
    """Run the command; what goes wrong is told in one line, with exit status 1."""
    try:
        app()
    except SpecError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except OSError as error:
        if error.filename is None and error.strerror is None:
            raise
        _fail(f"{error.filename or 'file system'}: {error.strerror or error}{remedy(error)}")
    except RuntimeError as error:
        if type(error).__name__ not in ("TrainingFailed", "TrackingError"):  # torch's errors keep their traceback
            raise
        _fail(str(error))


def _fail(message: str, status: int = 1) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)
