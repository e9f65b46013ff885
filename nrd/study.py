"""From the YAML files to resolved runs: ``Project(root).study("demo")`` is a list of named specs.

Everything is checked before anything runs, and every refusal is one line: file, key, what is wrong, what is allowed.
No torch here: resolving the paper's 630 runs takes well under a second.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from nrd.catalogue import LOOP_SEMANTICS
from nrd.configs import (
    Block,
    DatasetConfig,
    LedgerEntry,
    MethodConfig,
    Settings,
    StudyConfig,
    Variant,
    Views,
    catalogue_entry,
    catalogue_options,
)
from nrd.layout import Layout
from nrd.ledger import ledger_entry
from nrd.resolve import (
    check_hyperparameters,
    dataset_spec,
    merge,
    resolve_network,
    resolve_noise,
    resolve_optimization,
    resolve_view,
    resolve_views,
)
from nrd.rounds import in_rounds, resolve_teacher
from nrd.spec import MethodSpec, NoiseSpec, RunSpec, SpecError, Strict, ViewsSpec, parse, read_yaml

# Names of Snakemake targets that a study must not take.
RESERVED = {"all", "datasets", "labels", "runs", "analyses", "lint", "clean"}


@dataclass(frozen=True)
class StudyRun:
    """A run as one study sees it: the table it belongs to and the variant it stands for.

    ``figures`` are those that it is for, if it is for figures alone; ``views`` is what is asked of its network.
    """

    spec: RunSpec
    table: str = "main"
    variant: str | None = None
    figures: tuple[str, ...] = ()
    views: ViewsSpec | None = None


@dataclass(frozen=True)
class Study:
    """A resolved study. Runs are in the order of the grid; each spec appears once per table and variant.

    ``earlier`` holds, by name, what those runs require: earlier rounds, which need not be in a table themselves.
    """

    config: StudyConfig
    runs: tuple[StudyRun, ...]
    earlier: Mapping[str, RunSpec] = field(default_factory=dict)

    @cached_property
    def specs(self) -> dict[str, RunSpec]:
        """The different runs by name, each after those it requires: several rows of a table may share one."""
        specs: dict[str, RunSpec] = {}
        for run in self.runs:
            self._add(run.spec, specs)
        return specs

    def _add(self, spec: RunSpec, specs: dict[str, RunSpec]) -> None:
        for name in spec.requires:
            self._add(self.earlier[name], specs)
        specs.setdefault(spec.name, spec)

    @cached_property
    def compared(self) -> "Study":
        """The study without the runs that are for figures alone: what accuracy tables and comparisons are about."""
        return replace(self, runs=tuple(run for run in self.runs if not run.figures))

    @property
    def shows_paper(self) -> bool:
        """Whether it is about the paper's figures: then its page has the paper's tables as well, complete in shape."""
        return any(block.figures for block in self.config.grid)

    def pictured(self, figure: str) -> tuple[StudyRun, ...]:
        """The runs that are for a figure."""
        return tuple(run for run in self.runs if figure in run.figures)

    @cached_property
    def analyses(self) -> dict[tuple[str, str], ViewsSpec]:
        """What is asked of finished networks, by run and name."""
        return {(run.spec.name, run.views.name): run.views for run in self.runs if run.views}

    def manifest(self) -> str:
        """Return the resolved list of runs as JSON lines: an ordinary input of the study's tables."""
        return "".join(json.dumps(_manifest_row(run), sort_keys=True) + "\n" for run in self.runs)


def _known(pairs: Iterable[tuple[str, str]]) -> str:
    return "runs with an analysis: " + (", ".join(f"{run} ({name})" for run, name in pairs) or "none")


