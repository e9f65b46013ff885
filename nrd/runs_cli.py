"""``nrd runs``: what finished, stopped and damaged runs there are, and those of other clones."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from nrd.layout import Layout
from nrd.spec import SpecError
from nrd.study import Project, Study

Root = Annotated[Path, typer.Option("--root", help="Folder that holds params/, data/ and results/.", envvar="NRD_ROOT")]
HERE = Path()


class ListByDefault(TyperGroup):
    """``nrd runs STUDY`` is short for ``nrd runs list STUDY``."""

    def resolve_command(self, ctx, args):  # noqa: ANN001, ANN201
        """Insert ``list`` before what is not a command."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["list", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(cls=ListByDefault, help="List the runs of a study, show one, ...", no_args_is_help=True)


@app.command("list")
def list_runs(
    study: Annotated[str, typer.Argument(help="Name in params/studies.")],
    summary: Annotated[bool, typer.Option("--summary", help="Only the counts.")] = False,
    root: Root = HERE,
) -> None:
    """List a study's runs and which are done."""
    project = Project(root)
    resolved = project.study(study)
    states = {name: _state(project.layout, name) for name in resolved.specs}
    if not summary:
        width = max(map(len, states))
        for name, state in states.items():
            print(f"{name:{width}}  {state}")
    counts = {state: list(states.values()).count(state) for state in dict.fromkeys(states.values())}
    counted = ", ".join(f"{count} {state}" for state, count in counts.items())
    print(f"{study}: {len(states)} runs ({_parts(resolved)}); {counted}")


def _parts(study: Study) -> str:
    """Return how many runs each table has, and what makes their sum another number than that of all runs."""
    tables: dict[str, set[str]] = {}
    for run in study.runs:
        tables.setdefault(run.table, set()).add(run.spec.name)
    text = ", ".join(f"{table} {len(names)}" for table, names in tables.items())
    different = set().union(*tables.values())
    if again := sum(map(len, tables.values())) - len(different):
        text += f"; less {again} that tables share"
    if earlier := len(study.specs) - len(different):
        text += f"; and {earlier} earlier rounds"
    return text


def _state(layout: Layout, name: str) -> str:
    if layout.is_finished(name):
        return "done"
    if layout.is_trained(name):
        return "trained, not evaluated"
    scratch = layout.scratch(name)
    if not scratch.is_dir():
        return "missing"
    from nrd.training.lock import is_held

    if is_held(scratch):
        return "training"
    if (scratch / "failure.json").is_file():
        return "failed"
    return "stopped" if (scratch / "state.pt").is_file() else "missing"


@app.command("verify")
def verify_runs(study: Annotated[str, typer.Argument(help="Name in params/studies.")], root: Root = HERE) -> None:
    """Compare the files of a study's finished runs with the checksums that were written with them."""
    from nrd.evaluation.verify import verify_run

    project = Project(root)
    runs = [name for name in project.study(study).specs if project.layout.run(name).is_dir()]
    problems = [problem for name in runs for problem in verify_run(name, project.layout)]
    if problems:
        raise SpecError("\n".join(problems))
    print(f"{study}: {len(runs)} runs are as they were written")


@app.command("show")
def show_run(run: Annotated[str, typer.Argument(help="Name of a run.")], root: Root = HERE) -> None:
    """Print a run's complete spec."""
    print(Project(root).find(run).to_yaml(), end="")


@app.command("merge")
def merge(
    sources: Annotated[list[Path], typer.Argument(help="Other clones, or folders of runs.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Look and verify, but copy nothing.")] = False,
    root: Root = HERE,
) -> None:
    """Take over finished runs of other clones; nothing that is here is changed."""
    from nrd.merge import merge_runs

    merged = merge_runs(sources, Project(root).layout, dry_run)
    print(f"would be merged: {merged}" if dry_run else str(merged))
    for line in merged.remarks():
        print(line, file=sys.stderr)
    if merged.damaged:
        raise SpecError(f"{len(merged.damaged)} damaged and left out, see above; the others are merged")


@app.command("summary")
def summary(
    study: Annotated[str, typer.Argument(help="Name in params/studies.")],
    folder: Annotated[Path, typer.Argument(help="To write into, such as results/measured/pocket.")],
    root: Root = HERE,
) -> None:
    """Write a study's finished runs and tables into a small folder to commit: no weights, but their checksums."""
    from nrd.summary import write_summary

    project = Project(root)
    content = write_summary(project.study(study), project.layout, folder)
    print(f"{folder}: {len(content['finished'])} finished runs, {len(content['missing'])} missing")
