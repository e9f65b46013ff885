"""The command as a person types it."""

import subprocess
import sys

import pytest

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
