"""Figures that need no run's curves or predictions: how a method is built, and what its variants change."""

from nrd.layout import Layout
from nrd.report.architecture import write_architecture
from nrd.report.diagram import draw_architecture
from nrd.report.forest import draw_variants
from nrd.report.results import collect
from nrd.report.titles import read_titles
from nrd.report.variants import write_variants
from nrd.study import Study


def write_overviews(study: Study, layout: Layout) -> None:
    """Write the data of both figures and draw them; what the study does not have is removed."""
    folder, titles = layout.report(study.config.name), read_titles(study, layout)
    draw_architecture(write_architecture(study, layout, titles), folder / "architecture")
    variants = write_variants(study, layout, collect(study, layout), titles)
    for kind in ("png", "svg", "pdf"):
        (folder / f"variants.{kind}").unlink(missing_ok=True)
    if variants is not None:
        draw_variants(variants, folder / "variants")
