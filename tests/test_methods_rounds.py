"""Iterative rounds (equation 23): a finished student is the frozen teacher of the next run, named by its content."""

import re

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from nrd.spec import RunOptions, RunSpec, SpecError
from nrd.study import Project
from nrd.training.estimate import cost_key
from nrd.training.loop import Trainer, train
from tests.conftest import prepare_run


def write_study(project, name="rounds", rounds=3, variants=(), **teacher):
    """A study of NRD on digits in rounds, otherwise the tiny one."""
    content = yaml.safe_load((project.layout.params / "studies" / "tiny.yaml").read_text())
    content["name"] = name
    content["settings"]["teacher"] = {"kind": "frozen", "rounds": rounds, **teacher}
    content["grid"][0].update(methods=["nrd"], seeds=[1, 2])
    (project.layout.params / "studies" / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return Project(project.layout.root).study(name)


def chain(study, seed=1):
    return [spec for spec in study.specs.values() if spec.seed == seed]


def test_each_round_names_the_one_before(project):
    study = write_study(project)
    assert len(study.runs) == 2 and len(study.specs) == 6
    for seed in (1, 2):
        first, second, third = chain(study, seed)
        assert first.requires == () and first.method.teacher.kind == "ema"
        assert second.requires == (first.name,) == (second.method.teacher.checkpoint,)
        assert third.requires == (second.name,)
        assert first.name in project.study("tiny").specs, "the first round is the method itself: a shared run"
        assert {run.spec.name for run in study.runs if run.spec.seed == seed} == {third.name}
        for spec in (second, third):
            bare = spec.method.model_copy(update={"teacher": first.method.teacher})
            assert spec.model_copy(update={"method": bare}).name == first.name, "rounds differ in the teacher alone"
    names = list(study.specs)
    assert all(names.index(before) < names.index(name) for name in names for before in study.specs[name].requires)
    assert set(study.earlier) == {spec.name for seed in (1, 2) for spec in chain(study, seed)[:2]}


def test_a_rounds_name_stands_for_all_rounds_before(project, tmp_path):
    plain, slow, selfish = (
        write_study(project, "plain"),
        write_study(project, "slow", decay=0.999),
        write_study(project, "selfish", first="self"),
    )
    for other in (slow, selfish):
        assert not set(plain.specs) & set(other.specs)
    assert chain(slow)[0].method.teacher.decay == 0.999
    assert chain(selfish)[0].method.teacher.kind == "self"
    assert set(write_study(project, "two", rounds=2).specs) < set(plain.specs)
    path = tmp_path / "spec.yaml"
    path.write_text(chain(plain)[2].to_yaml())
    assert RunSpec.from_yaml(path).requires == chain(plain)[2].requires


@pytest.mark.parametrize(
    ("teacher", "expected"),
    [
        ({"rounds": 1}, "rounds: a frozen teacher is a finished round, so at least 2, got 1"),
        ({"rounds": "two"}, "rounds: expected a whole number, got 'two'"),
        ({"first": "frozen"}, "first: the first round's teacher is of kind ema or self"),
        ({"checkpoint": "x"}, "checkpoint: follows from `rounds`"),
        ({"kind": "ema"}, "rounds: goes with `kind: frozen` only"),
        ({"speed": 1}, "speed: unknown key; allowed: kind, decay"),
        ({"decay": 3}, "decay: .*less than or equal to 1"),
    ],
)
def test_refusals(project, teacher, expected):
    with pytest.raises(SpecError, match=rf"rounds.yaml: grid.0.settings.teacher: {expected}"):
        write_study(project, **teacher)


def test_a_frozen_teacher_belongs_in_a_study_not_in_a_methods_file(project):
    path = project.layout.params / "methods" / "nrd.yaml"
    frozen = "teacher: {kind: frozen, checkpoint: a, batch_norm: eval}"
    path.write_text(path.read_text().replace("teacher: {kind: ema, decay: 0.99}", frozen))
    with pytest.raises(SpecError, match=r"nrd.yaml: .*a frozen teacher is asked for in a study, with `rounds`"):
        Project(project.layout.root).methods  # noqa: B018


def student_of(project, spec):
    tensors = load_file(project.layout.run(spec.name) / "model.safetensors")
    # Cloned: what is read is mapped to the file, which is damaged later.
    return {key.removeprefix("student."): value.clone() for key, value in tensors.items() if "student." in key}


def test_a_finished_student_is_the_next_rounds_teacher(project):
    study = write_study(project)
    first, second, third = chain(study)
    prepare_run(project, first)
    options = RunOptions(tracking=False)
    path = project.layout.run(first.name) / "model.safetensors"
    with pytest.raises(SpecError, match=rf"{path}: there is no such file; .*: train {first.name} first"):
        train(second, project.layout, options)
    train(first, project.layout, options)
    expected = student_of(project, first)
    trainer = Trainer(second, project.layout, options)
    for _ in range(2):  # before and after training
        teacher = trainer.method.teacher.network.state_dict()
        assert set(teacher) == set(expected) and not trainer.method.teacher.network.training
        assert all(torch.equal(teacher[key], value) for key, value in expected.items())
        if not project.layout.is_trained(second.name):
            trainer.run()
    kept = load_file(project.layout.run(second.name) / "model.safetensors")
    assert {key.split(".")[0] for key in kept} == {"student"}
    assert not all(torch.equal(value, expected[key]) for key, value in student_of(project, second).items())
    assert cost_key(second) == cost_key(third) != cost_key(first)
    damage_and_refuse(project, path, first, second, expected, options)


def damage_and_refuse(project, path, first, second, tensors, options):
    """Weights that are damaged, another run's, or another network's are refused by name."""
    import shutil

    content = path.read_bytes()
    shutil.rmtree(project.layout.run(second.name))
    prefixed = {f"student.{key}": value for key, value in tensors.items()}
    key = next(key for key in prefixed if key.endswith("weight"))

    def refused(expected):
        with pytest.raises(SpecError, match=f"{path}: {expected}") as error:
            train(second, project.layout, options)
        assert "\n" not in str(error.value)

    path.write_bytes(content[: len(content) // 2])
    refused("is damaged")
    save_file(prefixed, path, metadata={"run": first.name})
    refused("is damaged .its SHA-256 is not the one in sums.json")
    (path.parent / "sums.json").unlink()  # as of a run that is older than checksums
    path.write_bytes(content[: len(content) // 2])
    refused("is damaged")
    save_file(prefixed, path, metadata={"run": "another"})
    refused(f"holds the weights of another, not of {re.escape(first.name)}")
    save_file({**prefixed, key: torch.zeros(3)}, path, metadata={"run": first.name})
    refused("does not fit network preact_resnet .*size mismatch")
    del prefixed[key]
    save_file(prefixed, path, metadata={"run": first.name})
    refused("does not fit network preact_resnet .*[Mm]issing key")
