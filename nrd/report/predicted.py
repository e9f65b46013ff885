"""Sections of the page about what finished runs predict."""

import math

import pandas as pd

from nrd.report import analyses, people, render
from nrd.report.confusion import CLASSES, CONFUSION, MAX_CLASSES, read_classes
from nrd.report.context import Context, Section, figure_html, fragment
from nrd.report.reliability import RELIABILITY, read_reliability
from nrd.report.results import read_csv


def reliability(context: Context) -> Section | None:
    """How far confidence and accuracy are apart."""
    if not context.existing(RELIABILITY, "reliability.svg", "reliability.png"):
        return None
    table = read_reliability(context.folder / RELIABILITY)
    if table.empty:
        return None
    heads = ["Method", "Seeds", "ECE", "ECE, mid-points", "Published"]
    groups = [(title, [_errors(line) for line in _firsts(part)]) for title, part in analyses.conditions(table)]
    if table["published_ece"].isna().all():
        heads, groups = heads[:-1], [(title, [row[:-1] for row in rows]) for title, rows in groups]
    text = (
        "Test images without views, by the confidence of their prediction (10 bins). Bars pool the images of all "
        "finished seeds; pale bars hold fewer than 0.5 % of them. ECE, as a share: mean gap between accuracy and mean "
        "confidence in 15 bins, as usually defined; mid-point: in 10 bins and to the bin's middle, as in a working "
        "code of two of the paper's authors. Both are means over seeds of each network's own error. "
        "The paper does not say which definition its numbers follow."
    )
    html = _with_figure(context, "reliability", "Reliability diagrams", text)
    html += fragment("groups.html.j2", summary="Calibration errors of all methods", heads=heads, groups=groups)
    return Section(
        "reliability", "Calibration", html, context.existing("reliability.svg", "reliability.png", RELIABILITY)
    )


def _errors(line: pd.Series) -> list[str]:
    errors = [line["ece"], line["ece_midpoint"]]
    return [line["title"], str(line["n"]), *(f"{error:.3f}" for error in errors), _or_dash(line["published_ece"], 2)]


def _firsts(part: pd.DataFrame) -> list[pd.Series]:
    """Return the first row of each line: what is the same in all of them."""
    return [row for _, row in part.drop_duplicates(["variant", "method"]).iterrows()]


def _or_dash(value: float, digits: int) -> str:
    return render.DASH if math.isnan(value) else f"{value:.{digits}f}"


def _with_figure(context: Context, stem: str, title: str, text: str) -> str:
    image = figure_html(context.folder / stem, title)
    return fragment("figure.html.j2", image=image, caption=text, left_out={}, wide=True)


def confusion(context: Context) -> Section | None:
    """What becomes of mislabeled images of each class."""
    if not context.existing(CONFUSION, "confusion.svg", "confusion.png"):
        return None
    table = read_classes(context.folder / CONFUSION)
    if table.empty:
        return None
    small = table.groupby("dataset", sort=False)["class"].transform("max") < MAX_CLASSES
    if not small.any():
        html = fragment("text.html.j2", texts=[_too_many(table)])
        return Section("confusion", "Learned confusion", html, context.existing(CONFUSION))
    text = (
        "Mislabeled training images by true class (rows): which labels they were given, and what networks predict of "
        "them, plain and after the last epoch; all finished seeds pooled. A network that memorises repeats the given "
        f"labels; one that resists predicts the diagonal. {_too_many(table[~small])}"
    )
    html = _with_figure(context, "confusion", "Learned confusion", text)
    return Section(
        "confusion", "Learned confusion", html, context.existing("confusion.svg", "confusion.png", CONFUSION)
    )


def _too_many(table: pd.DataFrame) -> str:
    titles = list(dict.fromkeys(table["dataset_title"]))
    return f"Not drawn, for they have too many classes: {', '.join(titles)}; the data file has them." if titles else ""


def classes(context: Context) -> Section | None:
    """Accuracy of each class."""
    if not context.existing(CLASSES):
        return None
    table = read_classes(context.folder / CLASSES)
    if table.empty:
        return None
    parts = [_class_table(title, part, context) for title, part in analyses.conditions(table)]
    text = (
        "Test accuracy of each class in per cent, mean over finished seeds, above it the measured share of the "
        "class's training images that are mislabeled. Datasets of many classes: worst, median and best class."
    )
    html = fragment("classes.html.j2", caption=text, parts=parts)
    return Section("classes", "Accuracy per class", html, context.existing(CLASSES))


def _class_table(title: str, part: pd.DataFrame, context: Context) -> dict:
    number = int(part["class"].max()) + 1
    names = context.titles.classes.get(part["dataset"].iloc[0], ())
    lines = [(rows["title"].iloc[0], rows) for _, rows in part.groupby(["variant", "method"], sort=False)]
    if number > MAX_CLASSES:
        heads, values = ["Worst", "Median", "Best"], _extremes
    else:
        heads, values = (list(names) if len(names) == number else [str(n) for n in range(number)]), list
    # Noise files are shared by methods, but not all methods may have finished the same seeds.
    rows = [("mislabeled", values(lines[0][1]["noise_rate"]))]
    rows += [(name, values(rows_of["test_accuracy"])) for name, rows_of in lines]
    return {"title": title, "heads": heads, "rows": [(name, [f"{100 * v:.1f}" for v in found]) for name, found in rows]}


def _extremes(values: pd.Series) -> list[float]:
    return [values.min(), values.median(), values.max()]


def people_section(context: Context) -> Section | None:
    """Predicted probabilities against people's answers."""
    if not context.existing(people.PEOPLE):
        return None
    table = read_csv(context.folder / people.PEOPLE, analyses.TEXT)
    if table.empty:
        return None
    text = (
        "CIFAR-10H asked about 50 people for the class of each test image of CIFAR-10. Cross-entropy of their answers "
        f"and the prediction in nats: lower is better, and none is below people's own entropy, "
        f"{table['people_entropy'].iloc[0]:.3f}. Correlation: Spearman's, of the entropies of prediction and answers "
        "over images: whether a network doubts where people do. Mean ± sample standard deviation over seeds."
    )
    heads = ["Method", "Seeds", "Cross-entropy", "Correlation of entropies"]
    groups = [(title, [_people(row) for row in part.itertuples()]) for title, part in analyses.conditions(table)]
    html = fragment("text.html.j2", texts=[text])
    html += fragment("groups.html.j2", summary=f"{len(table)} rows", heads=heads, groups=groups)
    return Section("people", people.NAME, html, context.existing(people.PEOPLE))


def _people(row: object) -> list[str]:
    pairs = [(getattr(row, f"{key}_mean"), getattr(row, f"{key}_std")) for key in people.MEASURES]
    texts = [_or_dash(mean, 3) + ("" if math.isnan(std) else f" ± {std:.3f}") for mean, std in pairs]
    return [row.title, str(row.n), *texts]


def absent(context: Context) -> Section | None:
    """What the page does not show, and why."""
    reasons, left_out = (analyses.read_notes(context.folder, key) for key in ("absent", "left_out"))
    if not reasons and not left_out:
        return None
    html = fragment("absent.html.j2", reasons=reasons, left_out=left_out)
    return Section("absent", "Not on this page", html)
