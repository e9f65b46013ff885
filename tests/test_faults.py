"""The first round of faults: every stage meets every kind. ``make faults`` injects hundreds more (tests/faults)."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock

from tests.faults.__main__ import build_reference
from tests.faults.plan import first_round, plan
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
    if verdict["verdict"] == "skipped":
        pytest.skip(verdict["note"])
    assert verdict["verdict"] in ("right", "refused"), f"{verdict['note']}: {verdict['problems']}"


def test_a_plan_can_be_repeated():
    assert plan(3, 200)[:100] == plan(3, 100)
    assert [fault.dice.random() for fault in plan(3, 90)] == [fault.dice.random() for fault in plan(3, 90)]
    assert plan(3, 90) != plan(4, 90)
    assert {(fault.place, fault.kind) for fault in FAULTS} == set(first_round())


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
