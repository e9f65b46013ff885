"""Figure 3: the graph is what the method declares, and what it declares is what its gradients do."""

import itertools
import json

import pytest
import torch
from torch import nn

from nrd.methods.base import Batch
from nrd.methods.registry import create_method
from nrd.report.architecture import declared_graph, write_architecture
from nrd.report.diagram import draw_architecture
from nrd.report.titles import read_titles


@pytest.fixture
def declared(project):
    """Graphs of the paper's readings, by variant."""
    runs = {run.variant: run.spec for run in project.study("variants").runs if run.table == "nrd"}
    return {name: (spec.method, declared_graph(spec.method)) for name, spec in runs.items()}


def kinds(graph, kind):
    return {(edge["source"], edge["target"]) for edge in graph["edges"] if edge["kind"] == kind}


def node(graph, name):
    return next(node for node in graph["nodes"] if node["id"] == name)


BACK = {
    role: {("loss", f"{role} prediction"), (f"{role} prediction", f"{role} network")} for role in ("student", "teacher")
}


def test_nrd_is_the_papers_figure_3(declared):
    _, graph = declared["default"]
    for role in ("student", "teacher"):
        path = ["x", f"{role} view", f"{role} network", f"{role} prediction", "loss"]
        steps = set(itertools.pairwise(path))
        assert steps <= kinds(graph, "forward") | kinds(graph, "stopped")
    assert ("label", "loss") in kinds(graph, "forward")
    assert kinds(graph, "stopped") == {("teacher network", "teacher prediction")}
    assert kinds(graph, "gradient") == BACK["student"]
    assert kinds(graph, "average") == {("student network", "teacher network")}
    assert node(graph, "student view")["text"].startswith("gjs: RandAugment")
    assert node(graph, "teacher view")["text"].startswith("augmix: AugMix")
    assert "β = 0.99" in node(graph, "teacher network")["text"]


def test_variants_declare_what_they_change(declared):
    graphs = {name: graph for name, (_, graph) in declared.items()}
    assert kinds(graphs["no-stop-gradient"], "gradient") == BACK["student"] | BACK["teacher"]
    assert not kinds(graphs["no-stop-gradient"], "stopped")
    assert kinds(graphs["self"], "gradient") == BACK["student"]
    assert kinds(graphs["self"], "shared") == {("student network", "teacher network")}
    assert not kinds(graphs["round2"], "average") | kinds(graphs["round2"], "shared")
    assert node(graphs["round2"], "teacher network")["form"] == "frozen"
    assert node(graphs["two-views"], "student view")["count"] == 2
    assert node(graphs["teacher-views4"], "teacher view")["count"] == 4
    assert "running BatchNorm" in node(graphs["bn-eval"], "teacher network")["text"]
    assert node(graphs["ner"], "teacher view")["text"] == node(graphs["ner"], "student view")["text"]


class Noting(nn.Module):
    """A network that keeps its predictions, to ask them for their gradients."""

    def __init__(self):
        super().__init__()
        self.layer, self.seen = nn.Linear(12, 3), []

    def forward(self, images):
        logits = self.layer(images.flatten(1))
        if logits.requires_grad:
            logits.retain_grad()
        self.seen.append(logits)
        return logits


@pytest.mark.parametrize("variant", ["default", "self", "no-stop-gradient", "two-views", "teacher-views2", "round2"])
def test_red_arrows_are_where_gradients_flow(declared, variant):
    spec, graph = declared[variant]
    method, student = create_method(spec), Noting()
    method.setup([student], 4, 3, Noting() if spec.teacher.kind == "frozen" else None)
    counts = method.view_counts
    views = {role: [torch.randn(4, 3, 2, 2) for _ in range(count)] for role, count in counts.items()}
    method.step(None, Batch(views, torch.tensor([0, 1, 2, 0]), torch.arange(4)))["loss"].backward()
    teacher = method.teacher.network or student
    taught = (teacher.seen if teacher is not student else student.seen[counts["student"] :])[-counts["teacher"] :]
    flows = {
        "student": all(logits.grad is not None for logits in student.seen[: counts["student"]]),
        "teacher": any(logits.grad is not None and logits.grad.abs().sum() > 0 for logits in taught),
    }
    drawn = {role: ("loss", f"{role} prediction") in kinds(graph, "gradient") for role in flows}
    assert drawn == flows


def test_lines_of_one_structure_share_a_drawing(project):
    study, layout = project.study("variants"), project.layout
    path = write_architecture(study, layout, read_titles(study, layout))
    graphs = json.loads(path.read_text())
    titles = [graph["title"] for graph in graphs]
    assert titles[0] == "NRD (as in the paper study)"
    assert "NRD (β = 0.9)" in graphs[0]["lines"] and "NRD (β = 0.9)" not in titles
    assert sum(len(graph["lines"]) for graph in graphs) == len(
        {(run.table, run.variant) for run in study.runs if run.spec.method.name == "nrd"}
    )
    draw_architecture(path, layout.root / "drawn")
    svg = (layout.root / "drawn.svg").read_text()
    for title in titles:
        assert title in svg
    draw_architecture(path, layout.root / "again" / "drawn")
    assert (layout.root / "again" / "drawn.svg").read_text() == svg


def test_a_study_without_a_teacher_has_no_figure_3(project):
    spec = project.study("tiny").runs[0].spec.method
    assert spec.teacher is None
    graph = declared_graph(spec)
    assert {edge["kind"] for edge in graph["edges"]} == {"forward", "gradient"}
    assert not [found for found in graph["nodes"] if found["role"] == "teacher"]
