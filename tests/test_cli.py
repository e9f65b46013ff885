"""The command as a person types it."""

import re
import subprocess
import sys

import pytest
import yaml

from tests.conftest import make_project


@pytest.fixture
def root(tmp_path):
    make_project(tmp_path)
    return tmp_path


def test_the_chain_by_hand(root, nrd):
    nrd("data", "digits")
    labels = nrd("labels", "--study", "tiny").stdout
    assert labels.count("% of 1297 labels are wrong") == 2
    runs = nrd("runs", "tiny").stdout
    assert "tiny: 4 runs (main 4); 4 missing" in runs
    name = runs.split()[0]
    assert str(nrd("train", name, "--no-track").stdout).strip() == f"results/runs/{name}"
    assert "trained, not evaluated" in nrd("runs", "tiny").stdout
    assert "test accuracy" in nrd("evaluate", name).stdout
    assert "1 done, 3 missing" in nrd("runs", "tiny", "--summary").stdout
    refused = nrd("report", "tiny", check=False)
    assert refused.returncode == 1
    assert "3 of 4 runs of tiny are not finished" in refused.stderr and len(refused.stderr.splitlines()) == 1
    nrd("report", "tiny", "--partial")
    page = (root / "results/reports/tiny/index.html").read_text()
    assert name in page
    spec = nrd("runs", "show", name).stdout
    (root / "mine.yaml").write_text(spec)
    assert nrd("train", "mine.yaml", "--no-track").stdout.strip() == f"results/runs/{name}"


def test_the_counts_of_tables_add_up(root, nrd):
    assert "paper: 643 runs (noisy 540, clean 90, memorised 4, long 8, calibrated 3; less 2 that tables share); " in (
        nrd("runs", "paper", "--summary").stdout
    )
    for study in ("demo", "demo-full", "search", "variants", "tiny"):
        total, parts = re.search(r": (\d+) runs \((.*)\);", nrd("runs", study, "--summary").stdout).groups()
        numbers = [int(n) * (-1 if less else 1) for less, n in re.findall(r"(less )?\b(\d+)\b", parts)]
        assert sum(numbers) == int(total), (study, parts)


def test_earlier_rounds_that_no_table_shows_are_counted_apart(root, nrd):
    study = yaml.safe_load((root / "params/studies/tiny.yaml").read_text())
    study["name"], study["grid"][0]["methods"] = "rounds", ["nrd"]
    study["settings"]["teacher"] = {"kind": "frozen", "rounds": 3}
    (root / "params/studies/rounds.yaml").write_text(yaml.safe_dump(study))
    assert "rounds: 6 runs (main 2; and 4 earlier rounds); 6 missing" in nrd("runs", "rounds").stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "nope"], "error: no run 'nope' in"),
        (["train"], "error: nothing to train"),
        (["train", "missing.yaml"], "error: missing.yaml: there is no such file"),
        (["evaluate"], "error: nothing to evaluate"),
        (["data", "mnist"], "error: there is no dataset 'mnist'"),
        (["labels", "digits.sym99.s1"], "error: no run of any study uses labels 'digits.sym99.s1'"),
        (["labels", "digits.sym40.s1"], "digits.safetensors: there is no such file; `nrd data digits` prepares it"),
        (["report", "nope"], "error: there is no study 'nope'"),
        (["report", "tiny", "--part", "page"], "error: "),
        (["runs", "nope"], "error: there is no study 'nope'"),
        (["hyperparameters", "--dataset", "cifar10", "--noise", "salt"], "error: --noise: there is no noise 'salt'"),
    ],
)
def test_mistakes_are_one_line_without_traceback(root, nrd, arguments, expected):
    process = nrd(*arguments, check=False)
    assert process.returncode == 1
    assert expected in process.stderr
    assert len(process.stderr.strip().splitlines()) == 1, process.stderr


def test_outside_a_project_the_message_says_so(tmp_path, nrd):
    process = nrd("runs", "demo", check=False)
    assert process.returncode == 1
    assert "run from the project's root" in process.stderr


def test_hyperparameters_come_with_their_source(root, nrd):
    output = nrd("hyperparameters", "--dataset", "cifar10", "--noise", "sym40").stdout
    assert "pi [0.2, 0.6, 0.2]" in output
    assert output.count("NRD paper, Table 5") == 9


def test_help_reads_well_and_starts_without_torch(root):
    code = "import sys; sys.argv = ['nrd', '--help']; from nrd.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    code += "print('torch' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    for command in ("data", "labels", "train", "evaluate", "report", "runs", "estimate", "hyperparameters"):
        assert f"  {command} " in process.stdout
    assert process.stdout.rstrip().endswith("False")


def test_a_read_only_results_folder_is_told_in_one_line(root, nrd):
    nrd("data", "digits")
    nrd("labels", "--study", "tiny")
    (root / "results").write_text("a file where the folder should be")
    process = nrd("train", "--study", "tiny", "--no-track", check=False)
    assert process.returncode == 1
    assert len([line for line in process.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert "Traceback" not in process.stderr
    assert list((root / "scratch").iterdir())
