"""The YAML files people write: datasets, methods and studies (``params/*/*.yaml``), as typed models.

They hold the numbers of the project; :mod:`nrd.study` resolves them into :class:`nrd.spec.RunSpec`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from nrd.catalogue import NETWORKS, VIEWS, Entry, OptionValue
from nrd.spec import Checksum, NonNegative, Positive, Role, ScheduleSpec, Share, Slug, SpecError, Strict, TeacherSpec

MAX_OPTION = 100_000  # of a view's or network's numbers: pixels, operations, strengths
NoiseSlug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*$", max_length=30)]
FigureName = Literal["memorised", "dynamics", "calibration", "overfitting"]
OptionKind = Literal["float", "int", "bool", "str", "floats", "ints"]


class Named(Strict):
    """A catalogue name, written either alone or as ``{name: ..., option: ...}``."""

    name: str
    options: dict[str, OptionValue] = {}

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and "options" not in value:
            return {"name": value.get("name"), "options": {k: v for k, v in value.items() if k != "name"}}
        return value


class Subset(Strict):
    """Fixed stratified parts of the training and test images, the same for every seed; absent: all of them."""

    train: Annotated[int, Field(ge=2)] | None = None
    test: Annotated[int, Field(ge=1)] | None = None


class LabelSet(Strict):
    """A published set of human labels for this dataset."""

    file: str
    checksum: Checksum
    source: str
    published_name: str | None = None  # where it is not the name used here


class DatasetConfig(Strict):
    """``params/datasets/<name>.yaml``."""

    name: Slug
    title: str
    source: str
    checksum: Checksum
    num_classes: Annotated[int, Field(ge=2)]
    channels: Literal[1, 3]
    image_size: Annotated[int, Field(ge=8)]
    train_size: Annotated[int, Field(ge=2)]
    test_size: Annotated[int, Field(ge=1)]
    mean: tuple[float, ...]
    std: tuple[Positive, ...]
    citation: str
    classes: tuple[str, ...] | None = None
    views: dict[str, OptionValue] = {}
    asymmetric: str | None = None
    ledger: Slug | None = None
    folder: Path | None = None
    subset: Subset | None = None
    human: dict[NoiseSlug, LabelSet] = {}


class Length(Strict):
    """How many numbers a list has: as many as another hyper-parameter says, and some more."""

    of: str
    plus: int = 0


class Hyperparameter(Strict):
    """Type and range of one of a method's own hyper-parameters; ``default`` is frozen once released.

    A range has its ends ``minimum`` and ``maximum``; ``above`` and ``below`` are no part of it.
    """

    type: OptionKind
    help: str
    default: OptionValue = None
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    below: float | None = None
    total: float | None = None  # of a list: what its numbers sum to
    length: Length | None = None  # of a list
    choices: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _one_bound_a_side(self) -> "Hyperparameter":
        for included, left_out in (("minimum", "above"), ("maximum", "below")):
            if None not in (getattr(self, included), getattr(self, left_out)):
                raise ValueError(f"give {included} or {left_out}, not both")
        return self

    @model_validator(mode="after")
    def _only_lists_have_lengths(self) -> "Hyperparameter":
        if self.type not in ("floats", "ints") and (self.total, self.length) != (None, None):
            raise ValueError("total, length: are for lists of numbers, of type floats or ints")
        return self

    def contains(self, number: float) -> bool:
        """Whether a number lies in the range."""
        return (
            (self.minimum is None or number >= self.minimum)
            and (self.above is None or number > self.above)
            and (self.maximum is None or number <= self.maximum)
            and (self.below is None or number < self.below)
        )

    @property
    def interval(self) -> str:
        """The range as people write it."""
        low, high = "(-∞", "∞)"
        if (least := self.minimum if self.above is None else self.above) is not None:
            low = f"{'[' if self.above is None else '('}{least:g}"
        if (most := self.maximum if self.below is None else self.below) is not None:
            high = f"{most:g}{']' if self.below is None else ')'}"
        return f"{low}, {high}"


class Refusal(Strict):
    """Values that a method cannot take together, each alone in its range; ``pi.0`` is the first number of a list."""

    when: Annotated[dict[str, OptionValue], Field(min_length=1)]
    because: str


class LedgerEntry(Strict):
    """Searched settings of a method for one dataset and noise, with their source; or another entry, by ``as``."""

    learning_rate: Positive | None = None
    weight_decay: NonNegative | None = None
    hyperparameters: dict[str, OptionValue] = {}
    source: str | None = None
    same_as: NoiseSlug | None = Field(default=None, alias="as")
    note: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _own_keys_are_hyperparameters(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "hyperparameters" in value:
            return value
        known = {"learning_rate", "weight_decay", "source", "as", "note"}
        own = {key: item for key, item in value.items() if key not in known}
        return {**{key: item for key, item in value.items() if key in known}, "hyperparameters": own}


class MethodConfig(Strict):
    """``params/methods/<name>.yaml``: class, views, teacher, and the ledger of searched hyper-parameters."""

    name: Slug
    title: str
    implementation: Annotated[str, Field(pattern=r"^[\w./-]+:[A-Za-z_]\w*$")]
    source: str
    semantics: Annotated[int, Field(ge=1)] = 1
    hyperparameters: dict[str, Hyperparameter] = {}
    refuse: tuple[Refusal, ...] = ()
    views: dict[Role, Named]
    teacher: TeacherSpec | None = None
    ledger: dict[Slug, dict[NoiseSlug, LedgerEntry]] = {}

    @model_validator(mode="after")
    def _teacher_needs_no_run(self) -> "MethodConfig":
        if self.teacher is not None and self.teacher.kind == "frozen":
            raise ValueError("teacher: a frozen teacher is asked for in a study, with `rounds`")
        return self

    @model_validator(mode="after")
    def _rules_are_about_hyperparameters(self) -> "MethodConfig":
        named = [(f"{key}.length.of", info.length.of) for key, info in self.hyperparameters.items() if info.length]
        named += [(f"refuse.{n}.when", key.split(".")[0]) for n, rule in enumerate(self.refuse) for key in rule.when]
        for where, key in named:
            if key not in self.hyperparameters:
                raise ValueError(f"{where}: no hyper-parameter {key!r}; allowed: {', '.join(self.hyperparameters)}")
            if where.endswith(".of") and self.hyperparameters[key].type != "int":
                raise ValueError(f"{where}: {key} is no whole number")
        return self


class NoiseConfig(Strict):
    """Label noise in a study: ``sym40`` for short, or ``{kind: sym, rate: 0.4}``."""

    kind: str
    rate: Share = 0.0


class Settings(Strict):
    """Settings of a study's runs. What is absent comes from the method's ledger or from the frozen defaults."""

    network: Named | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=2)] | None = None
    learning_rate: Positive | None = None
    weight_decay: NonNegative | None = None
    momentum: Share | None = None
    nesterov: bool | None = None
    schedule: ScheduleSpec | None = None
    validation: Annotated[float, Field(ge=0, lt=1)] | None = None
    precision: Literal["float32", "bfloat16"] | None = None
    evaluation_interval: Annotated[int, Field(ge=1)] | None = None
    snapshots: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    views: dict[Role, Named] | None = None
    teacher: dict[str, OptionValue] | None = None
    hyperparameters: dict[Slug, dict[str, OptionValue]] | None = None
    ledger_noise: NoiseSlug | None = None
    ledger_dataset: Slug | None = None


class Variant(Strict):
    """Named deviations from a block's settings, for ablations."""

    name: Slug
    title: str
    settings: Settings = Settings()


