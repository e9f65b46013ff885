"""The paper's Figure 3: which views, networks and gradients a method has, as its own class and settings declare them.

:func:`write_architecture` asks the methods of a study that have a teacher and writes a graph for each different
answer; :mod:`nrd.report.diagram` draws it.
"""

import itertools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from nrd.catalogue import VIEWS
from nrd.files import write_text
from nrd.layout import Layout
from nrd.report.titles import Titles
from nrd.spec import MethodSpec, TeacherSpec, ViewSpec
from nrd.study import Study

if TYPE_CHECKING:
    from nrd.methods.base import Method

ARCHITECTURE = "architecture.json"
STUDENT, TEACHER = "student", "teacher"


def write_architecture(study: Study, layout: Layout, titles: Titles) -> Path:
    """Write ``architecture.json``: a list of graphs, empty where no method of the study has a teacher.

    A graph has ``title`` (the first line of the study that it stands for) and ``lines`` (all of them); ``nodes`` with
    ``id``, ``kind`` (input, view, network, prediction, label, loss), ``role``, ``text``, ``count`` and ``form`` (of a
    network: student, ema, self or frozen; of the loss: what it compares); ``edges`` with ``source``, ``target`` and
    ``kind``: forward, stopped (forward only: no gradient comes back), gradient, average (of weights) or shared (the
    same weights).
    """
    graphs: dict[str, dict] = {}
    for run in study.runs:
        method = run.spec.method
        if method.teacher is not None:
            graph = declared_graph(method, layout.root)
            # Lines that differ in the kind of a view or in a number only share one drawing.
            shape = [[node["id"], node["count"], node.get("form")] for node in graph["nodes"]]
            key = json.dumps([method.name, shape, graph["edges"]])
            title = titles.row(run.table, method.name, run.variant or "")
            found = graphs.setdefault(key, {"title": title, "lines": [], **graph})
            if title not in found["lines"]:
                found["lines"].append(title)
    path = layout.report(study.config.name) / ARCHITECTURE
    write_text(path, json.dumps(list(graphs.values()), indent=1, ensure_ascii=False) + "\n")
    return path


def declared_graph(spec: MethodSpec, root: Path = Path()) -> dict[str, list[dict]]:
    """Return the nodes and edges of a method, from its class built with the spec's settings.

    Args:
        spec: a method; one without a teacher has the student's branch alone.
        root: where method files of the project's own are.
    """
    from nrd.methods.registry import create_method  # with torch, which only a method itself needs

    method = create_method(spec, root)
    counts, teacher = method.view_counts, spec.teacher if TEACHER in method.view_counts else None
    nodes = [_node("x", "input", text="image"), *_branch(STUDENT, counts[STUDENT], spec.views[STUDENT])]
    edges = [*_path(STUDENT), *_back(STUDENT), _edge("label", "loss", "forward")]
    if teacher is not None:
        nodes += _branch(TEACHER, counts[TEACHER], spec.views[TEACHER], teacher)
        stopped = method.stop_gradient or teacher.kind != "self"
        edges += _path(TEACHER, stopped) if stopped else [*_path(TEACHER), *_back(TEACHER)]
        relation = {"ema": "average", "self": "shared"}.get(teacher.kind)
        edges += [_edge(f"{STUDENT} network", f"{TEACHER} network", relation)] if relation else []
    nodes += [_node("label", "label", text="given label"), _loss(method, teacher is not None)]
    return {"nodes": nodes, "edges": edges}


def _branch(role: str, count: int, view: ViewSpec, teacher: TeacherSpec | None = None) -> list[dict]:
    summary = VIEWS[view.name].summary.split(":")[0]
    options = dict(view.options)
    if options.get("flip") is False:  # the summary must not promise what the option takes away
        summary = re.sub(r", (horizontal )?flip\b", "", summary)
        options.pop("flip")
    if options:
        summary += f" ({', '.join(f'{key} {value}' for key, value in options.items())})"
    network = {"text": "trained by the gradient", "form": "student"} if teacher is None else _teacher(teacher)
    return [
        _node(f"{role} view", "view", role, f"{view.name}: {summary}", count),
        _node(f"{role} network", "network", role, **network),
        _node(f"{role} prediction", "prediction", role, "mean of its views" if _averages(role, count) else "", count),
    ]


def _averages(role: str, count: int) -> bool:
    """A teacher's views are averaged, a student's are compared one by one."""
    return role == TEACHER and count > 1


def _teacher(spec: TeacherSpec) -> dict[str, str]:
    text = {
        "ema": f"moving average, β = {spec.decay:g}",
        "self": "the student itself",
        "frozen": "a finished run's student",
    }[spec.kind]
    statistics = "" if spec.kind == "frozen" or spec.batch_norm == "train" else ", running BatchNorm statistics"
    return {"text": text + statistics, "form": spec.kind}


def _loss(method: "Method", taught: bool) -> dict:
    """What is compared, and the class that compares it; a method without a loss of its own goes by its own name."""
    name = type(getattr(method, "loss", method)).__name__
    return _node("loss", "loss", text=name, form="y, y_s, y_t" if taught else "y, y_s")


def _node(name: str, kind: str, role: str = "", text: str = "", count: int = 1, form: str = "") -> dict:
    return {"id": name, "kind": kind, "role": role, "text": text, "count": count, "form": form}


def _edge(source: str, target: str, kind: str) -> dict:
    return {"source": source, "target": target, "kind": kind}


def _path(role: str, stopped: bool = False) -> list[dict]:
    steps = ["x", f"{role} view", f"{role} network", f"{role} prediction", "loss"]
    kinds = ["forward", "forward", "stopped" if stopped else "forward", "forward"]
    return [_edge(*pair, kind) for pair, kind in zip(itertools.pairwise(steps), kinds, strict=True)]


def _back(role: str) -> list[dict]:
    """The way of the gradient, from the loss to the weights."""
    steps = ["loss", f"{role} prediction", f"{role} network"]
    return [_edge(*pair, "gradient") for pair in itertools.pairwise(steps)]
