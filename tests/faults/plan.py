"""Which faults: every stage with every kind once per round, the rest drawn from the seed."""

import random
from dataclasses import asdict, dataclass

STAGES = ("data", "labels", "train", "evaluate", "analyse", "report")
# What befalls a stage while it runs.
MOMENTS = (
    "killed at a moment",
    "killed at a file operation",
    "disk full",
    "file too large",
    "read-only folder",
    "clock set back",
    "two at once",
)
# What befalls a file between stages.
DAMAGES = ("truncated", "bit flipped", "wrong shape")
TARGETS = (
    "dataset",
    "labels",
    "checkpoint",
    "weights",
    "spec",
    "history",
    "predictions",
    "machine",
    "timing",
    "checksums",
    "metrics",
    "analysis",
    "results table",
    "report table",
)
WORKFLOW = ("two at once", "killed at a moment", "clock set back")


@dataclass(frozen=True)
class Fault:
    """One fault. ``place`` is a stage, a damaged file or ``workflow``; everything random comes from ``dice``."""

    seed: int
    index: int
    place: str
    kind: str

    @property
    def dice(self) -> random.Random:
        return random.Random(f"{self.seed}/{self.index}")

    @property
    def id(self) -> str:
        return f"{self.index:04d}-{self.place}-{self.kind}".replace(" ", "-")

    def as_dict(self) -> dict:
        return asdict(self)


def first_round() -> list[tuple[str, str]]:
    """Every place with every kind."""
    whole = [(stage, kind) for kind in MOMENTS for stage in STAGES]
    whole += [(target, damage) for target in TARGETS for damage in DAMAGES]
    return [*whole, ("workflow", "two at once")]


def later_round() -> list[tuple[str, str]]:
    """What has many moments or bits comes more often; a workflow, which takes a minute, not at all."""
    often = [(stage, kind) for kind in ("killed at a moment", "killed at a file operation") for stage in STAGES] * 2
    flips = [(target, "bit flipped") for target in TARGETS] * 2
    return [*(pair for pair in first_round() if pair[0] != "workflow"), *often, *flips]


def plan(seed: int, number: int) -> list[Fault]:
    """Return the first ``number`` faults of a seed. A longer plan begins with the shorter one."""
    pairs = first_round()
    rest = [("workflow", kind) for kind in WORKFLOW]
    while len(pairs) < number:
        shuffled = later_round()
        random.Random(f"{seed}/{len(pairs)}").shuffle(shuffled)
        pairs += shuffled + rest
    return [Fault(seed, index, place, kind) for index, (place, kind) in enumerate(pairs[:number])]
