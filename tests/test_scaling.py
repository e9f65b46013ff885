"""The script behind docs/scaling.md runs, and ten thousand runs resolve to ten thousand names."""

import json
import subprocess
import sys


def test_ten_thousand_runs_have_as_many_names(repository, tmp_path):
    script, output = repository / "workflow/scripts/scaling.py", tmp_path / "resolve.json"
    command = [sys.executable, script, "resolve", "--runs", "200", "10000", "--output", output]
    process = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert process.returncode == 0, process.stderr  # the script itself counts the names
    content = json.loads(output.read_text())
    assert [(row["what"], row["runs"]) for row in content["rows"]] == [("resolve", 200), ("resolve", 10_000)]
    assert all(row["cpu_seconds"] > 0 and row["peak_memory_mib"] > 0 for row in content["rows"])
    assert "host" not in content["machine"]


def test_a_number_of_runs_that_fits_no_grid_is_refused(repository, tmp_path):
    command = [sys.executable, repository / "workflow/scripts/scaling.py", "resolve", "--runs", "150"]
    process = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert process.returncode == 1 and process.stderr == "error: 150 runs: not a multiple of 200\n"
