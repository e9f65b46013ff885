"""The page's list of what it does not show, each with the reason."""

from collections.abc import Iterator

from nrd.report import analyses
from nrd.report.context import Context, Section, fragment
from nrd.report.published_tables import ABSENT

# What a section is made of, by its title: the part of the report that writes it and the files it always leaves.
MADE_OF = {
    "Other choices of the epoch": ("tables", ("accuracy_best.csv",)),
    "Methods in pairs": ("tables", ("paired.csv",)),
    "Table 5: hyper-parameters as used": ("tables", ("ledger.csv",)),
    "Test accuracy over epochs": ("figures", ("curves.csv", "curves.svg", "curves.png")),
    "Memorisation of training labels": ("figures", ("curves.csv", "memorisation.svg", "memorisation.png")),
    "Figure 3": ("figures", ("architecture.json", "architecture.svg", "architecture.png")),
    "Learned confusion": ("figures", ("confusion.csv", "confusion.svg", "confusion.png")),
    "Accuracy per class": ("figures", ("classes.csv",)),
    "Calibration": ("figures", ("reliability.csv", "reliability.svg", "reliability.png")),
    "Cost": ("results", ("cost.csv",)),
}
# Of the paper's figures: which blocks of a study they are about.
PICTURED = {
    "Table 1": ("memorised", ("table1.csv",)),
    "Figure 1": ("memorised", ("figure1.csv", "figure1.svg", "figure1.png", "samples.npz")),
    "Figure 2a": ("memorised", ("figure2a.csv", "figure2a.svg", "figure2a.png", "samples.npz")),
    "Figure 2b": ("memorised", ("figure2b.csv", "figure2b.svg", "figure2b.png")),
    "Table 6": ("dynamics", ("table6.csv", "table6-points.csv", "table6.svg", "table6.png")),
    "Figure 4": ("overfitting", ("figure4.csv", "figure4.svg", "figure4.png")),
    "Figure 5": ("calibration", ("figure5.csv", "figure5.svg", "figure5.png")),
}


def absent(context: Context) -> Section | None:
    """What the page does not show, and why."""
    left_out = analyses.read_notes(context.folder, "left_out")
    reasons = analyses.read_notes(context.folder, "absent") | dict(_not_asked(context)) | dict(_missing(context))
    if not reasons and not left_out:
        return None
    html = fragment("absent.html.j2", reasons=reasons, left_out=left_out)
    return Section("absent", "Not on this page", html)


def _not_asked(context: Context) -> Iterator[tuple[str, str]]:
    """Yield what a page about the paper has elsewhere, with the reason why not here."""
    study = context.study
    if not study.shows_paper:
        return
    for title, (figure, _) in PICTURED.items():
        if not study.pictured(figure):
            yield title, f"no block of this study has the figure “{figure}”."
    if not context.existing("comparison.csv"):
        yield "Differences to the published numbers", "no cell of the paper's Tables 2 and 4 is in this study."
    if not context.existing("gains.csv") or len((context.folder / "gains.csv").read_text().splitlines()) < 2:
        yield "Gains named in the paper's text", f"the cells that it names are {ABSENT}."
    if not any(block.variants for block in study.config.grid):
        yield (
            "What matters by how many points",
            "no block of this study has variants; the study `variants` is about them.",
        )


def _missing(context: Context) -> Iterator[tuple[str, str]]:
    """Yield each section that cannot be built because files of the report's folder are gone."""
    needed = dict(MADE_OF)
    needed |= {k: ("paper-figures", files) for k, (figure, files) in PICTURED.items() if context.study.pictured(figure)}
    for title, (part, files) in needed.items():
        gone = sorted(set(files) - set(context.existing(*files)))
        if gone:
            again = f"`nrd report {context.study.config.name} --part {part}` writes it"
            yield title, f"{', '.join(gone)} {'is' if len(gone) == 1 else 'are'} missing; {again}."
