"""From the YAML files to resolved runs: ``Project(root).study("demo")`` is a list of named specs.

Everything is checked before anything runs, and every refusal is one line: file, key, what is wrong, what is allowed.
No torch here: resolving the paper's 630 runs takes well under a second.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from nrd.catalogue import LOOP_SEMANTICS, NOISE_SLUGS, NOISES, VIEWS
from nrd.configs import (
    Block,
    DatasetConfig,
    LedgerEntry,
    MethodConfig,
    Named,
    NoiseConfig,
    Settings,
    StudyConfig,
    Variant,
    catalogue_entry,
    catalogue_options,
    typed,
)
from nrd.layout import Layout
from nrd.spec import (
    DatasetSpec,
    MethodSpec,
    NetworkSpec,
    NoiseSpec,
    OptimizationSpec,
    RunSpec,
    SpecError,
    Strict,
    TeacherSpec,
    ViewSpec,
    parse,
    read_yaml,
)

# Names of Snakemake targets that a study must not take.
RESERVED = {"all", "datasets", "labels", "runs", "lint", "clean"}


@dataclass(frozen=True)
class StudyRun:
    """A run as one study sees it: the table it belongs to and the variant it stands for."""

    spec: RunSpec
    table: str = "main"
    variant: str | None = None


@dataclass(frozen=True)
class Study:
    """A resolved study. Runs are in the order of the grid; each spec appears once per table and variant."""

    config: StudyConfig
    runs: tuple[StudyRun, ...]

    @cached_property
    def specs(self) -> dict[str, RunSpec]:
        """The different runs by name: several rows of a table may share one."""
        return {run.spec.name: run.spec for run in self.runs}

    def manifest(self) -> str:
        """Return the resolved list of runs as JSON lines: an ordinary input of the study's tables."""
        rows = [
            {"run": r.spec.name, "table": r.table, "variant": r.variant, "spec": r.spec.canonical} for r in self.runs
        ]
        return "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)


