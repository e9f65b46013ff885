"""Ranges of hyper-parameters: what a loss refuses is refused when a study is resolved, and nothing else is."""

import itertools

import pytest
import yaml

from nrd.methods.registry import load_class
from nrd.resolve import check_hyperparameters
from nrd.spec import SpecError
from nrd.study import Project

FRACTIONS = [-0.1, 0, 1e-9, 0.3, 1 - 1e-9, 1, 1.1]
WEIGHTS = [-1, 0, 0.5, 20]
PIS = [
    *([a, b, c] for a, b, c in itertools.product([-0.2, 0, 0.4, 0.6, 1], repeat=3)),
    *([0.2, 0.3, 0.3, 0.2], [0, 0.5, 0.5, 0], [0.5, 0, 0.5, 0], [0.5, 0.5, 0, 0], [0.4, 0.3, 0.3, 0], [0.5, 0.5], []),
]
VALUES = {
    "ce": {},
    "bs": {"beta": FRACTIONS},
    "ls": {"epsilon": FRACTIONS},
    "gce": {"q": FRACTIONS},
    "js": {"pi1": FRACTIONS, "scale": [True, False]},
    "gjs": {"pi1": FRACTIONS, "scale": [True, False], "num_views": [0, 1, 3]},
    "sce": {"alpha": WEIGHTS, "beta": WEIGHTS},
    "nce-rce": {"alpha": WEIGHTS, "beta": WEIGHTS},
    "nrd": {"pi": PIS, "scale": [True, False], "kl_weights": ["pi", "uniform", "one"], "student_views": [1, 2]},
}


@pytest.mark.parametrize("name", VALUES)
def test_resolution_refuses_exactly_what_the_loss_refuses(repository, name):
    method = Project(repository).methods[name]
    build, wrong, refused = load_class(method.implementation), [], 0
    for values in itertools.product(*VALUES[name].values()):
        given = dict(zip(VALUES[name], values, strict=True))
        outcomes = []
        for call in (lambda g=given: check_hyperparameters(method, g, "here"), lambda g=given: build(**g)):
            try:
                call()
                outcomes.append("")
            except ValueError as error:  # a SpecError is one
                outcomes.append(str(error))
        refused += bool(outcomes[0])
        if bool(outcomes[0]) != bool(outcomes[1]):
            wrong.append((given, outcomes))
        assert not outcomes[0] or (outcomes[0].startswith(f"here: {name}") and "\n" not in outcomes[0])
    assert not wrong
    assert refused or name == "ce"


def test_every_method_is_tried_here(repository):
    assert set(VALUES) == set(Project(repository).methods)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("gce", {"q": 0}, r"gce.q: 0.0 is outside \(0, 1\]"),
        ("bs", {"beta": 1}, r"bs.beta: 1.0 is outside \[0, 1\)"),
        ("js", {"pi1": 1}, r"js.pi1: 1.0 is outside \(0, 1\)"),
        ("sce", {"alpha": -1, "beta": 1}, r"sce.alpha: -1.0 is outside \[0, ∞\)"),
        ("sce", {"alpha": 0, "beta": 0}, "sce: alpha 0, beta 0: one of the weights must be positive"),
        ("nrd", {"pi": [0.5, 0, 0.5]}, "nrd: pi.1 0: the student's weight must be positive"),
        ("nrd", {"pi": [0, 0.5, 0.5]}, "nrd: pi.0 0, scale True: .* give scale: false"),
        ("nrd", {"pi": [0.2, 0.3, 0.3, 0.2]}, "nrd.pi: student_views 1 needs 3 numbers, got .0.2, 0.3"),
    ],
)
def test_a_refusal_says_what_is_allowed(repository, name, given, message):
    with pytest.raises(SpecError, match=f"^here: {message}"):
        check_hyperparameters(Project(repository).methods[name], given, "here")


def test_a_refusal_of_values_together_names_the_file_that_has_them(project):
    path = project.layout.params / "studies" / "tiny.yaml"
    content = yaml.safe_load(path.read_text())
    for own, message in (
        ({"pi": [0.5, 0.0, 0.5]}, "nrd: pi.1 0: the student's weight"),
        ({"student_views": 2}, "nrd.pi: student_views 2 needs 4 numbers"),
    ):
        content["settings"]["hyperparameters"] = {"nrd": own}
        path.write_text(yaml.safe_dump(content))
        with pytest.raises(SpecError, match=rf"studies/tiny.yaml: grid.0: settings.hyperparameters: {message}"):
            Project(project.layout.root).study("tiny")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"hyperparameters": {"q": {"type": "float", "help": "", "minimum": 0, "above": 0}}},
            "minimum or above, not both",
        ),
        (
            {"hyperparameters": {"q": {"type": "float", "help": "", "maximum": 1, "below": 1}}},
            "maximum or below, not both",
        ),
        ({"hyperparameters": {"q": {"type": "float", "help": "", "total": 1}}}, "total, length: are for lists"),
        ({"hyperparameters": {"q": {"type": "floats", "help": "", "length": {"of": "n"}}}}, "q.length.of: no .* 'n'"),
        ({"hyperparameters": {"q": {"type": "floats", "help": "", "length": {"of": "q"}}}}, "q is no whole number"),
        ({"refuse": [{"when": {"p": 0}, "because": "of it"}]}, "refuse.0.when: no hyper-parameter 'p'; allowed: q"),
        ({"refuse": [{"when": {}, "because": "of it"}]}, "refuse.0.when: .*at least 1"),
    ],
)
def test_rules_that_make_no_sense_are_refused(project, change, message):
    path = project.layout.params / "methods" / "gce.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | change))
    with pytest.raises(SpecError, match=rf"methods/gce.yaml: .*{message}"):
        _ = Project(project.layout.root).methods
