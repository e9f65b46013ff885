"""A tenth method is one Python file and one YAML file: nothing else is edited, and it trains through the command."""

import re

import pytest
import yaml

from nrd.evaluation.run_metrics import evaluate_run
from nrd.ledger import ledger_rows
from nrd.methods.registry import create_method
from nrd.spec import MethodSpec, SpecError, ViewSpec
from nrd.study import Project
from tests.conftest import prepare_run

PYTHON = '''
"""Cross-entropy that leaves out the half of a batch with the largest losses."""

import torch
from torch.nn.functional import cross_entropy

from nrd.methods.base import Method


class SmallLoss(Method):
    def __init__(self, share: float, **common):
        super().__init__(**common)
        self.share = share

    def setup(self, networks, num_samples, num_classes):
        super().setup(networks, num_samples, num_classes)
        self.register_buffer("seen", torch.zeros(num_samples))

    def step(self, ctx, batch):
        logits = self.networks[0](batch.views["student"][0])
        losses = cross_entropy(logits, batch.targets, reduction="none")
        self.seen[batch.indices] += 1
        kept = losses.sort().values[: int(self.share * len(losses))]
        return {"loss": kept.mean(), "logits": logits, "largest_kept": kept[-1].detach()}
'''

METHOD = """
name: small-loss
title: Small loss
implementation: my_methods/small_loss.py:SmallLoss
source: "this test"
hyperparameters:
  share: {type: float, help: "kept share of a batch", minimum: 0, maximum: 1}
views: {student: crop}
ledger:
  digits:
    default: {learning_rate: 0.05, weight_decay: 1e-4, share: 0.5, source: "this test"}
"""


def test_a_tenth_method_takes_one_python_and_one_yaml_file(project, nrd):
    root = project.layout.root
    (root / "my_methods").mkdir()
    (root / "my_methods" / "small_loss.py").write_text(PYTHON)
    (root / "params" / "methods" / "small-loss.yaml").write_text(METHOD)
    study = yaml.safe_load((root / "params" / "studies" / "tiny.yaml").read_text())
    study["name"], study["grid"][0]["methods"], study["grid"][0]["seeds"] = "mine", ["small-loss"], [1]
    (root / "params" / "studies" / "mine.yaml").write_text(yaml.safe_dump(study))

    fresh = Project(root)
    ((name, spec),) = fresh.study("mine").specs.items()
    assert ("Small loss", "0.05", "0.0001", "share 0.5", "this test") in ledger_rows(
        fresh.datasets, fresh.methods, "digits", "sym40"
    )
    prepare_run(fresh, spec)
    nrd("train", "--study", "mine", "--device", "cpu")
    assert 0 < evaluate_run(name, fresh.layout)["test_accuracy_last"] < 1
    assert "largest_kept" in (fresh.layout.run(name) / "history.csv").read_text().splitlines()[0]


def test_the_readmes_method_trains(project, nrd, repository):
    """What the README prints, put where it says, and one epoch on digits."""
    root = project.layout.root
    readme = (repository / "README.md").read_text()
    section = readme.split("## Add a method")[1].split("\n## ")[0]
    for text in re.findall(r"^```(?:python|yaml)\n(.*?)^```$", section, re.DOTALL | re.MULTILINE):
        (root / text.splitlines()[0].removeprefix("# ")).write_text(text)
    study = yaml.safe_load((root / "params" / "studies" / "tiny.yaml").read_text())
    study["name"], study["grid"][0]["methods"], study["grid"][0]["seeds"] = "own", ["mine"], [1]
    study["settings"]["epochs"] = 1
    (root / "params" / "studies" / "own.yaml").write_text(yaml.safe_dump(study))
    fresh = Project(root)
    ((name, spec),) = fresh.study("own").specs.items()
    assert spec.method.hyperparameters == {"q": 0.5} and spec.optimization.learning_rate == 0.05
    prepare_run(fresh, spec)
    nrd("train", "--study", "own", "--device", "cpu", "--no-track")
    assert 0 < evaluate_run(name, fresh.layout)["test_accuracy_last"] < 1


def test_a_methods_file_that_cannot_be_used_is_refused_in_one_line(project):
    root = project.layout.root
    (root / "mine.py").write_text(PYTHON)
    (root / "broken.py").write_text("import no_such_module\n")
    views = {"student": ViewSpec(name="crop")}

    def create(implementation, **content):
        return create_method(MethodSpec(name="mine", implementation=implementation, views=views, **content), root)

    assert create("mine.py:SmallLoss", hyperparameters={"share": 0.5}).share == 0.5
    (root / "typo.py").write_text("class SmallLoss(:\n")
    for implementation, content, message in (
        ("missing.py:SmallLoss", {}, "cannot be loaded"),
        ("mine.py:LargeLoss", {}, "cannot be loaded .*LargeLoss"),
        ("broken.py:SmallLoss", {}, "cannot be loaded .*no_such_module"),
        ("typo.py:SmallLoss", {}, "cannot be loaded .*invalid syntax"),
        ("mine.py:torch", {}, "is not a subclass of nrd.methods.base.Method"),
        ("mine.py:SmallLoss", {}, "method mine: .*missing 1 required"),
        ("mine.py:SmallLoss", {"hyperparameters": {"share": 1.0, "shape": 1}}, "method mine: .*unexpected keyword"),
    ):
        with pytest.raises(SpecError, match=message):
            create(implementation, **content)