class Project:
    """The settings under ``<root>/params``, read once."""

    def __init__(self, root: Path = Path()) -> None:
        self.layout = Layout(Path(root))

    @cached_property
    def datasets(self) -> dict[str, DatasetConfig]:
        """Datasets by name."""
        return self._load("datasets", DatasetConfig)

    @cached_property
    def methods(self) -> dict[str, MethodConfig]:
        """Methods by name."""
        return self._load("methods", MethodConfig)

    @cached_property
    def studies(self) -> dict[str, StudyConfig]:
        """Studies by name, not yet resolved."""
        studies = self._load("studies", StudyConfig)
        for name in studies:
            if name in RESERVED:
                raise SpecError(f"params/studies/{name}.yaml: name: {name!r} is a target of the workflow; take another")
        return studies

    def _load(self, kind: str, model: type[Strict]) -> dict:
        folder = self.layout.params / kind
        files = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
        if not files:
            raise SpecError(f"{folder}: there is no *.yaml file in this folder; run from the project's root")
        found: dict[str, Strict] = {}
        origin: dict[str, Path] = {}
        for path in files:
            config = parse(model, read_yaml(path), path)
            if config.name in found:
                raise SpecError(f"{path}: name: {config.name!r} is already the name of {origin[config.name]}")
            if config.name != path.stem:
                raise SpecError(f"{path}: name: is {config.name!r}, but must be the file's name, {path.stem!r}")
            found[config.name], origin[config.name] = config, path
        return found

    def study(self, name: str) -> Study:
        """Resolve a study.

        Raises:
            SpecError: there is no such study, or it asks for what cannot be run.
        """
        if name not in self.studies:
            raise SpecError(f"there is no study {name!r}; params/studies has: {', '.join(self.studies)}")
        config = self.studies[name]
        runs: dict[tuple, StudyRun] = {}
        for number, block in enumerate(config.grid):
            where = f"{self._file('studies', name)}: grid.{number}"
            self._check_settings(config.settings, block.methods, f"{self._file('studies', name)}: settings")
            self._check_settings(block.settings, block.methods, f"{where}.settings")
            for run in self._block(config, block, where):
                runs[run.table, run.variant, run.spec.name] = run
        return Study(config, tuple(runs.values()))

    def find(self, run: str, study: str | None = None) -> RunSpec:
        """Look a run's name up in one study, or in all of them.

        Raises:
            SpecError: no study has a run of that name.
        """
        names = [study] if study else list(self.studies)
        for name in names:
            if (spec := self.study(name).specs.get(run)) is not None:
                return spec
        raise SpecError(f"no run {run!r} in {', '.join(names)}: `nrd runs <study>` lists the names")

    def _file(self, kind: str, name: str) -> Path:
        return self.layout.params / kind / f"{name}.yaml"

    def _check_settings(self, settings: Settings, methods: Iterable[str], where: str) -> None:
        for method in settings.hyperparameters or {}:
            if method not in self.methods:
                raise SpecError(
                    f"{where}.hyperparameters: unknown method {method!r}; allowed: {', '.join(self.methods)}"
                )
        known = {role for config in self.methods.values() for role in config.views}
        for role, view in (settings.views or {}).items():
            if role not in known:
                raise SpecError(f"{where}.views: no method has a view {role!r}; allowed: {', '.join(sorted(known))}")
            entry = catalogue_entry("view", view.name, f"{where}.views.{role}")
            catalogue_options(entry, view.options, f"{where}.views.{role}")

    def _block(self, config: StudyConfig, block: Block, where: str) -> Iterable[StudyRun]:
        for key, known in (("datasets", self.datasets), ("methods", self.methods)):
            for index, name in enumerate(getattr(block, key)):
                if name not in known:
                    raise SpecError(f"{where}.{key}.{index}: there is no {name!r}; allowed: {', '.join(known)}")
        for variant in block.variants or (Variant(name="default", title=""),):
            settings = merge(config.settings, block.settings, variant.settings)
            label = variant.name if block.variants else None
            for dataset_name in block.datasets:
                dataset = self.datasets[dataset_name]
                for index, asked in enumerate(block.noises):
                    noise = resolve_noise(asked, dataset, f"{where}.noises.{index}")
                    for method in block.methods:
                        base = self._resolve(settings, dataset, noise, self.methods[method], where)
                        for seed in block.seeds:
                            spec = base.model_copy(update={"seed": seed})
                            yield StudyRun(spec, block.table, label)

    def _resolve(
        self, settings: Settings, dataset: DatasetConfig, noise: NoiseSpec, method: MethodConfig, where: str
    ) -> RunSpec:
        entry = self._ledger(settings, dataset, noise, method)
        content = {
            "dataset": dataset_spec(dataset),
            "noise": noise,
            "method": self._method(settings, dataset, entry, method, where),
            "network": self._network(settings, where),
            "optimization": _optimization(settings, entry, method, where),
            "seed": 0,
            "semantics": LOOP_SEMANTICS,
        }
        for key in ("validation", "precision", "evaluation_interval", "snapshots"):
            if (value := getattr(settings, key)) is not None:
                content[key] = value
        return parse(RunSpec, content, Path(where))

    def _ledger(
        self, settings: Settings, dataset: DatasetConfig, noise: NoiseSpec, method: MethodConfig
    ) -> LedgerEntry:
        name = settings.ledger_dataset or dataset.ledger or dataset.name
        entries = method.ledger.get(name, {})
        slug = settings.ledger_noise or noise.slug
        seen: list[str] = []
        while (entry := entries.get(slug) or entries.get("default")) is not None and entry.same_as:
            seen.append(slug)
            slug = entry.same_as
            if slug in seen or slug not in entries:
                raise SpecError(
                    f"{self._file('methods', method.name)}: ledger.{name}.{seen[-1]}.as: {slug!r} leads nowhere"
                )
        if entry is not None:
            return entry
        required = [key for key, h in method.hyperparameters.items() if h.default is None]
        given = (settings.hyperparameters or {}).get(method.name, {})
        if all(key in given for key in required) and None not in (settings.learning_rate, settings.weight_decay):
            return LedgerEntry()
        has = ", ".join(entries) or "nothing"
        raise SpecError(
            f"{self._file('methods', method.name)}: ledger.{name}: no settings for noise {slug!r} (it has {has}); "
            "add them there, or name another entry with `ledger_noise` or `ledger_dataset` in the study"
        )

    def _network(self, settings: Settings, where: str) -> NetworkSpec:
        if settings.network is None:
            raise SpecError(f"{where}: settings.network: is required")
        entry = catalogue_entry("network", settings.network.name, f"{where}.settings.network")
        options = catalogue_options(entry, settings.network.options, f"{where}.settings.network")
        return NetworkSpec(name=settings.network.name, options=options, semantics=entry.semantics)

    def _method(
        self, settings: Settings, dataset: DatasetConfig, entry: LedgerEntry, method: MethodConfig, where: str
    ) -> MethodSpec:
        file = self._file("methods", method.name)
        given = {**entry.hyperparameters, **(settings.hyperparameters or {}).get(method.name, {})}
        hyperparameters = check_hyperparameters(method, given, f"{file}: ledger")
        views = {
            role: resolve_view((settings.views or {}).get(role, view), dataset, f"{where}: views.{role}")
            for role, view in method.views.items()
        }
        teacher = method.teacher
        if teacher is not None and settings.teacher:
            content = {**teacher.model_dump(), **settings.teacher}
            teacher = parse(TeacherSpec, content, Path(f"{where}.settings.teacher"))
        return MethodSpec(
            name=method.name,
            implementation=method.implementation,
            hyperparameters=hyperparameters,
            views=views,
            teacher=teacher,
            semantics=method.semantics,
        )


