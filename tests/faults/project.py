"""A small real project, undisturbed: what every fault starts from, and what it must end with."""

import json
import shutil
from pathlib import Path

import yaml

from nrd.layout import TRAINED
from nrd.study import Project
from tests.faults.process import Ended, run

REPOSITORY = Path(__file__).resolve().parent.parent.parent
STUDY = "faults"
SETTINGS = {
    "name": STUDY,
    "title": "Faults",
    "description": "Small enough to be broken hundreds of times: two seeds, a snapshot, a second round.",
    "settings": {
        "network": {"name": "preact_resnet", "widths": [8, 16], "blocks": [1, 1]},
        "epochs": 3,
        "batch_size": 64,
        "schedule": {"name": "cosine"},
        "validation": 0.2,
        "views": {"student": "crop"},
        "snapshots": [2],
    },
    "grid": [
        {"datasets": ["digits"], "noises": ["sym40"], "methods": ["ce"], "seeds": [1, 2]},
        {
            "datasets": ["digits"],
            "noises": ["sym40"],
            "methods": ["nrd"],
            "seeds": [1],
            "settings": {"teacher": {"kind": "frozen", "rounds": 2}},
        },
    ],
}
# What is asked of the network of one of these runs: a study of its own, so that its figures are drawn only where they
# are what a fault is about.
LOOKED = "looked"
ONE = {"datasets": ["digits"], "noises": ["sym40"], "methods": ["ce"], "seeds": [1]}
VIEWS = {"draws": 2, "points": 3, "samples": 1, "epochs": [2]}
QUESTIONS = SETTINGS | {
    "name": LOOKED,
    "grid": [ONE, {**ONE, "table": "memorised", "figures": ["memorised", "dynamics"], "views": VIEWS}],
}
# What is the same however a run came about; the rest tells of time and machine.
EXACT = ("spec.yaml", "history.csv", "predictions.npz", "model.safetensors", "snapshots/epoch-0002.safetensors")
MACHINE = ("git_commit", "device", "host", "torch", "started", "finished", "sha256")
TABLES = ("results.csv", "accuracy.csv", "accuracy.md", "accuracy.tex", "accuracy_best.csv", "curves.csv")
TABLES += ("reliability.csv", "confusion.csv", "classes.csv", "paired.csv", "ledger.csv", "summary.json")
FOLDERS = ("data/datasets", "data/labels", "results/runs", "results/analyses", "results/reports")
ORDER = ("data", "labels", "train", "evaluate", "analyse", "report")


def command(stage: str, name: str = "") -> list[str]:
    """What a person types for a stage; ``name`` is the run to train."""
    return {
        "data": ["data", "digits"],
        "labels": ["labels", "--study", STUDY],
        "train": ["train", name, "--study", STUDY, "--no-track"],
        "evaluate": ["evaluate", "--study", STUDY],
        "analyse": ["analyse", "--study", LOOKED],
        "report": ["report", STUDY, "--partial"],
        "figures": ["report", LOOKED, "--partial", "--part", "results", "--part", "paper-figures"],
    }[stage]


class Reference:
    """The undisturbed project, with a copy of it as each stage finds it.

    ``<folder>/<stage>`` is what the stage starts from, ``<folder>/done`` what the last one leaves, ``stopped`` a
    project with a killed training whose state is in ``scratch``; ``facts.json`` holds what was measured.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done = folder / "done"
        self.facts = json.loads((folder / "facts.json").read_text())
        self.names = list(self.facts["names"])

    def copy(self, stage: str, root: Path) -> None:
        """Put a project as ``stage`` finds it into an existing empty folder."""
        shutil.copytree(self.folder / stage, root, dirs_exist_ok=True)


def build(folder: Path) -> Reference:
    """Make the reference; the command's own code runs, in forks of this process."""
    folder.mkdir(parents=True)
    root, output = folder / "done", folder / "output"
    output.mkdir()
    write_params(root)
    names = list(Project(root).study(STUDY).specs)
    facts = {"names": names, "seconds": {}, "operations": {}, "bytes": {}}
    for stage in ORDER:
        shutil.copytree(root, folder / stage)
        if stage == "train":
            stopped(folder, output, names[0])
        for name in names if stage == "train" else [""]:
            counter, before = output / "count", size(root)
            ended = run(root, command(stage, name), output, count_to=counter)
            assert ended.status == 0, ended.err
            key = f"{stage} {name}".strip()
            facts["operations"][key] = int(counter.read_text())
            facts["bytes"][key] = size(root) - before
    ended = run(root, command("figures"), output)
    assert ended.status == 0, ended.err
    # Once more without counting, in the copy: the counter slows what it counts.
    for stage in ORDER:
        for name in names if stage == "train" else [""]:
            twin = folder / "twin"
            shutil.copytree(folder / stage, twin)
            give_teacher(folder, twin, name)
            ended = run(twin, command(stage, name), output)
            assert ended.status == 0, ended.err
            facts["seconds"][f"{stage} {name}".strip()] = ended.seconds
            shutil.rmtree(twin)
    (folder / "facts.json").write_text(json.dumps(facts, indent=2))
    return Reference(folder)


