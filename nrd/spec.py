"""A run's complete, resolved settings, and its name.

A run's name is its content: slugs for people, then a hash over the canonical JSON of everything that changes the
result. What does not change it (device, threads, paths, tracking) is in :class:`RunOptions`. Fields equal to their
frozen default are left out of the hash, so that a new optional field renames no earlier run; therefore a default,
once released, never changes.

Nothing here imports torch: a workflow resolves hundreds of specs before anything heavy is loaded.
"""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nrd.catalogue import OptionValue

HASH_LENGTH = 8

Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Checksum = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Role = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class SpecError(ValueError):
    """Settings that cannot be run. The message is for people: file, key, what is wrong, what is allowed."""


class Strict(BaseModel):
    """Base of all settings: unknown keys are errors, values cannot be changed after they were checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DatasetSpec(Strict):
    """A dataset as training sees it; ``checksum`` is over the prepared arrays, so it is the dataset's identity."""

    name: Slug
    checksum: Checksum
    num_classes: Annotated[int, Field(ge=2)]
    channels: Annotated[int, Field(ge=1)]
    image_size: Annotated[int, Field(ge=8)]
    mean: tuple[float, ...]
    std: tuple[Positive, ...]

    @model_validator(mode="after")
    def _one_value_per_channel(self) -> "DatasetSpec":
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"mean and std need one value per channel ({self.channels})")
        return self


class NoiseSpec(Strict):
    """Label noise. With the run's seed and the dataset it determines the given labels completely."""

    slug: Slug
    definition: str
    rate: Share = 0.0
    label_set: str | None = None
    checksum: Checksum | None = None  # of a published label file; generated labels need none
    semantics: int = 1


class ViewSpec(Strict):
    """A named augmentation pipeline with the options that differ from its frozen defaults."""

    name: str
    options: dict[str, OptionValue] = {}
    semantics: int = 1


class NetworkSpec(Strict):
    """A named network with the options that differ from its frozen defaults."""

    name: str
    options: dict[str, OptionValue] = {}
    semantics: int = 1


class TeacherSpec(Strict):
    """The teacher of a distillation method (paper eqs. 23-24).

    ``ema`` averages the student's weights with ``decay`` per step; ``self`` is the student itself; ``frozen`` is the
    student of a finished run, ``checkpoint``, which must be trained first.
    ``batch_norm`` says which statistics normalise the teacher's view: those of the batch (``train``) or the running
    ones (``eval``), which ``buffers`` either averages like the weights or copies from the student.
    """

    kind: Literal["ema", "self", "frozen"] = "ema"
    decay: Share = 0.99
    batch_norm: Literal["train", "eval"] = "train"
    buffers: Literal["average", "copy"] = "average"
    checkpoint: str | None = None

    @model_validator(mode="after")
    def _only_what_has_an_effect(self) -> "TeacherSpec":
        """Refuse settings without effect: they would give one result two names."""
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        if (self.kind == "frozen") != (self.checkpoint is not None):
            raise ValueError("a frozen teacher, and only that, needs `checkpoint`: the name of a finished run")
        if self.kind == "frozen" and self.batch_norm != "eval":
            raise ValueError("batch_norm: a frozen teacher does not move, so it is `eval`")
        if self.kind != "ema" and self.decay != defaults["decay"]:
            raise ValueError(f"decay: a teacher of kind {self.kind} is no average")
        if (self.kind, self.batch_norm) != ("ema", "eval") and self.buffers != defaults["buffers"]:
            raise ValueError("buffers: matter to kind `ema` with batch_norm `eval` only")
        return self


class MethodSpec(Strict):
    """Loss, views and teacher. Hyper-parameters equal to the method file's defaults are left out."""

    name: Slug
    implementation: str  # "package.module:Class" or "path/to/file.py:Class"
    hyperparameters: dict[str, OptionValue] = {}
    views: dict[Role, ViewSpec]
    teacher: TeacherSpec | None = None
    semantics: int = 1


