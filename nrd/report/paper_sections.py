"""Sections of the page with the paper's Table 1, Figures 1, 2, 4 and 5, and Table 6."""

import json
import math
from collections.abc import Iterator

import pandas as pd
from markupsafe import Markup

from nrd.report import correction, render
from nrd.report.analyses import conditions
from nrd.report.context import Context, Section, figure_html, fragment
from nrd.report.links import line_keys
from nrd.report.memorised import FIGURE_1, FIGURE_2A, FIGURE_2B, SAMPLES, TABLE_6, TABLE_6_POINTS, read_data
from nrd.report.overfitting import FIGURE_4, overfitting_table, read_figure_4
from nrd.report.paper_figures import FIGURE_5, NOTES
from nrd.report.polygons import chosen_run
from nrd.report.published import read_printed, read_published_ece
from nrd.report.reliability import read_reliability
from nrd.report.results import read_csv
from nrd.study import StudyRun

MEMORISED = 99.5  # per cent of the training images predicted as labeled, from which a network has memorised them
PICTURES = ("svg", "pdf", "png")
ECE = (
    "Both definitions of the calibration error: ECE, the mean gap between accuracy and mean confidence in 15 bins; "
    "mid-point, in 10 bins and to the bin's middle, as in a working code of two of the paper's authors. The paper does "
    "not say which it prints."
)


def label_correction(context: Context) -> Section | None:
    """Table 1."""
    if not context.study.pictured("memorised") or not context.existing(correction.TABLE_1):
        return None
    table = read_csv(context.folder / correction.TABLE_1, correction.TEXT)
    html = Markup("")
    if len(table):
        weak = table[(table["transform"] == "plain") & (table["memorised_percent"] < MEMORISED)]
        texts = [correction.TABLE_1_NOTE + " " + _about_views(context) + _correction_sentence(table)]
        texts += [
            f"{row.noise_title}: only {row.memorised_percent:.2f} % of the labels were memorised."
            for row in weak.itertuples()
        ]
        html += fragment("text.html.j2", texts=texts)
        groups = []
        for title, part in table.groupby(["dataset_title", "noise_title"], sort=False):
            groups.append((", ".join(title), [_with_paper(row) for row in part.itertuples()]))
        heads = correction.TABLE_1_HEADS[1:5]
        html += fragment("correction.html.j2", heads=heads, groups=groups)
    return _section(context, "memorised", "table1", "Table 1: label correction", html, ("csv", "md", "tex"))


def _with_paper(row: object) -> tuple[str, list[tuple[str, str]]]:
    texts = correction.printed_correction(row)
    name = "none" if row.transform == "plain" else f"mean of {row.transform}"
    return name, [
        (ours, paper if paper != render.DASH else "") for ours, paper in zip(texts[2:5], texts[5:], strict=True)
    ]


def _about_views(context: Context) -> str:
    """Say how the networks were trained and which views the means are taken over."""
    runs = context.study.pictured("memorised")
    spec, views = runs[0].spec, runs[0].views
    return (
        f"{_trained(runs)} Views: {views.vicinal.name}, {views.draws} of each image, in evaluation mode. Both means "
        f"of their predictions are shown; the figures use that of {views.average} (the paper says predictions, a "
        "working code of two of its authors averages logits). The small numbers are the paper's, for CIFAR-10. "
        + ("" if spec.dataset.name == "cifar10" else "Ours are on other images and for another network. ")
    )


def _trained(runs: tuple[StudyRun, ...]) -> str:
    spec = runs[0].spec
    used = spec.optimization
    view = spec.method.views["student"].name
    return (
        f"Training: {spec.network.name}, views {view}, {used.epochs} epochs, batch {used.batch_size}, learning rate "
        f"{used.learning_rate:g}, weight decay {used.weight_decay:g}."
    )


def _correction_sentence(table: pd.DataFrame) -> str:
    """Say in numbers how much views correct, which may be less than the paper's."""
    plain = table[table["transform"] == "plain"]
    means = table[table["transform"] == "probabilities"]
    pairs = list(zip(plain.itertuples(), means.itertuples(), strict=True))
    parts = [
        f"{a.mislabeled_percent:.1f} to {b.mislabeled_percent:.1f} % at {a.noise_title} "
        f"(paper: {_number(b.published_mislabeled_percent)})"
        for a, b in pairs
    ]
    text = "Measured: the mean of probabilities takes the accuracy of mislabeled images from " + ", ".join(parts) + "."
    if all(b.mislabeled_percent < b.published_mislabeled_percent for _, b in pairs):
        text += " The effect is weaker than the paper's."
    return text


