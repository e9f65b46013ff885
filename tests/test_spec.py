"""A run's name: pinned, independent of spelling, moved by what changes results and by nothing else."""

import hashlib
import json
import subprocess
import sys

import pytest

from nrd.spec import RunOptions, RunSpec, SpecError, parse

# A name here may only change together with the semantics number of what changed results.
PINNED = [
    "digits.sym40.ce.s1-1b73b3dd",
    "digits.sym40.nrd.s1-4c02f01d",
    "digits.sym40.ce.s1-f93f242b",
    "digits.sym40.gjs.s2-ba6353fd",
    "digits.sym40.nrd.s3-d467b5eb",
    "digits.sym60.gjs.s1-bba74d53",
    "digits.sym60.nrd.s2-71ce0e10",
    "cifar10.sym20.ce.s4-106adfc2",
    "cifar10.sym40.bs.s2-f16a6fa4",
    "cifar10.sym60.bs.s5-42c001f6",
    "cifar10.sym80.ls.s3-80df319c",
    "cifar10.asym20.sce.s1-5a1350a9",
    "cifar10.asym40.sce.s4-fbf0b585",
    "cifar100.sym20.gce.s2-2e13c965",
    "cifar100.sym40.gce.s5-8b207413",
    "cifar100.sym60.nce-rce.s3-60d2d981",
    "cifar100.sym80.js.s1-77684195",
    "cifar100.asym20.js.s4-23fbb586",
    "cifar100.asym40.gjs.s2-a8b20091",
    "cifar10.clean.gjs.s5-a3cda74f",
    "cifar10-5k.sym60.nrd.s2-2d67872c",
    "cifar10.worst.js.s1-2b8b97d1",
    "cifar100.sym40.nrd.s3-c5ec7b98",
    "cifar10.asym40.gjs.s1-f092c973",
]


@pytest.fixture(scope="module")
def study_project(repository):
    from nrd.study import Project

    return Project(repository)


def test_twenty_names_are_pinned(study_project):
    names = {name for study in study_project.studies for name in study_project.study(study).specs}
    assert len(set(PINNED)) >= 20
    assert set(PINNED) <= names


def test_hash_is_that_of_the_canonical_json(study_project):
    spec = next(iter(study_project.study("demo").specs.values()))
    content = json.loads(spec.canonical)
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert spec.name.endswith("-" + hashlib.sha256(text.encode()).hexdigest()[:8])
    assert spec.name.startswith("digits.sym40.ce.s1-")


def test_spec_survives_its_yaml(study_project, tmp_path):
    for study in ("tiny", "demo", "paper"):
        for spec in list(study_project.study(study).specs.values())[::7]:
            path = tmp_path / "spec.yaml"
            path.write_text(spec.to_yaml())
            assert RunSpec.from_yaml(path).name == spec.name


def test_defaults_are_left_out_and_values_are_typed(study_project):
    spec = next(iter(study_project.study("demo").specs.values()))
    content = spec.model_dump(mode="json")
    content["optimization"]["momentum"] = 0.9
    content["precision"] = "float32"
    rate = content["optimization"]["learning_rate"]
    content["optimization"]["learning_rate"] = f"{100 * rate:.10g}e-2"  # YAML 1.1 reads 5e-2 as text
    assert RunSpec.model_validate(content).name == spec.name


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (("seed",), 4),
        (("validation",), 0.1),
        (("precision",), "bfloat16"),
        (("semantics",), 2),
        (("optimization", "momentum"), 0.8),
        (("optimization", "nesterov"), False),
        (("optimization", "schedule", "gamma"), 0.2),
        (("dataset", "checksum"), "0" * 64),
        (("noise", "rate"), 0.41),
        (("noise", "semantics"), 2),
        (("method", "semantics"), 2),
        (("method", "views", "student", "semantics"), 2),
        (("network", "options"), {"widths": [8, 8], "blocks": [1, 1]}),
        (("snapshots",), [3]),
    ],
)
def test_what_changes_the_result_changes_the_hash(study_project, key, value):
    spec = next(iter(study_project.study("demo").specs.values()))
    content = spec.model_dump(mode="json")
    place = content
    for part in key[:-1]:
        place = place[part]
    assert place[key[-1]] != value
    place[key[-1]] = value
    assert RunSpec.model_validate(content).name.split("-")[-1] != spec.name.split("-")[-1]


def test_a_copy_with_another_value_has_another_name(study_project):
    spec = next(iter(study_project.study("demo").specs.values()))
    assert spec.name != spec.model_copy(update={"validation": 0.3}).name
    assert spec.name == spec.model_copy().name


def test_options_are_no_part_of_a_spec():
    assert not set(RunOptions.model_fields) & set(RunSpec.model_fields)


def test_specs_need_no_torch(repository):
    code = "import sys; from nrd.study import Project; Project().study('paper'); print('torch' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed: 1\nseed: 2\n", "given twice"),
        ("[1, 2]\n", "expected a mapping"),
        ("a: [1\n", "not valid YAML"),
        ("a: !!python/object/apply:os.system [true]\n", "not valid YAML"),
        ("1: 2\n", "text keys"),
        ("{a: 1, [b]: 2}\n", "not valid YAML"),
    ],
)
def test_files_that_are_no_specs_are_refused_by_name(tmp_path, text, expected):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=expected) as error:
        RunSpec.from_yaml(path)
    assert str(path) in str(error.value)


def test_an_unknown_key_names_those_allowed(study_project, tmp_path):
    content = next(iter(study_project.study("demo").specs.values())).model_dump(mode="json")
    content["optimization"]["lr"] = 0.1
    with pytest.raises(SpecError) as error:
        parse(RunSpec, content, tmp_path / "x.yaml")
    assert "optimization.lr: unknown key; allowed: epochs, batch_size, learning_rate" in str(error.value)