class Views(Strict):
    """How networks that memorised their labels are looked at again, with views of their training images.

    ``vicinal`` is drawn ``draws`` times of every image; ``average`` says which mean of the predictions the figures
    show (the table has both). Of ``samples`` images with clean and as many with wrong labels, ``points`` views of the
    training policy and of ``unseen`` are predicted, also at each of the run's snapshots; ``epochs`` are those whose
    polygons are drawn, by default four spread over the snapshots.
    """

    vicinal: Named = Named(name="autoaugment_erasing")
    draws: Annotated[int, Field(ge=1)] = 20
    average: Literal["probabilities", "logits"] = "probabilities"
    unseen: Named = Named(name="autoaugment")
    points: Annotated[int, Field(ge=1)] = 100
    samples: Annotated[int, Field(ge=1, le=8)] = 4
    epochs: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(max_length=6)] = ()


class Block(Strict):
    """A full grid: every dataset × noise × method × seed (× variant).

    A block with ``figures`` is for these alone: its runs stand in no accuracy table and in no comparison of methods.
    ``memorised``: Table 1, Figures 1, 2a and 2b; ``dynamics``: Table 6; both ask the networks about ``views`` of their
    training images. ``calibration``: Figure 5; ``overfitting``: Figure 4.
    """

    datasets: Annotated[tuple[Slug, ...], Field(min_length=1)]
    noises: Annotated[tuple[str | NoiseConfig, ...], Field(min_length=1)]
    methods: Annotated[tuple[Slug, ...], Field(min_length=1)]
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1)]
    settings: Settings = Settings()
    variants: tuple[Variant, ...] = ()
    table: str = "main"
    figures: tuple[FigureName, ...] = ()
    views: Views | None = None

    @property
    def looks_again(self) -> bool:
        """Whether networks are asked about views of their training images."""
        return not {"memorised", "dynamics"}.isdisjoint(self.figures)

    @model_validator(mode="after")
    def _views_are_looked_at(self) -> "Block":
        if self.views is not None and not self.looks_again:
            raise ValueError("views: are for `figures` that have memorised or dynamics")
        return self

    @model_validator(mode="after")
    def _nothing_twice(self) -> "Block":
        for key in ("datasets", "noises", "methods", "seeds"):
            values = [str(value) for value in getattr(self, key)]
            if len(set(values)) != len(values):
                raise ValueError(f"{key} names something twice: {values}")
        return self


