"""What people look at: a study's tables, figures and page, built from the folders of its runs alone.

Each part reads only what runs and earlier parts wrote, so that a workflow can build them one by one:

========== ========================================= ===========================================================
part       reads                                     writes into ``results/reports/<study>/``
========== ========================================= ===========================================================
results    the runs' ``metrics.json``,               ``results.csv``, ``provenance.csv``, ``cost.csv``
           ``timing.csv``, ``machine.json``
tables     ``results.csv``, ``params/published``     ``accuracy.{csv,md,tex}``, the same per label under
                                                     ``accuracy-<label>``, for other epochs under
                                                     ``accuracy_best`` and ``accuracy_validation_selected``,
                                                     ``comparison`` where the paper has the same cells,
                                                     ``paired``, ``ledger``; ``webvision`` and ``published`` where a
                                                     study is about the paper
figures    the runs' ``history.csv``                 ``curves.{csv,json,png,svg}``, ``memorisation.{png,svg}``
           the runs' ``predictions.npz``             ``reliability`` and ``confusion.{csv,png,svg}``,
                                                     ``calibration``, ``classes`` and ``people.{csv,md,tex}``,
                                                     ``analyses.json``
           the runs' ``metrics.json``                ``variants.{csv,md,tex,png,svg}`` where there are variants
           the methods' classes                      ``architecture.{json,png,svg}``
paper-     files of ``nrd analyse``, ``history.csv``, ``table1``, ``gains``, ``figure1`` … ``figure5``, ``table6``,
figures    ``predictions.npz``, ``results.csv``      each with its data; where a study has such ``figures``
page       the files above, ``mlflow.json`` of the   ``index.html``
           study's folder where the runs are there
========== ========================================= ===========================================================
"""

from collections.abc import Iterable
from pathlib import Path

from nrd.layout import Layout
from nrd.spec import SpecError
from nrd.study import Study

PARTS = ("results", "tables", "figures", "paper-figures", "page")


def build(study: Study, layout: Layout, parts: Iterable[str] = PARTS, partial: bool = True) -> Path:
    """Build parts of a study's report, always in the order of :data:`PARTS`; return the report's folder.

    Args:
        study: to report on.
        layout: where its runs are.
        parts: which to build.
        partial: whether to report on whatever is finished, or to refuse results and figures that are not complete.

    Raises:
        SpecError: there is no such part, a part needs a file that an earlier one has not written, or runs are missing.
    """
    wanted = set(parts)
    if unknown := sorted(wanted - set(PARTS)):
        raise SpecError(f"report: there is no part {unknown[0]!r}; allowed: {', '.join(PARTS)}")
    if not partial and "results" in wanted:
        _require_all(study, layout)
    if not partial and "paper-figures" in wanted:
        _require_analyses(study, layout)
    for part in PARTS:
        if part in wanted:
            _build(part, study, layout)
    return layout.report(study.config.name)


def _require_all(study: Study, layout: Layout) -> None:
    """A report that leaves runs out should be asked for: its means are over fewer seeds than planned."""
    name = study.config.name
    if missing := [run for run in study.specs if not layout.is_finished(run)]:
        raise SpecError(
            f"{len(missing)} of {len(study.specs)} runs of {name} are not finished (`nrd runs {name}` lists them): "
            f"`snakemake --cores all {name}` runs them, `nrd report {name} --partial` reports on the others"
        )


def _require_analyses(study: Study, layout: Layout) -> None:
    """Likewise for what the paper's figures are made of."""
    name = study.config.name
    if missing := [pair for pair in study.analyses if not layout.analysis(*pair).is_file()]:
        raise SpecError(
            f"{len(missing)} of {len(study.analyses)} runs of {name} for the paper's figures are not looked at: "
            f"`nrd analyse --study {name}` does that, `nrd report {name} --partial` reports on the others"
        )


def _build(part: str, study: Study, layout: Layout) -> None:
    # Imported here: a part needs pandas, matplotlib or Jinja, and no part needs them all.
    if part == "results":
        from nrd.report.cost import write_cost
        from nrd.report.results import write_results

        write_results(study, layout)
        write_cost(study.compared, layout)
    elif part == "tables":
        from nrd.report.tables import write_tables

        write_tables(study, layout)
    elif part == "figures":
        from nrd.report.figures import write_figures

        write_figures(study, layout)
    elif part == "paper-figures":
        from nrd.report.paper_figures import write_paper_figures

        write_paper_figures(study, layout)
    else:
        from nrd.report.page import write_page

        write_page(study, layout)