def _number(value: float) -> str:
    return render.DASH if math.isnan(value) else f"{value:.1f} %"


def density(context: Context) -> Section | None:
    """Figure 1."""
    if not _ready(context, "memorised", "figure1"):
        return None
    table = read_data(context.folder / FIGURE_1)
    if table.empty:
        return _section(context, "memorised", "figure1", "Figure 1: views against memorised labels", Markup(""), ())
    text = (
        "Cross-entropy of mislabeled training images w.r.t. their true label, for networks that memorised the wrong "
        "one: without views, and of the mean prediction over views they were not trained on. Further left is nearer to "
        "the true label. Density AUROC: the probability that a value without views is above one with them; 0.5 where "
        "views change nothing. Right: a mislabeled image drawn at random among those learned as labeled, and eight "
        "further views of it; 1 and 2 mark its two values."
    )
    paper = _paper_sentence(context, "density AUROC", "The paper prints")
    html = _figure(context, "memorised", "figure1", "Figure 1", f"{text} {paper}")
    rows = [(title, *_auroc(part)) for title, part in conditions(table)]
    html += _small_table(["Density AUROC", "Mislabeled images", "Clean images", "All images"], rows)
    return _section(context, "memorised", "figure1", "Figure 1: views against memorised labels", html, more=(SAMPLES,))


def _auroc(part: pd.DataFrame) -> tuple[str, ...]:
    firsts = part.drop_duplicates("part").set_index("part")["auroc"]
    return tuple(f"{firsts[key]:.4f}" if key in firsts else render.DASH for key in ("mislabeled", "clean", "all"))


def _paper_sentence(context: Context, quantity: str, opening: str) -> str:
    """Name the numbers that the paper prints of a quantity, with their dataset and noise."""
    parts = []
    for row in read_printed(context.layout, quantity).itertuples():
        where = context.titles.dataset(row.dataset) + (f", {_noise(row.noise)}" if row.noise else ", rate not stated")
        parts.append(f"{row.value:g} ({row.quantity}; {where})")
    return f"{opening} {', '.join(parts)}." if parts else ""


def _noise(slug: str) -> str:
    kind = slug.rstrip("0123456789")
    return f"{ {'sym': 'symmetric', 'asym': 'asymmetric'}.get(kind, kind) } {slug.removeprefix(kind)} %"


def polygons(context: Context) -> Section | None:
    """Figure 2a."""
    if not _ready(context, "memorised", "figure2a"):
        return None
    table = read_data(context.folder / FIGURE_2A)
    if table.empty:
        return _section(context, "memorised", "figure2a", "Figure 2a: predictions on views", Markup(""), ())
    rows = chosen_run(table)
    first, views = rows.iloc[0], context.study.pictured("memorised")[0].views
    others = sorted(set(table["noise_title"]) - {first["noise_title"]})
    text = (
        f"{first['dataset_title']}, {first['noise_title']}. Each marker is the prediction on one view, {views.points} "
        "of each image and policy: the mean of the polygon's corners, one per class, weighted by the class "
        f"probabilities. Training policy: {_training_view(context)}; unseen policy: {views.unseen.name}. Images were "
        "drawn at random among those that the network predicts as they are labeled: correctly labeled ones above, "
        "mislabeled ones below. Where the paper's effect is there, blue markers of a mislabeled image leave the label "
        "for the true class." + (f" The data file also has {', '.join(others)}." if others else "")
    )
    html = _figure(context, "memorised", "figure2a", "Figure 2a", text)
    html += _small_table(["Views predicted as", "the true class", "the given label", "another"], _shares(rows, context))
    return _section(context, "memorised", "figure2a", "Figure 2a: predictions on views", html, more=(SAMPLES,))


def _training_view(context: Context) -> str:
    run = next(run for run in context.study.runs if run.views)
    return run.spec.method.views["student"].name