def write_params(root: Path) -> None:
    """The project's own settings, as far as the study needs them: resolving others would take longer than it runs."""
    for file in ("datasets/digits.yaml", "methods/ce.yaml", "methods/nrd.yaml"):
        (root / "params" / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / "params" / file, root / "params" / file)
    shutil.copytree(REPOSITORY / "params/published", root / "params/published")
    (root / "params/studies").mkdir()
    for name, study in ((STUDY, SETTINGS), (LOOKED, QUESTIONS)):
        (root / f"params/studies/{name}.yaml").write_text(yaml.safe_dump(study, sort_keys=False))


def stopped(folder: Path, output: Path, name: str) -> None:
    """A project whose first training was killed after its first epochs."""
    root = folder / "stopped"
    for die_at in range(30, 400, 3):
        shutil.copytree(folder / "train", root)
        run(root, command("train", name), output, die_at=die_at)
        if (root / "scratch" / name / "state.pt").is_file():
            return
        shutil.rmtree(root)
    raise AssertionError("no training left a state")


def give_teacher(folder: Path, root: Path, name: str) -> None:
    """A second round's run needs the first one's weights."""
    spec = Project(root).study(STUDY).specs.get(name) if name else None
    for needed in spec.requires if spec else ():
        if not (root / "results/runs" / needed).exists():
            shutil.copytree(folder / "done/results/runs" / needed, root / "results/runs" / needed)


def size(root: Path) -> int:
    """Bytes of all files, in the blocks that a file system gives them."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in root.rglob("*") if path.is_file())


def differences(reference: Path, root: Path, stage: str, names: list[str]) -> list[str]:
    """Return what a finished stage left that is not what the undisturbed one left."""
    if stage == "data":
        files = ["data/datasets/digits.safetensors"]
    elif stage == "labels":
        files = [f"data/labels/{path.name}" for path in sorted((reference / "data/labels").glob("*.csv"))]
    elif stage == "train":
        files = [f"results/runs/{name}/{file}" for name in names for file in EXACT]
    elif stage == "analyse":
        files = [str(path.relative_to(reference)) for path in sorted(reference.glob("results/analyses/*/*.npz"))]
    elif stage == "evaluate":
        return [found for name in names for found in _other_metrics(reference, root, name)]
    elif stage == "figures":
        folder = reference / "results/reports" / LOOKED
        files = [str(path.relative_to(reference)) for path in sorted(folder.glob("*.csv")) if path.name != "cost.csv"]
    else:
        files = [f"results/reports/{STUDY}/{file}" for file in (*TABLES, "index.html")]
        files = [file for file in files if (reference / file).exists()]
    found = [file for file in files if not same(reference / file, root / file)]
    if stage == "train":
        found += [f"{name}: {file} is missing" for name in names for file in TRAINED if not _run(root, name, file)]
    return found + leftovers(root)


def same(one: Path, other: Path) -> bool:
    """Whether two files hold the same bytes."""
    return other.is_file() and one.read_bytes() == other.read_bytes()


def leftovers(root: Path) -> list[str]:
    """Parts of files that nobody will finish."""
    places = [root / folder for folder in FOLDERS]
    return [str(path.relative_to(root)) for place in places for path in place.rglob("*.tmp")]


def _run(root: Path, name: str, file: str) -> bool:
    return (root / "results/runs" / name / file).is_file()


def _other_metrics(reference: Path, root: Path, name: str) -> list[str]:
    contents = []
    for place in (reference, root):
        try:
            content = json.loads((place / "results/runs" / name / "metrics.json").read_text())
        except (OSError, ValueError):
            return [f"{name}: metrics.json is missing"]
        contents.append({key: value for key, value in content.items() if key not in MACHINE})
    return [] if contents[0] == contents[1] else [f"{name}: metrics.json"]


def told(ended: Ended) -> list[str]:
    """Return what is wrong with how a command refused: one line that names a file and says what to do is wanted."""
    problems = []
    if ended.status <= 0:
        problems.append(f"ended with status {ended.status}")
    if "Traceback" in ended.err or "Exception ignored" in ended.err:
        problems.append(f"a traceback: {ended.err[-1500:]}")
    if len(ended.errors) != 1 or not ended.err.rstrip().splitlines()[-1].startswith("error: "):
        problems.append(f"not one line of error: {ended.err[-1500:]!r}")
    elif not any(word in ended.errors[0] for word in REMEDIES):
        problems.append(f"does not say what to do: {ended.errors[0]}")
    return problems


REMEDIES = (
    "delete",
    "run the same command again",
    "build it again",
    "wait for it",
    "allowed",
    "expected",
    "is required",
)
REMEDIES += ("prepares it", "writes it", "train it again", "first", "must be")
