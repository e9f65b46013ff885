"""Draws the graphs of ``architecture.json``: a picture is a function of that file."""

import json
import textwrap
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from nrd.report.style import COLOURS, INK, empty, plain, save, styled

NOTHING = "No method of this study has a teacher."
SIZE = (8.4, 3.1)  # inches of one diagram
TINTS = {"student": COLOURS[1], "teacher": COLOURS[6]}
RED = COLOURS[2]
ROWS = {"student": 2.15, "teacher": 0.65}
CENTRES = {"input": 0.45, "view": 2.15, "network": 4.55, "prediction": 6.95, "loss": 8.6}
HALVES = {"view": (1.02, 0.5), "network": (1.02, 0.5), "loss": (0.68, 0.55)}  # half widths and heights of boxes
RADIUS = 0.27  # of what is a circle
MIDDLE = (ROWS["student"] + ROWS["teacher"]) / 2
LABEL = (CENTRES["loss"], 2.95)
ASIDE = 0.13  # of a gradient's arrow from the forward one


def draw_architecture(data: Path, stem: Path) -> None:
    """Draw each graph of a file as :func:`nrd.report.architecture.write_architecture` writes it.

    Args:
        data: the file.
        stem: the figure's path without suffix.
    """
    graphs = json.loads(data.read_text(encoding="utf-8"))
    with styled(stem.name):
        save(_figure(graphs) if graphs else empty(NOTHING), stem)