def _shares(rows: pd.DataFrame, context: Context) -> list[tuple[str, ...]]:
    """Return how many views lie nearest to the true class's corner, the given one's, and another's."""
    return [
        (f"{part} images, {policy} policy", *(f"{100 * share:.0f} %" for share in nearest_shares(own)))
        for part in ("clean", "mislabeled")
        for policy in ("training", "unseen")
        if len(own := rows[(rows["part"] == part) & (rows["policy"] == policy)])
    ]


def nearest_shares(rows: pd.DataFrame) -> tuple[float, float, float]:
    """Return the shares of views that are predicted as the true class, as a wrong label, and as another class."""
    true = (rows["predicted"] == rows["true"]).mean()
    given = ((rows["predicted"] == rows["given"]) & (rows["given"] != rows["true"])).mean()
    return true, given, 1 - true - given


def vicinal_calibration(context: Context) -> Section | None:
    """Figure 2b."""
    if not _ready(context, "memorised", "figure2b"):
        return None
    table = read_data(context.folder / FIGURE_2B)
    if table.empty:
        return _section(
            context, "memorised", "figure2b", "Figure 2b: calibration of vicinal predictions", Markup(""), ()
        )
    text = (
        "Training images by the confidence of their prediction, against their true labels, for networks that memorised "
        "wrong ones: without views, and averaged over views. Bars that end at the dashed line are calibrated, pale "
        f"ones hold fewer than 0.5 % of the images. {ECE} "
    )
    html = _figure(
        context, "memorised", "figure2b", "Figure 2b", text + _paper_sentence(context, "ECE of", "The paper prints")
    )
    html += _small_table(["Condition", "Predictions", "ECE", "ECE, mid-points"], list(_errors(table, False)))
    return _section(context, "memorised", "figure2b", "Figure 2b: calibration of vicinal predictions", html)


def _errors(table: pd.DataFrame, paper: bool, published: dict | None = None) -> Iterator[tuple[str, ...]]:
    for title, part in conditions(table):
        for _, row in part.drop_duplicates(["title"]).iterrows():
            texts = (title, row["title"], f"{row['ece']:.3f}", f"{row['ece_midpoint']:.3f}")
            theirs = (published or {}).get((row["noise"], row["title"]), math.nan)
            yield (*texts, render.DASH if math.isnan(theirs) else f"{theirs:.2f}") if paper else texts


def calibration(context: Context) -> Section | None:
    """Figure 5."""
    if not _ready(context, "calibration", "figure5"):
        return None
    table = read_reliability(context.folder / FIGURE_5)
    if table.empty:
        return _section(context, "calibration", "figure5", "Figure 5: calibration, CE against NRD", Markup(""), ())
    published = {(noise, method): v for (_, noise, method), v in read_published_ece(context.layout).items()}
    text = (
        "Clean test images without views by the confidence of their prediction: cross-entropy that memorised its "
        f"labels (the network of Table 1) against NRD. Pale bars hold fewer than 0.5 % of the images. {ECE} The last "
        "column is what the paper prints for CIFAR-10 at the same rate. " + _worse(published)
    )
    html = _figure(context, "calibration", "figure5", "Figure 5", text)
    heads = ["Condition", "Method", "ECE", "ECE, mid-points", "Paper"]
    html += _small_table(heads, list(_errors(table, True, published)))
    return _section(context, "calibration", "figure5", "Figure 5: calibration, CE against NRD", html)


def _worse(published: dict[tuple[str, str], float]) -> str:
    """Say where the paper's own numbers contradict its text, that NRD always improves calibration."""
    pairs = {
        noise: (published.get((noise, "CE")), value) for (noise, method), value in published.items() if method == "NRD"
    }
    worse = [_noise(noise) for noise, (ce, ours) in pairs.items() if ce is not None and ours > ce]
    return f"In its numbers NRD is the worse one at {', '.join(worse)}; its text says otherwise." if worse else ""


