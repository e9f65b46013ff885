"""The parts of a run that a study asks for by name or in short: views, networks, noise, optimiser, hyper-parameters.

Each function returns a part of :class:`nrd.spec.RunSpec`, or refuses in one line with place, key and what is allowed.
"""

from collections.abc import Mapping
from pathlib import Path

from nrd.catalogue import NOISE_SLUGS, NOISES, VIEWS, OptionValue
from nrd.configs import (
    DatasetConfig,
    Hyperparameter,
    LedgerEntry,
    MethodConfig,
    Named,
    NoiseConfig,
    Settings,
    Views,
    catalogue_entry,
    catalogue_options,
    typed,
)
from nrd.spec import (
    DatasetSpec,
    NetworkSpec,
    NoiseSpec,
    OptimizationSpec,
    RunSpec,
    SpecError,
    ViewSpec,
    ViewsSpec,
    parse,
)

MAX_STAGE = 8192  # channels or blocks of a network's stage


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
    content = {key: getattr(dataset, key) for key in DatasetSpec.model_fields}
    return parse(DatasetSpec, content, Path(f"params/datasets/{dataset.name}.yaml"))


def check_hyperparameters(
    method: MethodConfig, given: dict, where: str, origins: Mapping[str, str] | None = None
) -> dict:
    """Return a method's own hyper-parameters, typed, checked, and without those equal to their default.

    Args:
        method: whose.
        given: values by name.
        where: opens messages.
        origins: what opens messages about a value that comes from elsewhere, by name.

    Raises:
        SpecError: one is unknown, missing, of another type or out of its range.
    """
    declared, origins = method.hyperparameters, origins or {}
    defaults = {
        key: typed(info.default, info.type, f"{where}: {method.name}.{key}: default")
        for key, info in declared.items()
        if info.default is not None
    }
    values = dict(defaults)
    for key, value in given.items():
        place = origins.get(key, where)
        if key not in declared:
            raise SpecError(f"{place}: {method.name} has no hyper-parameter {key!r}; allowed: {', '.join(declared)}")
        place = f"{place}: {method.name}.{key}"
        values[key] = typed(value, declared[key].type, place)
        _check_value(values[key], declared[key], place)
    if missing := [key for key in declared if key not in values]:
        raise SpecError(f"{where}: {method.name} needs a value for {', '.join(missing)}")
    _check_together(method, values, where, origins)
    return {key: values[key] for key in given if key not in defaults or values[key] != defaults[key]}


def _check_value(value: OptionValue, info: Hyperparameter, where: str) -> None:
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, int | float) and not info.contains(number):
            raise SpecError(f"{where}: {number} is outside {info.interval}")
    if info.total is not None and abs(sum(value) - info.total) > 1e-6:
        raise SpecError(f"{where}: {value} sums to {sum(value):g}, must sum to {info.total:g}")
    if info.choices and value not in info.choices:
        raise SpecError(f"{where}: {value!r} is not one of {', '.join(info.choices)}")


def _check_together(
    method: MethodConfig, values: Mapping[str, OptionValue], where: str, origins: Mapping[str, str]
) -> None:
    """Check what the method's file says about several values: lengths of lists, and what cannot go together."""
    for key, info in method.hyperparameters.items():
        if info.length is None:
            continue
        number = values[info.length.of] + info.length.plus
        if len(values[key]) != number:
            place = origins.get(key, origins.get(info.length.of, where))
            raise SpecError(
                f"{place}: {method.name}.{key}: {info.length.of} {values[info.length.of]} needs {number} numbers, "
                f"got {values[key]}"
            )
    for rule in method.refuse:
        if all(_number_at(values, key) == value for key, value in rule.when.items()):
            place = next((origins[name] for key in rule.when if (name := key.split(".")[0]) in origins), where)
            what = ", ".join(f"{key} {value}" for key, value in rule.when.items())
            raise SpecError(f"{place}: {method.name}: {what}: {rule.because}")


def _number_at(values: Mapping[str, OptionValue], key: str) -> OptionValue:
    """Return a value, or with ``pi.0`` a number of a list; None where it has fewer."""
    name, _, place = key.partition(".")
    if not place:
        return values[name]
    numbers = values[name]
    inside = isinstance(numbers, list) and place.isdecimal() and int(place) < len(numbers)
    return numbers[int(place)] if inside else None


def resolve_view(view: Named, dataset: DatasetConfig, where: str) -> ViewSpec:
    """Return a view with the dataset's own defaults (crop padding, flip) under the options given."""
    entry = catalogue_entry("view", view.name, where)
    for key in dataset.views:
        file = f"params/datasets/{dataset.name}.yaml: views"
        owner = next((item for item in VIEWS.values() if key in item.options), None)
        if owner is None:
            raise SpecError(f"{file}.{key}: no view has such an option")
        catalogue_options(owner, {key: dataset.views[key]}, file)
    defaults = {key: value for key, value in dataset.views.items() if key in entry.options}
    options = catalogue_options(entry, {**defaults, **view.options}, where)
    return ViewSpec(name=view.name, options=options, semantics=entry.semantics)


