"""The rooms: nothing imports upward, files stay readable, the project speaks of itself alone."""

import ast
import re
import subprocess
import sys
import tomllib

import pytest
import yaml

from tests.conftest import cannot_run, optional_module

# From low to high. A module may import from its own floor's left and from any floor below.
FLOORS = [
    [
        "nrd.randomness",
        "nrd.files",
        "nrd.gpus",
        "nrd.layout",
        "nrd.catalogue",
        "nrd.spec",
        "nrd.checksums",
        "nrd.configs",
        "nrd.resolve",
        "nrd.ledger",
        "nrd.rounds",
        "nrd.study",
        "nrd.schemas",
        "nrd.metrics",
        "nrd.losses",
        "nrd.label_noise",
        "nrd.augment",
        "nrd.models",
    ],
    ["nrd.data", "nrd.methods"],
    ["nrd.evaluation", "nrd.training", "nrd.benchmark", "nrd.analysis"],
    ["nrd.merge", "nrd.report", "nrd.summary"],
    ["nrd.runs_cli", "nrd.commands", "nrd.cli"],
]
RANK = {name: (floor, place) for floor, names in enumerate(FLOORS) for place, name in enumerate(names)}


def room(module):
    return ".".join(module.split(".")[:2])


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" if node.module == "nrd" else node.module for alias in node.names)


def modules(repository):
    return sorted((repository / "nrd").rglob("*.py"))


def test_nothing_imports_upward(repository):
    for path in modules(repository):
        own = room(".".join(path.relative_to(repository).with_suffix("").parts))
        if own in ("nrd.__init__", "nrd.__main__"):
            continue
        assert own in RANK, f"{own} has no floor: give it one"
        for name in imports(path):
            if name.startswith("nrd.") and room(name) not in (own, "nrd.__version__"):
                assert RANK[room(name)] < RANK[own], f"{path.name} ({own}) imports {name}"


def test_the_library_does_not_know_the_workflow(repository):
    for path in modules(repository):
        assert not {name.split(".")[0] for name in imports(path)} & {"snakemake", "dvc"}, path


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        ("nrd.losses", {"torchvision", "pandas", "mlflow", "sklearn", "matplotlib", "nrd.spec"}),
        ("nrd.augment", {"torchvision", "PIL", "pandas", "mlflow", "nrd.spec"}),
        ("nrd.label_noise", {"torch", "torchvision", "pandas", "scipy", "nrd.spec"}),
        ("nrd.study", {"torch", "pandas", "numpy"}),
        ("nrd.cli", {"torch", "pandas", "numpy", "mlflow"}),
        ("nrd.training.loop", {"torchvision", "pandas", "mlflow", "sklearn", "matplotlib", "scipy"}),
        ("nrd.evaluation.run_metrics", {"torch", "pandas", "mlflow"}),
        ("nrd.analysis", {"torchvision", "pandas", "mlflow", "sklearn", "matplotlib", "scipy"}),
        ("nrd.report.memorised", {"torch", "mlflow", "sklearn", "scipy"}),
    ],
)
def test_heavy_imports_stay_where_they_are_used(module, banned):
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & {banned!r}))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.split() == []


def test_files_are_one_subject_long(repository):
    for path in modules(repository):
        assert len(path.read_text().splitlines()) <= 400, path


def test_environment_yml_agrees_with_the_project(repository):
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((repository / "environment.yml").read_text())
    assert environment["name"] == project["name"]
    assert f"python {project['requires-python']}" in environment["dependencies"]
    pip = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    assert "-r requirements.lock" in pip


def test_the_lock_holds_every_dependency_with_hashes_and_no_host(repository):
    lock = (repository / "requirements.lock").read_text()
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    locked = {re.split(r"[=\s\[]", line)[0].lower() for line in lock.splitlines() if re.match(r"[a-zA-Z0-9]", line)}
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    assert {re.split(r"[>=\[]", name)[0].lower() for name in wanted} <= locked
    assert "://" not in lock
    assert lock.count("--hash=sha256:") >= len(locked)


@pytest.mark.parametrize(("value", "outcome"), [("1", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_what_was_installed_for_the_tests_may_not_be_skipped(monkeypatch, value, outcome):
    monkeypatch.setenv("NRD_TESTS_MUST_RUN", value)
    with pytest.raises(outcome, match="no PostgreSQL"):
        cannot_run("no PostgreSQL")
    with pytest.raises(ImportError if value else pytest.skip.Exception):
        optional_module("no_such_module", "not installed")