def overfitting(context: Context) -> Section | None:
    """Figure 4, and the gains that the paper's text names."""
    if not _ready(context, "overfitting", "figure4"):
        return None
    table = read_figure_4(context.folder / FIGURE_4)
    if table.empty:
        return _section(context, "overfitting", "figure4", "Figure 4: long training", Markup(""), ())
    epochs = int(table["epoch"].max())
    text = (
        f"Test accuracy over {epochs} epochs at four noise rates; consistency between views of one kind (GJS, dashed) "
        "against NRD. The paper trains for 1000 epochs on CIFAR-100, where GJS at 80 % noise collapses late; the table "
        "has the last and the best epoch of each curve, and the gain at the last."
    )
    html = _figure(context, "overfitting", "figure4", "Figure 4", text)
    methods = list(table["title"].unique())
    heads = ["Noise", *(f"{method}, {when}" for method in methods for when in ("last", "best"))]
    heads += [f"{methods[-1]} − {methods[0]}", "Paper (CIFAR-100)"]
    for _, rows in overfitting_table(table, context.layout):
        html += _small_table(heads, rows)
    return _section(context, "overfitting", "figure4", "Figure 4: long training", html)


def gains(context: Context) -> Section | None:
    """Gains that the paper's text names, where the study has the cells."""
    if not context.existing(correction.GAINS):
        return None
    table = read_csv(context.folder / correction.GAINS, correction.GAINS_TEXT)
    if table.empty:
        return None
    html = fragment("text.html.j2", texts=[correction.GAINS_NOTE])
    html += _small_table(
        correction.GAINS_HEADS, [correction.printed_gain(row, context.titles) for row in table.itertuples()]
    )
    files = context.existing(*(f"gains.{kind}" for kind in ("csv", "md", "tex")))
    return Section("gains", "Gains named in the paper's text", html, files)


def dynamics(context: Context) -> Section | None:
    """Table 6."""
    if not _ready(context, "dynamics", "table6"):
        return None
    table = read_data(context.folder / TABLE_6)
    if table.empty:
        return _section(context, "dynamics", "table6", "Table 6: memorisation in time", Markup(""), ())
    first, run = table.iloc[0], context.study.pictured("dynamics")[0]
    end = table[table["epoch"] == table["epoch"].max()]
    last = end.groupby("policy", sort=False)["mean"].mean()
    text = (
        f"{first['dataset_title']}, {first['noise_title']} (the paper: CIFAR-10, symmetric 40 %); "
        f"{table['sample'].nunique()} mislabeled training images drawn at random among those that the network had "
        "learned as labeled at the end, the same as in Figure 2a. Left: probability of the true class over epochs, "
        f"mean over {run.views.points} views and its standard deviation, for views of the training policy "
        f"({_training_view(context)}, red) and of an unseen one ({run.views.unseen.name}, blue); dotted lines mark "
        "the epochs of the polygons. Predictions start at the true class and, as the label is memorised, those on the "
        "training policy go to it; the paper's point is that those on unseen views do not all follow. Measured at the "
        f"end, mean of these images: {last.get('training', math.nan):.2f} on the training policy, "
        f"{last.get('unseen', math.nan):.2f} on the unseen one."
    )
    html = _figure(context, "dynamics", "table6", "Table 6", text)
    more = (TABLE_6_POINTS, SAMPLES)
    return _section(context, "dynamics", "table6", "Table 6: memorisation in time", html, more=more)


def _ready(context: Context, figure: str, stem: str) -> bool:
    """Whether a study asks for a figure and its files are there."""
    asked = context.study.pictured(figure)
    return bool(asked) and len(context.existing(f"{stem}.csv", f"{stem}.svg", f"{stem}.png")) == 3


def _figure(context: Context, figure: str, stem: str, title: str, text: str) -> Markup:
    image, runs = figure_html(context.folder / stem, title), context.runs(line_keys(context.study.pictured(figure)))
    return fragment("figure.html.j2", image=image, caption=text, left_out={}, wide=True, runs=runs)


def _small_table(heads: list[str], rows: list[tuple[str, ...]]) -> Markup:
    return fragment("small.html.j2", heads=heads, rows=rows)


def _section(
    context: Context,
    figure: str,
    stem: str,
    title: str,
    html: Markup,
    kinds: tuple[str, ...] = (*PICTURES, "csv"),
    more: tuple[str, ...] = (),
) -> Section:
    """Return a section with its files and, above its content, which of its runs are missing."""
    missing = _missing(context).get(figure, {})
    if missing:
        html = fragment("waiting.html.j2", missing=missing) + html
    return Section(stem, title, html, context.existing(*(f"{stem}.{kind}" for kind in kinds), *more))


def _missing(context: Context) -> dict[str, dict[str, str]]:
    try:
        return dict(json.loads((context.folder / NOTES).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
