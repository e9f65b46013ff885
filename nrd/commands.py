"""Commands beside the main ones of :mod:`nrd.cli`; heavy imports stay inside."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from nrd.spec import SpecError
from nrd.study import Project

Root = Annotated[Path, typer.Option("--root", help="Folder that holds params/, data/ and results/.", envvar="NRD_ROOT")]
HERE = Path()


def analyse(
    runs: Annotated[Optional[list[str]], typer.Argument(help="Names of finished runs.")] = None,  # noqa: UP045
    study: Annotated[Optional[str], typer.Option("--study", "-s", help="Study whose figures ask.")] = None,  # noqa: UP045
    name: Annotated[Optional[str], typer.Option(help="Only the analysis of this name.")] = None,  # noqa: UP045
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...; auto is the GPU where there is one.")] = "auto",
    threads: Annotated[int, typer.Option(min=1)] = 1,
    root: Root = HERE,
) -> None:
    """Ask finished networks about views of their training images, as studies' figures want; once for each question."""
    project = Project(root)
    asked = project.asked(runs or [], study, name)
    from nrd.evaluation.answers import read_answers

    for spec, views in asked:
        path = project.layout.analysis(spec.name, views.name)
        if path.is_file():
            read_answers(path, spec.name)  # refused where it is damaged or of other weights: done would be a lie
            print(path)
            continue
        from nrd.analysis import look_again

        print(look_again(spec, views, project.layout, device, threads))


def schemas(
    check: Annotated[bool, typer.Option("--check", help="Only compare; fail if they differ.")] = False,
    root: Root = HERE,
) -> None:
    """Write JSON schemas of the YAML files to workflow/schemas, for editors and other tools."""
    from nrd.schemas import write_schemas

    changed = write_schemas(root / "workflow" / "schemas", check)
    if check and changed:
        raise SpecError(f"workflow/schemas: {', '.join(changed)} out of date; run `nrd schemas`")