def merge(*layers: Settings) -> Settings:
    """Lay settings over each other, the last on top; mappings are merged key by key."""
    content: dict = {}
    for layer in layers:
        for key in layer.model_fields_set:
            value = getattr(layer, key)
            if isinstance(value, dict) and isinstance(content.get(key), dict):
                value = _merge_mappings(content[key], value)
            content[key] = value
    return Settings.model_construct(**content)


def _merge_mappings(below: dict, above: dict) -> dict:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def dataset_spec(dataset: DatasetConfig) -> DatasetSpec:
    """Return the part of a dataset's settings that training sees."""
    return DatasetSpec(**{key: getattr(dataset, key) for key in DatasetSpec.model_fields})


def check_hyperparameters(method: MethodConfig, given: dict, where: str) -> dict:
    """Return a method's own hyper-parameters, typed, checked, and without those equal to their default.

    Raises:
        SpecError: one is unknown, missing, of another type or out of its range.
    """
    declared = method.hyperparameters
    result = {}
    for key, value in given.items():
        if key not in declared:
            raise SpecError(f"{where}: {method.name} has no hyper-parameter {key!r}; allowed: {', '.join(declared)}")
        info = declared[key]
        value = typed(value, info.type, f"{where}: {method.name}.{key}")
        for number in value if isinstance(value, list) else [value]:
            below = info.minimum is not None and number < info.minimum
            above = info.maximum is not None and number > info.maximum
            if below or above:
                raise SpecError(f"{where}: {method.name}.{key}: {number} is outside [{info.minimum}, {info.maximum}]")
        if info.choices and value not in info.choices:
            raise SpecError(f"{where}: {method.name}.{key}: {value!r} is not one of {', '.join(info.choices)}")
        if info.default is None or value != typed(info.default, info.type, f"{where}: default"):
            result[key] = value
    if missing := [key for key, info in declared.items() if info.default is None and key not in given]:
        raise SpecError(f"{where}: {method.name} needs a value for {', '.join(missing)}")
    return result


def resolve_view(view: Named, dataset: DatasetConfig, where: str) -> ViewSpec:
    """Return a view with the dataset's own defaults (crop padding, flip) under the options given."""
    entry = catalogue_entry("view", view.name, where)
    for key in dataset.views:
        if not any(key in item.options for item in VIEWS.values()):
            raise SpecError(f"params/datasets/{dataset.name}.yaml: views.{key}: no view has such an option")
    defaults = {key: value for key, value in dataset.views.items() if key in entry.options}
    options = catalogue_options(entry, {**defaults, **view.options}, where)
    return ViewSpec(name=view.name, options=options, semantics=entry.semantics)


