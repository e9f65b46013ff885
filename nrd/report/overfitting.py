"""The paper's Figure 4: test accuracy over a long training, GJS against NRD, at several noise rates."""

import math
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nrd.evaluation.run_metrics import read_history
from nrd.layout import Layout
from nrd.report.analyses import TEXT, conditions, described
from nrd.report.published import read_printed, signed
from nrd.report.render import DASH, number
from nrd.report.results import read_csv, read_state, write_csv
from nrd.report.style import COLOURS, DASHES, empty, plain, save, styled
from nrd.report.titles import Titles
from nrd.spec import SpecError
from nrd.study import Study

FIGURE_4 = "figure4.csv"
SIZE = (7.6, 3.7)  # inches
NOTHING = "No run of a long training is there yet."


def write_figure_4(folder: Path, study: Study, layout: Layout, titles: Titles) -> dict[str, str]:
    """Write ``figure4.csv``; return the reason for each run that it lacks.

    One row per dataset, noise, method and epoch with a test accuracy: titles, ``rate`` (nominal), ``n`` seeds, and
    the mean over them of ``test_accuracy`` (a share).
    """
    frames, reasons = [], {}
    for run in study.pictured("overfitting"):
        state = read_state(run.spec.name, layout)
        if state.status != "done":
            reasons[run.spec.name] = state.reason
            continue
        try:
            history = pd.DataFrame(read_history(layout.run(run.spec.name) / "history.csv"))
        except SpecError as error:
            reasons[run.spec.name] = " ".join(str(error).split())
            continue
        keys = (run.table, run.spec.dataset.name, run.spec.noise.slug, run.variant or "", run.spec.method.name)
        named = dict(zip(("table", "dataset", "noise", "variant", "method"), keys, strict=True))
        kept = history.reindex(columns=["epoch", "test_accuracy"]).dropna().astype({"epoch": int})
        frames.append(kept.assign(**described(named, titles), rate=run.spec.noise.rate))
    columns = [*TEXT, "rate", "epoch", "n", "test_accuracy"]
    table = pd.DataFrame(columns=columns)
    if frames:
        groups = pd.concat(frames).groupby([*TEXT, "rate", "epoch"], sort=False)["test_accuracy"]
        table = groups.agg(n="size", test_accuracy="mean").reset_index()[columns]
    write_csv(folder / FIGURE_4, table, float_format="%.6g")
    return reasons


def read_figure_4(path: Path) -> pd.DataFrame:
    """Read ``figure4.csv`` back."""
    return read_csv(path, TEXT)


def draw_figure_4(data: Path, stem: Path) -> None:
    """Draw one line per noise and method: a colour per noise, dashes per method.

    Args:
        data: a file as :func:`write_figure_4` writes it.
        stem: the figure's path without suffix.
    """
    table = read_figure_4(data)
    with styled(stem.name):
        if table.empty:
            save(empty(NOTHING), stem)
            return
        figure = Figure(figsize=SIZE, layout="constrained")
        ax = figure.subplots()
        noises, methods = list(table["noise_title"].unique()), list(table["title"].unique())
        # The last method, NRD, is drawn through; blue and green stay apart from orange and purple for every reader.
        dashes = dict(zip(reversed(methods), DASHES, strict=False))
        colours = dict(zip(noises, COLOURS[1:], strict=False))
        several = table["dataset"].nunique() > 1
        for (dataset, noise, method), line in table.groupby(["dataset_title", "noise_title", "title"], sort=False):
            label = plain(f"{method}, {noise}" + (f", {dataset}" if several else ""))
            style = {"color": colours.get(noise, COLOURS[0]), "linestyle": dashes.get(method, DASHES[-1])}
            ax.plot(line["epoch"], 100 * line["test_accuracy"], label=label, **style)
        ax.set(xlabel="epoch", ylabel="test accuracy (%)", xlim=(0, table["epoch"].max()))
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        figure.legend(loc="outside right upper", fontsize=8.2)
        save(figure, stem)


def overfitting_table(
    table: pd.DataFrame, layout: Layout
) -> tuple[tuple[str, ...], list[tuple[str, ...]], pd.DataFrame]:
    """Return what stands beside the figure: heads, rows of each dataset and noise, and their numbers.

    Last and best accuracy of each method, in per cent, and the gain: the last method's last accuracy minus the first's,
    in points, beside the one that the paper's text names for the same noise.
    """
    paper = {row.noise: row for row in read_printed(layout, "accuracy gain after").itertuples()}
    methods = list(table["method"].unique())
    titles = [table.loc[table["method"] == method, "title"].iloc[0] for method in methods]
    rows, numbers = [], []
    for title, part in conditions(table):
        own = {key: part[key].iloc[0] for key in ("dataset", "noise")}
        texts = [title]
        for method in methods:
            line = 100 * part.loc[part["method"] == method, "test_accuracy"]
            last, best = (line.iloc[-1], line.max()) if len(line) else (math.nan, math.nan)
            own |= {f"{method}_last_percent": last, f"{method}_best_percent": best}
            texts += [number(last), number(best)]
        ends = [own[f"{method}_last_percent"] for method in (methods[-1], methods[0])]
        own["gain_points"] = ends[0] - ends[1] if len(methods) > 1 else math.nan
        theirs = paper.get(own["noise"])
        own["published_gain_points"] = theirs.value if theirs else math.nan
        texts += [signed(own["gain_points"]), f"{theirs.value:+.0f}" if theirs else DASH]
        rows.append(tuple(texts))
        numbers.append(own)
    heads = ["Condition", *(f"{title}, {when}" for title in titles for when in ("last", "best"))]
    gain = f"{titles[-1]} − {titles[0]}" if titles else "Gain"
    columns = ["dataset", "noise", *(f"{m}_{kind}_percent" for m in methods for kind in ("last", "best"))]
    columns += ["gain_points", "published_gain_points"]
    return (*heads, gain, "Paper (CIFAR-100)"), rows, pd.DataFrame(numbers, columns=columns)