def resolve_views(views: Views, spec: RunSpec, dataset: DatasetConfig, where: str) -> ViewsSpec:
    """Return what is asked of a run's network, with the epochs whose polygons are drawn.

    Raises:
        SpecError: a view is unknown, or an epoch is none that the run keeps.
    """
    kept = sorted({epoch for epoch in spec.snapshots if epoch < spec.optimization.epochs} | {spec.optimization.epochs})
    if unknown := sorted(set(views.epochs) - set(kept)):
        allowed = ", ".join(map(str, kept))
        raise SpecError(f"{where}.epochs: no snapshot is kept of epoch {unknown[0]} (settings.snapshots): {allowed}")
    return ViewsSpec(
        vicinal=resolve_view(views.vicinal, dataset, f"{where}.vicinal"),
        draws=views.draws,
        unseen=resolve_view(views.unseen, dataset, f"{where}.unseen"),
        points=views.points,
        samples=views.samples,
        average=views.average,
        epochs=tuple(sorted(views.epochs)) or _spread(kept),
    )


def _spread(epochs: list[int], number: int = 4) -> tuple[int, ...]:
    """Return so many of the epochs, from the first to the last: all of them where there are fewer."""
    if len(epochs) <= number:
        return tuple(epochs)
    return tuple(epochs[round(place * (len(epochs) - 1) / (number - 1))] for place in range(number))


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
        label_set = dataset.human[kind]
        name = label_set.published_name or kind
        return NoiseSpec(slug=slug, definition="human", label_set=name, checksum=label_set.checksum)
    if kind not in NOISE_SLUGS:
        raise SpecError(f"{where}: there is no noise {slug!r} for {dataset.name}; {_allowed(dataset)}")
    definition = _definition(kind, slug, dataset, where)
    return NoiseSpec(slug=slug, definition=definition, rate=rate, semantics=NOISES[definition].semantics)


def _definition(kind: str, slug: str, dataset: DatasetConfig, where: str) -> str:
    """Return which definition a kind of noise has on a dataset; it must be made for so many classes."""
    file = f"params/datasets/{dataset.name}.yaml"
    definition = NOISE_SLUGS[kind] or dataset.asymmetric
    if definition is None:
        raise SpecError(f"{where}: {dataset.name} defines no asymmetric noise ({file})")
    fitting = _fitting(dataset)
    if definition in fitting:
        return definition
    if definition not in NOISES:
        raise SpecError(f"{file}: asymmetric: there is no {definition!r}; allowed: {', '.join(fitting)}")
    reason = f"{definition} is for {NOISES[definition].num_classes} classes, not {dataset.num_classes}"
    if not NOISE_SLUGS[kind]:
        raise SpecError(f"{file}: asymmetric: {reason}; allowed: {', '.join(fitting)}")
    raise SpecError(f"{where}: {slug!r} is no noise for {dataset.name}: {reason}; {_allowed(dataset)}")


def _fitting(dataset: DatasetConfig) -> list[str]:
    """Return the definitions of noise that a dataset has the classes for."""
    return [name for name, entry in NOISES.items() if entry.num_classes in (None, dataset.num_classes)]


def _allowed(dataset: DatasetConfig) -> str:
    """Return the noises that a study can ask for on a dataset, as a message ends."""
    fitting = _fitting(dataset)
    kinds = [kind for kind, definition in NOISE_SLUGS.items() if (definition or dataset.asymmetric) in fitting]
    return f"allowed, with any rate: {', '.join(['clean', *(f'{kind}40' for kind in kinds), *dataset.human])}"


def resolve_network(settings: Settings, where: str) -> NetworkSpec:
    """Return the network with the options that differ from its defaults.

    Raises:
        SpecError: none is named, or its name or an option is unknown.
    """
    if settings.network is None:
        raise SpecError(f"{where}: settings.network: is required")
    entry = catalogue_entry("network", settings.network.name, f"{where}.settings.network")
    options = catalogue_options(entry, settings.network.options, f"{where}.settings.network")
    _check_stages({key: options.get(key) for key, default in entry.options.items() if default is None}, where)
    return NetworkSpec(name=settings.network.name, options=options, semantics=entry.semantics)


def _check_stages(stages: dict[str, list[int] | None], where: str) -> None:
    """Networks that are given stage by stage need every list, and the same number of entries in each."""
    for key, numbers in stages.items():
        if numbers is None:
            raise SpecError(f"{where}.settings.network.{key}: is required: one whole number per stage")
        if not numbers or not all(1 <= number <= MAX_STAGE for number in numbers):
            raise SpecError(f"{where}.settings.network.{key}: expected numbers from 1 to {MAX_STAGE}, got {numbers}")
    if len({len(numbers) for numbers in stages.values()}) > 1:
        raise SpecError(f"{where}.settings.network: {' and '.join(stages)} need one entry per stage each")


def resolve_optimization(
    settings: Settings, dataset: DatasetConfig, entry: LedgerEntry, method: MethodConfig, where: str
) -> OptimizationSpec:
    """Return the optimiser's settings: the study's, and where it is silent those of the method's ledger.

    Raises:
        SpecError: neither gives a value, one is out of its range, or the training images do not fill a batch.
    """
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
    left = dataset.train_size - round((settings.validation or 0) * dataset.train_size)
    if content["batch_size"] > left:
        raise SpecError(
            f"{where}: settings.batch_size: {content['batch_size']} is more than the {left} training images of "
            f"{dataset.name}"
        )
    return parse(OptimizationSpec, content, Path(f"{where}.settings"))
