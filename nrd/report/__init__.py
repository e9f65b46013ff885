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
                                                     ``paired``, ``ledger``, ``webvision`` for the paper's grid
figures    the runs' ``history.csv``                 ``curves.{csv,json,png,svg}``, ``memorisation.{png,svg}``
           the runs' ``predictions.npz``             ``reliability`` and ``confusion.{csv,png,svg}``,
                                                     ``classes.csv``, ``people.csv``, ``analyses.json``
page       the files above                           ``index.html``
========== ========================================= ===========================================================
"""

from collections.abc import Iterable
from pathlib import Path

from nrd.layout import Layout
from nrd.spec import SpecError
from nrd.study import Study

PARTS = ("results", "tables", "figures", "page")


def build(study: Study, layout: Layout, parts: Iterable[str] = PARTS) -> Path:
    """Build parts of a study's report, always in the order of :data:`PARTS`; return the report's folder.

    Raises:
        SpecError: there is no such part, or a part needs a file that an earlier one has not written.
    """
    wanted = set(parts)
    if unknown := sorted(wanted - set(PARTS)):
        raise SpecError(f"report: there is no part {unknown[0]!r}; allowed: {', '.join(PARTS)}")
    for part in PARTS:
        if part in wanted:
            _build(part, study, layout)
    return layout.report(study.config.name)


def _build(part: str, study: Study, layout: Layout) -> None:
    # Imported here: a part needs pandas, matplotlib or Jinja, and no part needs them all.
    if part == "results":
        from nrd.report.cost import write_cost
        from nrd.report.results import write_results

        write_results(study, layout)
        write_cost(study, layout)
    elif part == "tables":
        from nrd.report.tables import write_tables

        write_tables(study, layout)
    elif part == "figures":
        from nrd.report.figures import write_figures

        write_figures(study, layout)
    else:
        from nrd.report.page import write_page

        write_page(study, layout)
