"""Sections of the page about networks that memorised wrong labels: the paper's Tables 1 and 6, Figures 1 and 2."""

import math

import pandas as pd
from markupsafe import Markup

from nrd.report import beside, correction, render
from nrd.report.context import Context, Section, fragment
from nrd.report.links import line_keys
from nrd.report.memorised import FIGURE_1, FIGURE_2A, FIGURE_2B, SAMPLES, TABLE_6, TABLE_6_POINTS, read_data
from nrd.report.paper_parts import (
    figure_part,
    paper_section,
    ready,
    small_table,
    trained,
    training_view,
    weak_sentence,
)
from nrd.report.polygons import chosen_run
from nrd.report.published import read_printed
from nrd.report.results import read_csv
from nrd.report.titles import slug_title
from nrd.study import Project


def label_correction(context: Context) -> Section | None:
    """Table 1."""
    if not context.study.pictured("memorised") or not context.existing(correction.TABLE_1):
        return None
    table = read_csv(context.folder / correction.TABLE_1, correction.TEXT)
    html = Markup("")
    if len(table):
        text = correction.TABLE_1_NOTE + " " + _about_views(context) + _correction_sentence(table)
        html += fragment("text.html.j2", texts=[f"{text} {weak_sentence(context, 'memorised')}"])
        groups = []
        for title, part in table.groupby(["dataset_title", "noise_title"], sort=False):
            groups.append((", ".join(title), [_with_paper(row) for row in part.itertuples()]))
        html += fragment("correction.html.j2", heads=correction.TABLE_1_HEADS[1:5], groups=groups)
        html += context.runs_below(line_keys(context.study.pictured("memorised")))
    return paper_section(context, "memorised", "table1", "Table 1: label correction", html, ("csv", "md", "tex"))


def _with_paper(row: object) -> tuple[str, list[tuple[str, str]]]:
    texts = correction.printed_correction(row)
    name = "none" if row.transform == "plain" else f"mean of {row.transform}"
    return name, [
        (ours, paper if paper != render.DASH else "") for ours, paper in zip(texts[2:5], texts[5:], strict=True)
    ]


def _about_views(context: Context) -> str:
    """Say how the networks were trained and which views the means are taken over."""
    runs = context.study.pictured("memorised")
    views = runs[0].views
    return (
        f"{trained(runs)} Views: {views.vicinal.name}, {views.draws} of each image, in evaluation mode. Both means "
        f"of their predictions are shown; the figures use that of {views.average} (the paper says predictions, a "
        "working code of two of its authors averages logits). The small numbers are the paper's, for CIFAR-10. "
        + "".join(_about_images(context, name) for name in dict.fromkeys(run.spec.dataset.name for run in runs))
    )


def _about_images(context: Context, dataset: str) -> str:
    """Say how far a dataset's training images are the paper's."""
    config = Project(context.layout.root).datasets[dataset]
    if config.source != "cifar10":
        return f"Ours are on other images, {config.title}. "
    if config.subset is None or config.subset.train is None:
        return ""
    return f"Ours are of {render.thousands(config.subset.train)} of its training images. "


def _correction_sentence(table: pd.DataFrame) -> str:
    """Say in numbers how much views correct, and where that is less than the paper's."""
    plain = table[table["transform"] == "plain"]
    means = table[table["transform"] == "probabilities"]
    parts, weaker, known = [], [], 0
    for a, b in zip(plain.itertuples(), means.itertuples(), strict=True):
        theirs = b.published_mislabeled_percent - a.published_mislabeled_percent
        paper = "" if math.isnan(theirs) else f" (paper: {_levels(a, b, 'published_mislabeled_percent')})"
        parts.append(f"{_levels(a, b, 'mislabeled_percent')} at {a.noise_title}{paper}")
        known += not math.isnan(theirs)
        weaker += [a.noise_title] if b.mislabeled_percent - a.mislabeled_percent < theirs else []
    text = "Measured: the mean of probabilities takes the accuracy of mislabeled images from " + ", ".join(parts) + "."
    if weaker:
        text += f" The gain is smaller than the paper's{'' if len(weaker) == known else ' at ' + ', '.join(weaker)}."
    return text


def _levels(plain: object, mean: object, key: str) -> str:
    return f"{getattr(plain, key):.1f} to {getattr(mean, key):.1f} %"


def density(context: Context) -> Section | None:
    """Figure 1."""
    title = "Figure 1: views against memorised labels"
    if not ready(context, "memorised", "figure1"):
        return None
    table = read_data(context.folder / FIGURE_1)
    if table.empty:
        return paper_section(context, "memorised", "figure1", title, kinds=())
    text = (
        "Cross-entropy of mislabeled training images w.r.t. their true label, for networks that memorised the wrong "
        "one: without views, and of the mean prediction over views they were not trained on. Further left is nearer to "
        "the true label. Density AUROC: the probability that a value without views is above one with them; 0.5 where "
        "views change nothing. Right: a mislabeled image drawn at random among those learned as labeled, and eight "
        "further views of it; 1 and 2 mark its two values."
    )
    html = figure_part(context, "memorised", "figure1", "Figure 1", f"{text} {_printed(context, 'density AUROC')}")
    shown = beside.auroc_table(table, context.titles)
    html += small_table(shown.heads, shown.rows)
    return paper_section(context, "memorised", "figure1", title, html, more=(SAMPLES,), table=beside.AUROC)