class ScheduleSpec(Strict):
    """Learning rate per epoch: multiplied by ``gamma`` at each milestone, or half a cosine down to zero."""

    name: Literal["step", "cosine"] = "step"
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = ()
    gamma: Positive = 0.1
    warmup: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _milestones_ascend(self) -> "ScheduleSpec":
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError("milestones must ascend")
        if self.name == "cosine" and self.milestones:
            raise ValueError("a cosine schedule has no milestones")
        return self


class OptimizationSpec(Strict):
    """Stochastic gradient descent. Weight decay acts on all parameters; the last incomplete batch is dropped."""

    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Positive
    weight_decay: NonNegative
    momentum: Share = 0.9
    nesterov: bool = True
    schedule: ScheduleSpec = ScheduleSpec()

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "OptimizationSpec":
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum above 0")
        return self


class RunSpec(Strict):
    """Everything that changes the result of one training."""

    dataset: DatasetSpec
    noise: NoiseSpec
    method: MethodSpec
    network: NetworkSpec
    optimization: OptimizationSpec
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"
    evaluation_interval: Annotated[int, Field(ge=1)] = 1
    snapshots: tuple[Annotated[int, Field(ge=1)], ...] = ()
    semantics: int = 1

    @cached_property
    def canonical(self) -> str:
        """Canonical JSON: typed values, keys sorted, defaults left out."""
        content = self.model_dump(mode="json", exclude_defaults=True)
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)

    @cached_property
    def name(self) -> str:
        """Folder name under ``results/runs``: ``<dataset>.<noise>.<method>.s<seed>-<hash>``."""
        digest = hashlib.sha256(self.canonical.encode()).hexdigest()[:HASH_LENGTH]
        return f"{self.dataset.name}.{self.noise.slug}.{self.method.name}.s{self.seed}-{digest}"

    def model_copy(self, **arguments: Any) -> "RunSpec":
        """Return a copy whose name is its own: pydantic would copy the cached one along."""
        copy = super().model_copy(**arguments)
        for key in ("canonical", "name"):
            copy.__dict__.pop(key, None)
        return copy

    @property
    def requires(self) -> tuple[str, ...]:
        """Names of the runs that must be finished before this one starts: a frozen teacher's."""
        teacher = self.method.teacher
        return (teacher.checkpoint,) if teacher is not None and teacher.checkpoint else ()

    @property
    def labels_name(self) -> str:
        """File name (without suffix) of the given labels: shared by all methods of a cell and seed."""
        return f"{self.dataset.name}.{self.noise.slug}.s{self.seed}"

    def to_yaml(self) -> str:
        """Return the spec as YAML, with its name in a comment and its defaults left out."""
        content = self.model_dump(mode="json", exclude_defaults=True)
        return f"# {self.name}\n" + yaml.safe_dump(content, sort_keys=False)

    @classmethod
    def from_yaml(cls, path: Path) -> "RunSpec":
        """Read a spec and refuse, in one line that names the file and the key, what is not one."""
        return parse(cls, read_yaml(path), path)


class ViewsSpec(Strict):
    """What is asked of a finished network about views of its training images; its result is named by its content.

    ``average`` and ``epochs`` choose what figures show of the result: they are no part of the name.
    """

    vicinal: ViewSpec
    draws: Annotated[int, Field(ge=1)]
    unseen: ViewSpec
    points: Annotated[int, Field(ge=1)]
    samples: Annotated[int, Field(ge=1)]
    average: Literal["probabilities", "logits"] = "probabilities"
    epochs: tuple[int, ...] = ()
    semantics: int = 1

    @cached_property
    def name(self) -> str:
        """File name, without suffix, under ``results/analyses/<run>``: ``views-<hash>``."""
        content = self.model_dump(mode="json", exclude_defaults=True, exclude={"average", "epochs"})
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return f"views-{hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]}"


class RunOptions(Strict):
    """How and where a run is trained: nothing here changes its name."""

    device: str = "auto"
    threads: Annotated[int, Field(ge=1)] = 1
    chunk_size: Annotated[int, Field(ge=0)] = 0  # images augmented at a time; 0: what suits the device
    tracking: bool = True
    wait: bool = False  # for another process that trains the same run
    compile: Literal["auto", "on", "off"] = "auto"
    deterministic: bool = False
    study: str | None = None