def _figure(graphs: list[dict]) -> Figure:
    columns = 1 if len(graphs) == 1 else 2
    rows = -(-len(graphs) // columns)
    figure = Figure(figsize=(SIZE[0] * columns, (SIZE[1] + 0.3) * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for place, ax in enumerate(axes):
        if place >= len(graphs):
            ax.remove()
            continue
        _diagram(ax, graphs[place])
        if len(graphs) > 1:
            ax.set_title("\n".join(textwrap.wrap(plain(graphs[place]["title"]), 80)))
    return figure


def _diagram(ax: Axes, graph: dict) -> None:
    ax.set(xlim=(0, 9.4), ylim=(-0.25, 3.35), aspect="equal")
    ax.axis("off")
    nodes = {node["id"]: node for node in graph["nodes"]}
    alone = not any(node["role"] == "teacher" for node in graph["nodes"])
    places = {name: _place(node, alone) for name, node in nodes.items()}
    returning = {(edge["target"], edge["source"]) for edge in graph["edges"] if edge["kind"] == "gradient"}
    for node in graph["nodes"]:
        _node(ax, node, places[node["id"]])
    for edge in graph["edges"]:
        # Forward and gradient run side by side.
        aside = ASIDE if (edge["source"], edge["target"]) in returning or edge["kind"] == "gradient" else 0
        _edge(ax, edge, nodes, places, aside)
    _legend(ax, any(edge["kind"] == "stopped" for edge in graph["edges"]))


def _place(node: dict, alone: bool) -> tuple[float, float]:
    if node["kind"] == "label":
        return LABEL
    row = MIDDLE if alone or not node["role"] else ROWS[node["role"]]
    return CENTRES[node["kind"]], row


def _node(ax: Axes, node: dict, place: tuple[float, float]) -> None:
    kind, (x, y) = node["kind"], place
    if kind in ("input", "label", "prediction"):
        symbol = {"input": "$x$", "label": "$y$"}.get(kind) or f"$y_{node['role'][0]}$"
        ax.add_patch(Circle(place, RADIUS, facecolor="none", edgecolor=TINTS.get(node["role"], INK), linewidth=1.3))
        ax.text(x, y, symbol, ha="center", va="center", fontsize=12)
        beside = {"input": (x, y - 0.42, "center"), "label": (x - 0.4, y, "right")}.get(kind, (x, y - 0.42, "center"))
        text = node["text"] + (f" (×{node['count']})" if kind == "prediction" and node["count"] > 1 else "")
        ax.text(*beside[:2], text.strip(), ha=beside[2], va="center", fontsize=7)
        return
    half = HALVES[kind]
    colour = TINTS.get(node["role"], INK)
    style = {"facecolor": (*_rgb(colour), 0.13), "edgecolor": colour, "linewidth": 1.2}
    box = FancyBboxPatch(
        (x - half[0], y - half[1]), 2 * half[0], 2 * half[1], boxstyle="round,pad=0,rounding_size=0.1", **style
    )
    if node["form"] == "frozen":
        box.set_linestyle((0, (4, 2)))
    ax.add_patch(box)
    for back in range(1, min(node["count"], 3)):  # several views: the edges of boxes behind the box
        left, right, bottom, top = x - half[0], x + half[0], y - half[1], y + half[1]
        step, before = 0.07 * back, 0.07 * (back - 1)
        across = [left + step, left + step, right + step, right + step, right + before]
        ax.plot(across, [top + before, *[top + step] * 2, bottom + step, bottom + step], color=colour, linewidth=1)
    head, text = _texts(node)
    ax.text(x, y + (0.24 if text else 0), head, ha="center", va="center", fontsize=9)
    ax.text(x, y - 0.16, text, ha="center", va="center", fontsize=6.8, linespacing=1.15)


def _texts(node: dict) -> tuple[str, str]:
    """Return a box's name and what stands below it."""
    if node["kind"] == "loss":
        return f"$L({node['form']})$", plain(node["text"])
    weights = "θ" if node["form"] in ("student", "self") else "φ"
    times = f" ×{node['count']}" if node["count"] > 1 else ""
    if node["kind"] == "view":
        return f"{node['role']} augmentation{times}", "\n".join(textwrap.wrap(plain(node["text"]), 31)[:3])
    return f"{node['role']} $f(\\cdot, {weights})$", "\n".join(textwrap.wrap(plain(node["text"]), 31)[:3])


def _rgb(colour: str) -> tuple[float, float, float]:
    return tuple(int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))


def _reach(node: dict) -> tuple[float, float]:
    return HALVES.get(node["kind"], (RADIUS, RADIUS))


def _edge(ax: Axes, edge: dict, nodes: dict, places: dict, aside: float) -> None:
    kind = edge["kind"]
    source, target = nodes[edge["source"]], nodes[edge["target"]]
    start, end = places[edge["source"]], places[edge["target"]]
    if kind in ("average", "shared"):
        _weights(ax, start, end, kind)
        return
    if kind == "gradient":
        aside = -aside
    (x0, y0), (x1, y1) = _ends(start, end, _reach(source), _reach(target), aside)
    style = {"arrowstyle": "-|>", "mutation_scale": 10, "shrinkA": 1, "shrinkB": 1, "linewidth": 1.3}
    red = {"color": RED, "linestyle": (0, (4, 1.5))}
    ax.add_patch(FancyArrowPatch((x0, y0), (x1, y1), **style, **(red if kind == "gradient" else {"color": INK})))
    if kind == "stopped":
        x, y = (x0 + x1) / 2 - 0.06, (y0 + y1) / 2
        for step in (0, 0.09):
            ax.plot([x + step, x + step + 0.08], [y - 0.17, y + 0.17], color=RED, linewidth=1.6)
        ax.text(x + 0.07, y + 0.3, "stop-gradient", color=RED, ha="center", va="center", fontsize=7)


def _ends(start: tuple, end: tuple, first: tuple, second: tuple, aside: float) -> tuple[tuple, tuple]:
    """Return where an arrow starts and ends: at the sides that face each other."""
    if abs(start[0] - end[0]) < 0.01:  # one above the other
        down = -1 if end[1] < start[1] else 1
        return (start[0], start[1] + down * first[1]), (end[0], end[1] - down * second[1])
    right = 1 if end[0] > start[0] else -1
    # What comes from above or below meets a tall box nearer to that side.
    enter = _towards(end, start, second)
    leave = _towards(start, end, first)
    return (start[0] + right * first[0], leave + aside), (end[0] - right * second[0], enter + aside)


def _towards(own: tuple, other: tuple, half: tuple) -> float:
    gap = other[1] - own[1]
    return own[1] + max(-0.5 * half[1], min(0.5 * half[1], gap))


def _weights(ax: Axes, start: tuple, end: tuple, kind: str) -> None:
    """The line from the student's weights to the teacher's."""
    top, bottom = (start[0], start[1] - HALVES["network"][1]), (end[0], end[1] + HALVES["network"][1])
    style = {"arrowstyle": "-|>" if kind == "average" else "-", "mutation_scale": 10, "linewidth": 1.3, "color": INK}
    ax.add_patch(FancyArrowPatch(top, bottom, linestyle=(0, (1, 1.5)), shrinkA=1, shrinkB=1, **style))
    text = r"EMA: $\varphi \leftarrow \beta\varphi + (1-\beta)\theta$" if kind == "average" else "same weights"
    ax.text(top[0] + 0.1, (top[1] + bottom[1]) / 2, text, ha="left", va="center", fontsize=7.5)


def _legend(ax: Axes, stopped: bool) -> None:
    y = -0.17
    entries = [("forward", {"color": INK}), ("gradient", {"color": RED, "linestyle": (0, (4, 1.5))})]
    for place, (text, style) in enumerate(entries):
        x = 0.2 + 1.45 * place
        arrow = {"arrowstyle": "-|>", "mutation_scale": 9, "linewidth": 1.3}
        ax.add_patch(FancyArrowPatch((x, y), (x + 0.5, y), **arrow, **style))
        ax.text(x + 0.58, y, text, ha="left", va="center", fontsize=7)
    if stopped:
        ax.text(3.1, y, "no gradient passes a red bar", ha="left", va="center", fontsize=7)
