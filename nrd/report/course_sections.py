"""Sections of the page with the paper's Figures 4 and 5, and the gains that its text names."""

from nrd.report import beside, correction
from nrd.report.context import Context, Section, fragment
from nrd.report.overfitting import FIGURE_4, read_figure_4
from nrd.report.paper_figures import FIGURE_5
from nrd.report.paper_parts import figure_part, paper_section, ready, small_table
from nrd.report.plain import SUFFIXES
from nrd.report.published import read_published_ece
from nrd.report.reliability import read_reliability
from nrd.report.results import read_csv
from nrd.report.titles import slug_title


def overfitting(context: Context) -> Section | None:
    """Figure 4, and the gain that the paper's text names."""
    title = "Figure 4: long training"
    if not ready(context, "overfitting", "figure4"):
        return None
    table = read_figure_4(context.folder / FIGURE_4)
    if table.empty:
        return paper_section(context, "overfitting", "figure4", title, kinds=())
    text = (
        f"Test accuracy over {int(table['epoch'].max())} epochs at several noise rates; consistency between views of "
        "one kind (GJS, dashed) against NRD. The paper trains for 1000 epochs on CIFAR-100, where GJS falls after an "
        "early peak; the table has the last and the best epoch of each curve, and the gain at the last."
    )
    shown = beside.fits_table(table, context.layout)
    html = figure_part(context, "overfitting", "figure4", "Figure 4", text) + small_table(shown.heads, shown.rows)
    return paper_section(context, "overfitting", "figure4", title, html, table=beside.FITS)


def calibration(context: Context) -> Section | None:
    """Figure 5."""
    title = "Figure 5: calibration, CE against NRD"
    if not ready(context, "calibration", "figure5"):
        return None
    table = read_reliability(context.folder / FIGURE_5)
    if table.empty:
        return paper_section(context, "calibration", "figure5", title, kinds=())
    published = {(noise, method): v for (_, noise, method), v in read_published_ece(context.layout).items()}
    text = (
        "Clean test images without views by the confidence of their prediction: cross-entropy that memorised its "
        f"labels (the network of Table 1) against NRD. Pale bars hold fewer than 0.5 % of the images. {beside.ECE} The "
        "last column is what the paper prints for CIFAR-10 at the same rate. " + _worse(published)
    )
    shown = beside.errors_5(table, context.layout)
    html = figure_part(context, "calibration", "figure5", "Figure 5", text) + small_table(shown.heads, shown.rows)
    return paper_section(context, "calibration", "figure5", title, html, table=beside.ERRORS_5)


def _worse(published: dict[tuple[str, str], float]) -> str:
    """Say where the paper's own numbers contradict its text, that NRD always improves calibration."""
    pairs = {
        noise: (published.get((noise, "CE")), value) for (noise, method), value in published.items() if method == "NRD"
    }
    worse = [slug_title(noise) for noise, (ce, ours) in pairs.items() if ce is not None and ours > ce]
    return f"In its numbers NRD is the worse one at {', '.join(worse)}; its text says otherwise." if worse else ""


def gains(context: Context) -> Section | None:
    """Gains that the paper's text names, where the study has the cells."""
    if not context.existing(correction.GAINS):
        return None
    table = read_csv(context.folder / correction.GAINS, correction.GAINS_TEXT)
    if table.empty:
        return None
    html = fragment("text.html.j2", texts=[correction.GAINS_NOTE])
    rows = [correction.printed_gain(row, context.titles) for row in table.itertuples()]
    html += small_table(correction.GAINS_HEADS, rows)
    files = context.existing(*(f"gains{suffix}" for suffix in SUFFIXES))
    return Section("gains", "Gains named in the paper's text", html, files)