def read_yaml(path: Path) -> dict:
    """Return the mapping in a YAML file, loaded safely.

    Raises:
        SpecError: the file is missing, is not YAML, or does not hold a mapping with text keys.
    """
    try:
        text = path.read_text(encoding="utf-8")
        _check_size(text)
        content = yaml.load(text, Loader=_UniqueKeyLoader)
    except FileNotFoundError:
        raise SpecError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read as text ({error})") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise SpecError(f"{path}: is not valid YAML ({problem})") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise SpecError(f"{path}: expected a mapping with text keys at the top")
    return content


Model = TypeVar("Model", bound=Strict)
_SafeLoader = yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader
# Far above any settings; far below what exhausts the C stack, or the memory when anchors refer to anchors.
MAX_DEPTH, MAX_VALUES = 50, 100_000
MAX_PROBLEMS = 20  # that are told at once


def _check_size(text: str) -> None:
    """Refuse a file before it is built in memory: too deep, or too large once its aliases are written out.

    Raises:
        yaml.YAMLError: it is, or it is not YAML at all.
    """
    anchors: dict[str, int] = {}  # values in each, itself included
    open_nodes: list[tuple[str | None, int]] = [(None, 0)]
    for event in yaml.parse(text, Loader=_SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, 1))
            if len(open_nodes) > MAX_DEPTH:
                raise yaml.YAMLError(f"nested more than {MAX_DEPTH} deep, line {event.start_mark.line + 1}")
            continue
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in (anchor for anchor, _ in open_nodes):
                raise yaml.YAMLError(f"*{event.anchor} stands for itself, line {event.start_mark.line + 1}")
            anchor, size = None, anchors.get(event.anchor, 1)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_nodes.pop()
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, 1
        else:
            continue
        if anchor is not None:
            anchors[anchor] = size
        owner, count = open_nodes[-1]
        open_nodes[-1] = (owner, count + size)
        if count + size > MAX_VALUES:
            raise yaml.YAMLError(f"holds more than {MAX_VALUES} values, line {event.start_mark.line + 1}")


class _UniqueKeyLoader(_SafeLoader):
    """Safe loader that refuses a key given twice: YAML would silently keep the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            try:
                repeated = key in seen
                seen.add(key)
            except TypeError:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is not text") from None
            if repeated:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
        return super().construct_mapping(node, deep)


def parse(model: type[Model], content: dict, path: Path) -> Model:
    """Check a mapping against a model.

    Raises:
        SpecError: one line for each problem, each naming file, key, what is wrong and what is allowed.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = [_explain(problem, model, path) for problem in error.errors()[:MAX_PROBLEMS]]
        if (more := error.error_count() - len(problems)) > 0:
            problems.append(f"{path}: and {more} more")
        raise SpecError("\n".join(problems)) from None


def _explain(problem: dict, model: type[BaseModel], path: Path) -> str:
    key = ".".join(str(part) for part in problem["loc"]) or "(top)"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        owner = _model_at(model, problem["loc"][:-1])
        allowed = f"; allowed: {', '.join(owner.model_fields)}" if owner else ""
        return f"{path}: {key}: unknown key{allowed}"
    if problem["type"] == "missing":
        return f"{path}: {key}: is required"
    return f"{path}: {key}: {message} (got {_short(problem['input'])})"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _model_at(model: type[BaseModel], location: tuple) -> type[BaseModel] | None:
    """Return the model that owns a key, following field names through nested models and lists of models."""
    for part in location:
        if isinstance(part, int):
            continue
        if part not in model.model_fields:
            return None
        candidates = [model.model_fields[part].annotation]
        found = None
        while candidates:
            annotation = candidates.pop()
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                found = annotation
                break
            candidates.extend(getattr(annotation, "__args__", ()))
        if found is None:
            return None
        model = found
    return model