def _printed(context: Context, quantity: str) -> str:
    """Name the numbers that the paper prints of a quantity, with their dataset and noise."""
    parts = []
    for row in read_printed(context.layout, quantity).itertuples():
        where = context.titles.dataset(row.dataset) + (
            f", {slug_title(row.noise)}" if row.noise else ", rate not stated"
        )
        parts.append(f"{row.value:g} ({row.quantity}; {where})")
    return f"The paper prints {', '.join(parts)}." if parts else ""


def polygons(context: Context) -> Section | None:
    """Figure 2a."""
    title = "Figure 2a: predictions on views"
    if not ready(context, "memorised", "figure2a"):
        return None
    table = read_data(context.folder / FIGURE_2A)
    if table.empty:
        return paper_section(context, "memorised", "figure2a", title, kinds=())
    rows = chosen_run(table)
    first, views = rows.iloc[0], context.study.pictured("memorised")[0].views
    others = sorted(set(table["noise_title"]) - {first["noise_title"]})
    text = (
        f"{first['dataset_title']}, {first['noise_title']}. Each marker is the prediction on one view, {views.points} "
        "of each image and policy: the mean of the polygon's corners, one per class, weighted by the class "
        f"probabilities. Training policy: {training_view(context)}; unseen policy: {views.unseen.name}. Images were "
        "drawn at random among those that the network predicts as they are labeled: correctly labeled ones above, "
        "mislabeled ones below. Where the paper's effect is there, blue markers of a mislabeled image leave the label "
        "for the true class." + (f" The data file also has {', '.join(others)}." if others else "")
    )
    html = figure_part(context, "memorised", "figure2a", "Figure 2a", text)
    shown = beside.shares_table(table)
    html += small_table(shown.heads, shown.rows)
    return paper_section(context, "memorised", "figure2a", title, html, more=(SAMPLES,), table=beside.SHARES)


def vicinal_calibration(context: Context) -> Section | None:
    """Figure 2b."""
    title = "Figure 2b: calibration of vicinal predictions"
    if not ready(context, "memorised", "figure2b"):
        return None
    table = read_data(context.folder / FIGURE_2B)
    if table.empty:
        return paper_section(context, "memorised", "figure2b", title, kinds=())
    text = (
        "Training images by the confidence of their prediction, against their true labels, for networks that memorised "
        "wrong ones: without views, and averaged over views. Bars that end at the dashed line are calibrated, pale "
        f"ones hold fewer than 0.5 % of the images. {beside.ECE} {_printed(context, 'ECE of')}"
    )
    html = figure_part(context, "memorised", "figure2b", "Figure 2b", text)
    shown = beside.errors_2b(table, context.layout)
    html += small_table(shown.heads, shown.rows)
    return paper_section(context, "memorised", "figure2b", title, html, table=beside.ERRORS_2B)


def dynamics(context: Context) -> Section | None:
    """Table 6."""
    title = "Table 6: memorisation in time"
    if not ready(context, "dynamics", "table6"):
        return None
    table = read_data(context.folder / TABLE_6)
    if table.empty:
        return paper_section(context, "dynamics", "table6", title, kinds=())
    first, run = table.iloc[0], context.study.pictured("dynamics")[0]
    shown = table[table["run"] == first["run"]]
    end = shown[shown["epoch"] == shown["epoch"].max()]
    last = end.groupby("policy", sort=False)["mean"].mean()
    text = (
        f"{first['dataset_title']}, {first['noise_title']} (the paper: CIFAR-10, symmetric 40 %); "
        f"{shown['sample'].nunique()} mislabeled training images drawn at random among those that the network had "
        f"learned as labeled at the end{_same_as_2a(context, first['run'])}. Left: probability of the true class over "
        f"epochs, mean over {run.views.points} views and its standard deviation, for views of the training policy "
        f"({training_view(context)}, red) and of an unseen one ({run.views.unseen.name}, blue); dotted lines mark "
        "the epochs of the polygons. Predictions start at the true class and, as the label is memorised, those on the "
        "training policy go to it; the paper's point is that those on unseen views do not all follow. Measured at the "
        f"end, mean of these images: {last.get('training', math.nan):.2f} on the training policy, "
        f"{last.get('unseen', math.nan):.2f} on the unseen one."
    )
    html = figure_part(context, "dynamics", "table6", "Table 6", text)
    return paper_section(context, "dynamics", "table6", title, html, more=(TABLE_6_POINTS, SAMPLES))


def _same_as_2a(context: Context, run: str) -> str:
    """Say that a run's images are those of Figure 2a, if that picture is of the same run."""
    if not context.existing(FIGURE_2A):
        return ""
    table = read_data(context.folder / FIGURE_2A)
    return ", the same as in Figure 2a" if len(table) and chosen_run(table)["run"].iloc[0] == run else ""