def _manifest_row(run: StudyRun) -> dict:
    row = {"run": run.spec.name, "table": run.table, "variant": run.variant, "spec": run.spec.canonical}
    if run.figures:
        row["figures"] = run.figures
    if run.views:
        row["views"] = run.views.model_dump(mode="json")
    return row


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
        earlier: dict[str, RunSpec] = {}
        for number, block in enumerate(config.grid):
            where = f"{self._file('studies', name)}: grid.{number}"
            self._check_settings(config.settings, block.methods, f"{self._file('studies', name)}: settings")
            self._check_settings(block.settings, block.methods, f"{where}.settings")
            for run, before in self._block(config, block, where):
                key = run.table, run.variant, run.spec.name
                if (other := runs.get(key)) is not None:  # two blocks of one table share it
                    figures = tuple(dict.fromkeys([*other.figures, *run.figures]))
                    run = replace(run, figures=figures, views=other.views or run.views)
                runs[key] = run
                earlier |= {spec.name: spec for spec in before}
        return Study(config, tuple(runs.values()), earlier)

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

    def asked(
        self, runs: Iterable[str], study: str | None = None, name: str | None = None
    ) -> list[tuple[RunSpec, ViewsSpec]]:
        """Return what one study, or any, asks of finished networks: of those runs, or of all that are trained.

        Raises:
            SpecError: nothing is asked of a run that was named, or neither runs nor a study were named.
        """
        runs = list(runs)
        if not runs and study is None:
            raise SpecError("nothing to analyse: give names of runs, or --study")
        found = {}
        for key in [study] if study else list(self.studies):
            resolved = self.study(key)
            found |= {pair: (resolved.specs[pair[0]], views) for pair, views in resolved.analyses.items()}
        wanted = [pair for pair in found if (not runs or pair[0] in runs) and name in (None, pair[1])]
        for run in set(runs) - {run for run, _ in wanted}:
            raise SpecError(
                f"{study or 'no study'} asks {'nothing' if study else 'anything'} of {run!r}: {_known(found)}"
            )
        return [found[pair] for pair in wanted if runs or self.layout.is_trained(pair[0])]

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

    def _block(self, config: StudyConfig, block: Block, where: str) -> Iterator[tuple[StudyRun, list[RunSpec]]]:
        """Yield each run of a block with the earlier rounds it requires."""
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
                        base, rounds = self.resolve(settings, dataset, noise, self.methods[method], where)
                        views = None
                        if block.looks_again:
                            views = resolve_views(block.views or Views(), base, dataset, f"{where}.views")
                        for seed in block.seeds:
                            *before, spec = in_rounds(base.model_copy(update={"seed": seed}), rounds)
                            yield StudyRun(spec, block.table, label, block.figures, views), before

    def resolve(
        self, settings: Settings, dataset: DatasetConfig, noise: NoiseSpec, method: MethodConfig, where: str
    ) -> tuple[RunSpec, int]:
        """Return the (first round's) run of seed 0, and the number of rounds.

        Raises:
            SpecError: the settings ask for what cannot be run; ``where`` opens the message.
        """
        entry = ledger_entry(settings, dataset, noise, method, self._file("methods", method.name))
        method_spec, rounds = self._method(settings, dataset, entry, method, where)
        content = {
            "dataset": dataset_spec(dataset),
            "noise": noise,
            "method": method_spec,
            "network": resolve_network(settings, where),
            "optimization": resolve_optimization(settings, dataset, entry, method, where),
            "seed": 0,
            "semantics": LOOP_SEMANTICS,
        }
        for key in ("validation", "precision", "evaluation_interval", "snapshots"):
            if (value := getattr(settings, key)) is not None:
                content[key] = value
        return parse(RunSpec, content, Path(where)), rounds

    def _method(
        self, settings: Settings, dataset: DatasetConfig, entry: LedgerEntry, method: MethodConfig, where: str
    ) -> tuple[MethodSpec, int]:
        file = self._file("methods", method.name)
        given = {**entry.hyperparameters, **(settings.hyperparameters or {}).get(method.name, {})}
        own = dict.fromkeys((settings.hyperparameters or {}).get(method.name, {}), f"{where}: settings.hyperparameters")
        hyperparameters = check_hyperparameters(method, given, f"{file}: ledger", own)
        asked = settings.views or {}
        views = {
            role: resolve_view(asked.get(role, view), dataset, f"{where if role in asked else file}: views.{role}")
            for role, view in method.views.items()
        }
        teacher, rounds = method.teacher, 1
        if teacher is not None and settings.teacher:
            teacher, rounds = resolve_teacher(teacher, settings.teacher, f"{where}.settings.teacher")
        spec = MethodSpec(
            name=method.name,
            implementation=method.implementation,
            hyperparameters=hyperparameters,
            views=views,
            teacher=teacher,
            semantics=method.semantics,
        )
        return spec, rounds