def resolve_noise(asked: str | NoiseConfig, dataset: DatasetConfig, where: str) -> NoiseSpec:
    """Return the noise a study asks for: ``clean``, ``sym40``, ``{kind: sym, rate: 0.4}`` or a human label set.

    Raises:
        SpecError: an unknown kind, a rate outside 0-100 %, or a kind this dataset has no definition for.
    """
    if isinstance(asked, NoiseConfig):
        kind, rate = asked.kind, asked.rate
        percent = f"{100 * rate:.6g}".replace(".", "p")
        slug = kind if kind in ("clean", *dataset.human) else f"{kind}{percent}"
    else:
        slug = asked
        kind = slug if slug in dataset.human else slug.rstrip("0123456789")
        digits = slug[len(kind) :]
        rate = int(digits) / 100 if digits else 0.0
        if kind in NOISE_SLUGS and not digits:
            raise SpecError(f"{where}: {slug!r} needs a rate in per cent, as in {kind}40")
    if rate > 1:
        raise SpecError(f"{where}: {slug!r}: a noise rate is at most 100 %")
    if slug == "clean":
        return NoiseSpec(slug=slug, definition="none", semantics=NOISES["none"].semantics)
    if kind in dataset.human:
        return NoiseSpec(slug=slug, definition="human", label_set=kind, checksum=dataset.human[kind].checksum)
    if kind not in NOISE_SLUGS:
        allowed = ", ".join(["clean", *(f"{k}40" for k in NOISE_SLUGS), *dataset.human])
        raise SpecError(f"{where}: there is no noise {slug!r} for {dataset.name}; allowed, with any rate: {allowed}")
    definition = NOISE_SLUGS[kind] or dataset.asymmetric
    if definition is None:
        raise SpecError(f"{where}: {dataset.name} defines no asymmetric noise (params/datasets/{dataset.name}.yaml)")
    if definition not in NOISES:
        raise SpecError(
            f"params/datasets/{dataset.name}.yaml: asymmetric: there is no {definition!r}; allowed: {', '.join(NOISES)}"
        )
    return NoiseSpec(slug=slug, definition=definition, rate=rate, semantics=NOISES[definition].semantics)


def _optimization(settings: Settings, entry: LedgerEntry, method: MethodConfig, where: str) -> OptimizationSpec:
    content = {}
    for key in ("epochs", "batch_size", "learning_rate", "weight_decay", "momentum", "nesterov", "schedule"):
        value = getattr(settings, key)
        if value is None and key in ("learning_rate", "weight_decay"):
            value = getattr(entry, key)
        if value is not None:
            content[key] = value
    for key in ("epochs", "batch_size", "learning_rate", "weight_decay"):
        if key not in content:
            raise SpecError(
                f"{where}: settings.{key}: is required (neither the study nor {method.name}'s ledger has it)"
            )
    return parse(OptimizationSpec, content, Path(f"{where}.settings"))


@lru_cache(maxsize=4)
def project(root: Path = Path()) -> Project:
    """Return the project in a folder, read once per process."""
    return Project(root)


def ledger_rows(project: Project, dataset: str, noise: str) -> list[tuple[str, str, str, str, str]]:
    """Return (method, learning rate, weight decay, own hyper-parameters, source) of each method, as text.

    Raises:
        SpecError: an unknown dataset or noise.
    """
    if dataset not in project.datasets:
        raise SpecError(f"there is no dataset {dataset!r}; params/datasets has: {', '.join(project.datasets)}")
    slug = resolve_noise(noise, project.datasets[dataset], "--noise").slug
    rows = []
    for method in project.methods.values():
        entries = method.ledger.get(project.datasets[dataset].ledger or dataset, {})
        entry, via = entries.get(slug) or entries.get("default"), ""
        while entry is not None and entry.same_as:
            via = f" (entry of {entry.same_as}: {entry.note})"
            entry = entries.get(entry.same_as)
        if entry is None:
            rows.append((method.title, "", "", "", "no settings"))
            continue
        own = ", ".join(f"{key} {value}" for key, value in entry.hyperparameters.items())
        numbers = (f"{value:g}" if value is not None else "" for value in (entry.learning_rate, entry.weight_decay))
        rows.append((method.title, *numbers, own, f"{entry.source}{via}"))
    return rows
