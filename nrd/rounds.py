"""Which teacher a study asks for, and training in rounds: a finished student teaches the next (NRD paper, eq. 23)."""

from pathlib import Path

from nrd.configs import typed
from nrd.spec import RunSpec, SpecError, TeacherSpec, parse


def resolve_teacher(base: TeacherSpec, asked: dict, where: str) -> tuple[TeacherSpec, int]:
    """Lay a study's ``teacher`` settings over the method's own teacher.

    ``{kind: frozen, rounds: 3}`` asks for three rounds. The first has the method's own teacher, or one of the kind
    ``first``; the keys beside these describe it. From the second on, the round before is the teacher.

    Args:
        base: the method's own teacher.
        asked: the study's settings, possibly none.
        where: opens messages.

    Returns:
        The first round's teacher, and the number of rounds: 1 where nothing is iterated.

    Raises:
        SpecError: an unknown key or a value out of its range.
    """
    asked = dict(asked)
    rounds = 1
    if asked.get("kind") == "frozen":
        rounds = typed(asked.pop("rounds", None), "int", f"{where}: rounds")
        if rounds < 2:
            raise SpecError(f"{where}: rounds: a frozen teacher is a finished round, so at least 2, got {rounds}")
        asked["kind"] = asked.pop("first", base.kind)
        if asked["kind"] == "frozen":
            raise SpecError(f"{where}: first: the first round's teacher is of kind ema or self")
    for key in ("rounds", "first"):
        if key in asked:
            raise SpecError(f"{where}: {key}: goes with `kind: frozen` only")
    if "checkpoint" in asked:
        raise SpecError(f"{where}: checkpoint: follows from `rounds`; give that instead")
    return parse(TeacherSpec, {**base.model_dump(), **asked}, Path(where)), rounds


def in_rounds(first: RunSpec, rounds: int) -> list[RunSpec]:
    """Return the runs of all rounds, the first one first.

    All are alike but for the teacher, also in seed: each student starts from the same weights and sees the same
    labels. A round names the one before by its full name, so its own name stands for the content of all of them.
    """
    chain = [first]
    for _ in range(rounds - 1):
        teacher = TeacherSpec(kind="frozen", batch_norm="eval", checkpoint=chain[-1].name)
        chain.append(first.model_copy(update={"method": first.method.model_copy(update={"teacher": teacher})}))
    return chain
