"""The first round of faults: every stage meets every kind. ``make faults`` injects hundreds more (tests/faults)."""

import json
import os
import platform
import random
import shutil
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock

from tests.conftest import cannot_run
from tests.faults.__main__ import REPOSITORY, build_reference, write
from tests.faults.damage import MISSHAPE, apply, choose
from tests.faults.plan import first_round, plan
from tests.faults.project import Reference
from tests.faults.server import Server, work_folder

SEED = 1
FAULTS = plan(SEED, len(first_round()))


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """The undisturbed project: made once, also where several processes run the tests."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    with FileLock(shared / "faults.lock"):
        folder = shared / "faults" / "reference"
        if not folder.exists():
            folder.parent.mkdir()
            build_reference(folder)
    return folder


@pytest.fixture(scope="session")
def servers(reference):
    """The fork servers, without and with a clock that can be set."""
    started = {}

    def server(clock):
        if clock not in started:
            started[clock] = Server(reference, clock)
        return started[clock]

    yield server
    for one in started.values():
        one.close()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_no_result_is_lost_or_altered(fault, servers):
    verdict = servers(fault.kind == "clock set back" and fault.place != "workflow").inject(fault)
    if verdict["verdict"] == "skipped":  # mounts may be forbidden; a library can be installed
        (cannot_run if "libfaketime" in verdict["note"] else pytest.skip)(verdict["note"])
    assert verdict["verdict"] in ("right", "refused"), f"{verdict['note']}: {verdict['problems']}"


def test_a_plan_can_be_repeated():
    assert plan(3, 200)[:100] == plan(3, 100)
    assert [fault.dice.random() for fault in plan(3, 90)] == [fault.dice.random() for fault in plan(3, 90)]
    assert plan(3, 90) != plan(4, 90)
    assert {(fault.place, fault.kind) for fault in FAULTS} == set(first_round())


def test_the_summary_that_is_committed_names_no_machine(tmp_path):
    problem = (
        "the command fails: error: /dev/shm/nrd-fault-a1b2/project/results/runs/x/spec.yaml: is damaged\n"
        f'  File "{REPOSITORY}/tests/faults/server.py", line 99\n  Host: {platform.node()}'
    )
    verdict = {"place": "spec", "kind": "truncated", "verdict": "failed", "note": "", "problems": [problem]}
    others = [f"{REPOSITORY}/nrd/cli.py and /opt/python/lib/python3/site.py failed", ""]
    summary = {"failures": [verdict, verdict | {"problems": others, "note": "results/runs/x: 3 of 5 bytes"}]}
    write(tmp_path, summary)
    text = (tmp_path / "faults.json").read_text()
    one, other = json.loads(text)["failures"]
    assert one["problems"] == ["the command fails: error: results/runs/x/spec.yaml: is damaged"]
    assert other["problems"] == ["nrd/cli.py and site.py failed", ""]
    assert other["note"] == "results/runs/x: 3 of 5 bytes"
    assert not {"again_after_mending"} & json.loads(text).keys()


@pytest.mark.parametrize("target", sorted(MISSHAPE))
def test_every_damage_changes_its_file(reference, tmp_path, target):
    known = Reference(reference)
    for number in range(12):
        dice = random.Random(number)
        found = choose(target, known, dice)
        root = tmp_path / str(number)
        for file in {found.path, *(found.path.parent / name for name in ("spec.yaml", "sums.json"))}:
            if (source := reference / found.start / file).is_file():
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, root / file)
        before = (root / found.path).read_bytes()
        apply("wrong shape", target, root, found, dice)
        assert (root / found.path).read_bytes() != before


def test_an_altered_result_is_found(reference):
    """The judge must see what it is there for: one digit of one table, one byte of one history."""
    from tests.faults import damage, project

    with tempfile.TemporaryDirectory(dir=work_folder()) as folder:
        root = Path(folder) / "project"
        known = project.Reference(reference)
        shutil.copytree(known.done, root)
        assert not damage.wrong_numbers(known, root)
        assert not project.differences(known.done, root, "train", known.names)
        table = root / damage.REPORT / "accuracy.csv"
        text = table.read_text()
        place = next(i for i, c in enumerate(text) if c.isdigit() and text[i - 1] == ".")
        table.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])
        assert damage.wrong_numbers(known, root)
        history = root / "results/runs" / known.names[0] / "history.csv"
        history.write_bytes(history.read_bytes()[:-2] + b"0\n")
        assert project.differences(known.done, root, "train", known.names)
        (root / "results/runs" / known.names[0] / ".spec.yaml.1.tmp").touch()
        assert project.leftovers(root)
