"""Malformed settings and label files: each is refused in one line that names the file, before anything is trained.

More than two thousand inputs, made from the project's own files by breaking them. What happens to remain valid is not
counted, but must not break later either: the run is built, only not trained.
"""

import collections
import contextlib
import copy
import io
import math
import shutil
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typer.main import get_command

from nrd import cli
from nrd import study as study_module
from nrd.spec import read_yaml
from nrd.study import Project
from nrd.training import loop
from tests.conftest import REPOSITORY, prepare_run

PROBE = {
    "name": "probe",
    "title": "Probe",
    "description": "One run of each method on digits.",
    "settings": {
        "network": {"name": "preact_resnet", "widths": [8, 16], "blocks": [1, 1]},
        "epochs": 2,
        "batch_size": 64,
        "schedule": {"name": "step", "milestones": [1], "gamma": 0.5},
        "validation": 0.2,
        "snapshots": [1],
        "views": {"student": {"name": "gjs", "cutout": 2, "padding": 1}},
        "hyperparameters": {"nrd": {"pi": [0.2, 0.6, 0.2]}},
        "teacher": {"decay": 0.9},
    },
    "grid": [
        {
            "datasets": ["digits"],
            "noises": ["sym40", {"kind": "sym", "rate": 0.25}],
            "methods": ["nrd", "bs", "ce", "gce", "gjs", "js", "ls", "nce-rce", "sce"],
            "seeds": [1],
            "variants": [{"name": "a", "title": "A", "settings": {"momentum": 0.8}}],
        }
    ],
}
# Settings may be right, and ask for data that were not prepared here.
NOT_MADE = ("`nrd labels` writes it", "`nrd data digits` prepares it")
STUDIES = ("probe", "tiny", "demo", "pocket")
QUICK = settings(
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A project with the real files, a study of all methods, and the data that its runs need."""
    root = tmp_path_factory.mktemp("bad") / "project"
    shutil.copytree(REPOSITORY / "params", root / "params")
    for path in (root / "params/studies").glob("*.yaml"):
        if path.stem not in STUDIES:
            path.unlink()
    (root / "params/studies/probe.yaml").write_text(yaml.safe_dump(PROBE, sort_keys=False))
    project = Project(root)
    for spec in project.study("probe").specs.values():
        prepare_run(project, spec)
    return root


@pytest.fixture(autouse=True)
def nothing_is_trained(monkeypatch):
    """Runs are built as ever; where training would begin, they end. Files that did not change are not parsed again."""
    monkeypatch.setattr(loop.Trainer, "run", lambda trainer: None)

    @cache
    def parsed(path, content):
        return read_yaml(path)

    monkeypatch.setattr(cli, "app", get_command(cli.app))  # made once, not for every call
    monkeypatch.setattr(study_module, "read_yaml", lambda path: parsed(path, path.read_bytes()))


def call(root, *arguments):
    """Run the command in this process; return its exit status and what it said."""
    said, argv = io.StringIO(), sys.argv
    sys.argv = ["nrd", *arguments, "--root", str(root)]
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            cli.main()
    except SystemExit as end:
        return end.code or 0, said.getvalue()
    finally:
        sys.argv = argv
    return 0, said.getvalue()


def refused(root, path, content, commands):
    """Put a broken file in place and run the commands until one refuses; return whether one did, properly."""
    kept = path.read_bytes()
    path.write_bytes(content)
    try:
        for arguments in commands:
            status, said = call(root, *arguments)
            if status:
                lines = said.splitlines()
                if any(text in said for text in NOT_MADE):
                    return False
                assert status in (1, 2), said
                assert [line.startswith("error: ") for line in lines].count(True) == 1, said
                assert lines[0].startswith("error: "), said
                assert "Traceback" not in said
                assert len(said) < 20_000, "too long to read"
                assert all(path.name in line or path.stem in line for line in lines), said
                return True
        return False
    finally:
        path.write_bytes(kept)
        assert not (root / "results").exists(), "something was written"


class Tally:
    """Counts what was refused, and keeps every problem: one bad input must not hide the next."""

    def __init__(self):
        self.refused = self.valid = 0
        self.problems = collections.defaultdict(list)

    def add(self, what, root, path, content, commands):
        try:
            if refused(root, path, content, commands):
                self.refused += 1
            else:
                self.valid += 1
        except Exception as error:
            self.problems[f"{type(error).__name__}: {error}"[:300]].append(what)

    def check(self, least):
        print(f"{self.refused} refused, {self.valid} valid all the same")
        assert not self.problems, "\n".join(f"{len(at)}x {text}" for text, at in self.problems.items())
        assert self.refused >= least


def commands(root, path):
    """What reads a file: a study's list of runs, then one of these runs, up to where training would begin."""
    study = path.stem if path.parent.name == "studies" else "probe"
    yield ["runs", study, "--summary"]
    specs = Project(root).study(study).specs.values()
    spec = next((spec for spec in specs if spec.method.name == path.stem), next(iter(specs)))
    yield ["train", spec.name, "--study", study, "--no-track", "--device", "cpu"]


# Settings: broken as content


FILES = [
    *("studies/probe.yaml", "studies/tiny.yaml", "studies/demo.yaml"),
    *(f"methods/{name}.yaml" for name in ("nrd", "ce", "gjs", "nce-rce", "bs", "sce")),
    "datasets/digits.yaml",
]
VALUES = st.sampled_from(
    [
        *(None, True, False, -1, 0, 1, 2**31, 10**30, -(10**400), 0.5, -0.5, 1e308, math.nan, math.inf, -math.inf),
        *("", " ", "x", "x" * 5000, "0", "-1", "1e-3", "nan", "../..", "/etc/passwd", "a/b", "ünïcödé", "a\nb", "\x07"),
        *([], [[]], [None], [1, "a"], [-1], [0], [math.nan], ["x", "x"], {}, {"name": None}, {"a": {"b": 1}}, {1: 2}),
    ]
)


def places(content, at=()):
    """Yield the path of every key and element."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*at, key)
        yield from places(value, (*at, key))


@st.composite
def broken_content(draw):
    file = draw(st.sampled_from(FILES))
    content = copy.deepcopy(content_of(file))
    for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
        found = list(places(content))
        if not found:
            break
        break_one(draw, content, draw(st.sampled_from(found)))
    return file, yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True).encode()


def break_one(draw, content, place):
    *way, key = place
    owner = content
    for step in way:
        owner = owner[step]
    how = draw(
        st.sampled_from(["value", "value", "value", "delete", "rename", "listed", "nested", "unlisted", "added"])
    )
    if how == "delete":
        del owner[key]
    elif how == "rename" and isinstance(owner, dict):
        owner[draw(st.sampled_from([f"{key}s", str(key).upper(), "ключ", 7, True, ""]))] = owner.pop(key)
    elif how == "listed":
        owner[key] = [owner[key]]
    elif how == "nested":
        owner[key] = {str(key): owner[key]}
    elif how == "unlisted" and isinstance(owner[key], list):
        owner[key] = owner[key][0] if owner[key] else "x"
    elif how == "added" and isinstance(owner[key], dict):
        owner[key][draw(st.sampled_from(["x", "name", "seed", "options"]))] = copy.deepcopy(draw(VALUES))
    else:
        owner[key] = copy.deepcopy(draw(VALUES))


@cache
def text_of(file):
    return yaml.safe_dump(PROBE, sort_keys=False) if "probe" in file else (REPOSITORY / "params" / file).read_text()


@cache
def content_of(file):
    return yaml.safe_load(text_of(file))


def test_broken_settings_are_refused(root):
    tally = Tally()

    @given(broken_content())
    @settings(QUICK, max_examples=1700)
    def check(broken):
        file, content = broken
        path = root / "params" / file
        tally.add(file, root, path, content, commands(root, path))

    check()
    tally.check(1390)


# Settings: broken as text


BOMB = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (c, c, b", ".join([b"*%c" % (c - 1)] * 9)) for c in range(ord("b"), ord("k"))
)
INSERTIONS = st.sampled_from(
    [
        *(
            b"\t",
            b"\x00",
            b"\xff\xfe",
            b"\xc3\x28",
            b"\xed\xa0\x80",
            b"'",
            b'"',
            b"{",
            b"]",
            b": ",
            b"&a *a",
            b"*b",
            b"<<: *a",
        ),
        *(
            b"\n---\n",
            b"\n...\nx",
            b"%YAML 9.9\n",
            b"!!python/object/apply:os.system [id]",
            b"!!python/name:os.system ",
        ),
        *(
            b"!!binary x",
            b"!unknown x",
            b"\n<<: 1\n",
            b"\n? [a, b]\n: 1\n",
            b"[" * 3000,
            b"{a: " * 3000,
            b"\n- x\n",
            b"|\n",
            b"\r",
        ),
        *(
            b"\xef\xbb\xbf",
            b"\xe2\x80\xa8",
            b"2001-99-99",
            b"0o9",
            b"1_000",
            b"12:30:45",
            b"\n" + BOMB + b"views: *j\n",
        ),
    ]
)


@st.composite
def broken_text(draw):
    file = draw(st.sampled_from(FILES))
    content = text_of(file).encode()
    place = draw(st.integers(0, len(content)))
    how = draw(st.sampled_from(["insert", "insert", "insert", "cut", "twice", "whole", "flip"]))
    if how == "insert":
        return file, content[:place] + draw(INSERTIONS) + content[place:]
    if how == "cut":
        return file, content[:place]
    if how == "twice":
        lines = content.splitlines(keepends=True)
        line = draw(st.integers(0, len(lines) - 1))
        return file, b"".join([*lines[: line + 1], lines[line], *lines[line + 1 :]])
    if how == "flip":
        place = min(place, len(content) - 1)
        return file, content[:place] + bytes([content[place] ^ (1 << draw(st.integers(0, 7)))]) + content[place + 1 :]
    whole = [
        b"",
        b"\n",
        b"# only a comment\n",
        b"null",
        b"[]",
        b"- a\n- b\n",
        b"text",
        b"42",
        b"\xff" * 10,
        b"\x00",
        BOMB,
    ]
    whole += [
        b"a: &a [*a]\n",
        b"a: &a {b: *a}\n",
        b"!!python/object/apply:os.system [id]\n",
        b"[" * 50_000,
        b"{}",
        b"? {a: 1}\n",
    ]
    return file, draw(st.sampled_from(whole))


def test_broken_text_is_refused(root):
    tally = Tally()

    @given(broken_text())
    @settings(QUICK, max_examples=500)
    def check(broken):
        file, content = broken
        path = root / "params" / file
        tally.add(file, root, path, content, commands(root, path))

    check()
    tally.check(340)


# Label files


@st.composite
def broken_labels(draw, content):
    place = draw(st.integers(0, len(content) - 1))
    how = draw(st.sampled_from(["insert", "cut", "flip", "lines", "rows", "header"]))
    if how == "insert":
        return content[:place] + draw(INSERTIONS) + content[place:]
    if how == "cut":
        return content[:place]
    if how == "flip":
        return content[:place] + bytes([content[place] ^ (1 << draw(st.integers(0, 7)))]) + content[place + 1 :]
    lines = content.splitlines(keepends=True)
    if how == "header":
        start = draw(st.sampled_from([b"# dataset", b"# defin", b"# seed", b"# sha", b"# nrd", b"# nominal", b"index"]))
        return b"".join(line for line in lines if not line.startswith(start))
    line = draw(st.integers(0, len(lines) - 1))
    if how == "lines":
        return b"".join([*lines[:line], *lines[line + draw(st.integers(1, 3)) :]])
    return resealed(lines, draw)


def resealed(lines, draw):
    """Rows that are wrong, with a checksum that is right: as of a program that means well."""
    from nrd.checksums import digest

    start = lines.index(b"index,true_label,given_label\n") + 1
    rows = lines[start:]
    row = draw(st.integers(0, len(rows) - 1))
    rows[row] = draw(
        st.sampled_from(
            [
                b"",
                b"0\n",
                b"a,b,c\n",
                b"-1,0,0\n",
                b"0,10,0\n",
                b"0,0,-1\n",
                b"0.5,1,1\n",
                b"0,1e9,0\n",
                b"\n",
                b"%d,,\n" % row,
                b"%d,1,99999999999999999999\n" % row,
                b"%d,1,1,1\n" % row,
                b"%d;1;1\n" % row,
                b"\xff,1,1\n",
                b"nan,nan,nan\n",
            ]
        )
    )
    body = b"".join([lines[start - 1], *rows])
    header = [line for line in lines[: start - 1] if not line.startswith(b"# sha256")]
    return b"".join([*header, f"# sha256: {digest(body)}\n".encode(), body])


def test_broken_labels_are_refused(root):
    spec = next(spec for spec in Project(root).study("tiny").specs.values() if spec.seed == 1)
    path = root / "data/labels" / f"{spec.labels_name}.csv"
    tally = Tally()

    @given(broken_labels(path.read_bytes()))
    @settings(QUICK, max_examples=340)
    def check(content):
        tally.add(path.name, root, path, content, [["train", spec.name, "--study", "tiny", "--no-track"]])

    check()
    tally.check(300)


def test_the_undamaged_files_are_not_refused(root):
    """Else the tests above would prove nothing."""
    for study in ("probe", "tiny"):
        status, said = call(root, "runs", study, "--summary")
        assert (status, said) == (0, "")
    status, said = call(root, "train", "--study", "probe", "--no-track", "--device", "cpu")
    assert status == 0, said
    assert not (Path(root) / "results").exists()