class StudyConfig(Strict):
    """``params/studies/<name>.yaml``: what to run."""

    name: Slug
    title: str
    description: str
    settings: Settings = Settings()
    grid: Annotated[tuple[Block, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _tables_are_compared_or_not(self) -> "StudyConfig":
        compared, pictured = ({b.table for b in self.grid if bool(b.figures) is drawn} for drawn in (False, True))
        if both := sorted(compared & pictured):
            raise ValueError(f"grid: table {both[0]!r} has blocks with `figures` and without; give them two labels")
        if not compared:
            raise ValueError("grid: every block has `figures`; at least one must be without, for the accuracy table")
        return self


def typed(value: Any, kind: OptionKind, where: str) -> OptionValue:
    """Return a YAML value as the declared type, so that ``1``, ``1.0`` and ``1e0`` give one hash.

    Raises:
        SpecError: the value is not of that type. ``where`` opens the message.
    """
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind == "str" and isinstance(value, str):
        return value
    if kind == "int" and _is_whole(value):
        return int(value)
    if kind == "float" and (number := _number(value)) is not None:
        return number
    if kind == "ints" and isinstance(value, list | tuple) and all(map(_is_whole, value)):
        return [int(item) for item in value]
    if kind == "floats" and isinstance(value, list | tuple):
        numbers = [_number(item) for item in value]
        if None not in numbers:
            return numbers
    expected = {"ints": "a list of whole numbers", "floats": "a list of numbers", "int": "a whole number"}
    raise SpecError(f"{where}: expected {expected.get(kind, kind)}, got {value!r}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> float | None:
    """YAML 1.1 reads ``1e-3`` as text: read it as the number that was meant."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < float("inf") else None  # also refuses NaN


def catalogue_options(entry: Entry, given: dict[str, OptionValue], where: str) -> dict[str, OptionValue]:
    """Return the options that differ from the entry's frozen defaults, typed like these.

    Raises:
        SpecError: an unknown option or a value of another type.
    """
    result = {}
    for key, value in given.items():
        if key not in entry.options:
            allowed = ", ".join(entry.options) or "none"
            raise SpecError(f"{where}.{key}: unknown option; allowed: {allowed}")
        default = entry.options[key]
        value = typed(value, _kind_of(default), f"{where}.{key}")
        if isinstance(value, int | float) and not min(default, 0) <= value <= MAX_OPTION:
            raise SpecError(f"{where}.{key}: expected at least {min(default, 0)} and at most {MAX_OPTION}, got {value}")
        if value != default:
            result[key] = value
    return result


def _kind_of(default: OptionValue) -> OptionKind:
    if default is None:  # widths and blocks of a network
        return "ints"
    if isinstance(default, list):
        return "floats"
    kinds: dict[type, OptionKind] = {bool: "bool", int: "int", float: "float", str: "str"}
    return kinds[type(default)]


def catalogue_entry(catalogue: str, name: str, where: str) -> Entry:
    """Return a view's or network's entry.

    Raises:
        SpecError: there is none of that name; the message lists those there are.
    """
    entries = {"view": VIEWS, "network": NETWORKS}[catalogue]
    if name not in entries:
        raise SpecError(f"{where}: there is no {catalogue} {name!r}; allowed: {', '.join(entries)}")
    return entries[name]
