"""The ledger of searched settings in ``params/methods``: looked up for a run, and listed for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from nrd.configs import DatasetConfig, LedgerEntry, MethodConfig, Settings
from nrd.resolve import resolve_noise
from nrd.spec import NoiseSpec, RunSpec, SpecError


def ledger_entry(
    settings: Settings, dataset: DatasetConfig, noise: NoiseSpec, method: MethodConfig, file: Path
) -> LedgerEntry:
    """Return a method's searched settings for a dataset and noise; their source says which entry they were taken from.

    Args:
        settings: of the study; ``ledger_noise`` and ``ledger_dataset`` ask for another entry than the run's own.
        dataset: of the run.
        noise: of the run.
        method: whose ledger.
        file: of the method, for messages.

    Raises:
        SpecError: there is none, and the study does not give all that is needed itself; or one names another, by
            ``as``, that does not exist.
    """
    if (entry := _find(settings, dataset, noise, method, file)) is not None:
        return entry
    required = [key for key, h in method.hyperparameters.items() if h.default is None]
    given = (settings.hyperparameters or {}).get(method.name, {})
    if all(key in given for key in required) and None not in (settings.learning_rate, settings.weight_decay):
        return LedgerEntry()
    name, slug = _place(settings, dataset, noise)
    has = ", ".join(method.ledger.get(name, {})) or "nothing"
    raise SpecError(
        f"{file}: ledger.{name}: no settings for noise {slug!r} (it has {has}); "
        "add them there, or name another entry with `ledger_noise` or `ledger_dataset` in the study"
    )


def ledger_rows(
    datasets: Mapping[str, DatasetConfig],
    methods: Mapping[str, MethodConfig],
    dataset: str,
    noise: str,
    folder: Path = Path("params/methods"),
) -> list[tuple[str, str, str, str, str]]:
    """Return (method, learning rate, weight decay, own hyper-parameters, source) of each method, as text.

    Args:
        datasets: by name.
        methods: by name.
        dataset: a name.
        noise: as a study would ask for it.
        folder: of the methods' files, for messages.

    Raises:
        SpecError: an unknown dataset or noise, or an entry that names another, by ``as``, that does not exist.
    """
    if dataset not in datasets:
        raise SpecError(f"there is no dataset {dataset!r}; params/datasets has: {', '.join(datasets)}")
    asked = resolve_noise(noise, datasets[dataset], "--noise")
    rows = []
    for method in methods.values():
        entry = _find(Settings(), datasets[dataset], asked, method, folder / f"{method.name}.yaml")
        if entry is None:
            rows.append((method.title, "", "", "", "no settings"))
            continue
        own = ", ".join(f"{key} {value}" for key, value in entry.hyperparameters.items())
        numbers = (f"{value:g}" if value is not None else "" for value in (entry.learning_rate, entry.weight_decay))
        rows.append((method.title, *numbers, own, entry.source or ""))
    return rows


def used_source(settings: Settings, entry: LedgerEntry, spec: RunSpec) -> str:
    """Return where a run's values come from, and which of them its study sets, be they the ledger's or not.

    Args:
        settings: of the study, as merged for the run.
        entry: what :func:`ledger_entry` returns for them.
        spec: of the run.
    """
    given = (settings.hyperparameters or {}).get(spec.method.name, {})
    set_here = {"learning rate": settings.learning_rate is not None, "weight decay": settings.weight_decay is not None}
    set_here |= {key: key in given for key in spec.method.hyperparameters}
    names = [name for name, here in set_here.items() if here]
    if len(names) == len(set_here):
        return "the study"
    own = f"{', '.join(names)}: the study" if names else ""
    return "; ".join(part for part in (entry.source or "", own) if part)


def _place(settings: Settings, dataset: DatasetConfig, noise: NoiseSpec) -> tuple[str, str]:
    """Return the dataset and the noise under which a run's settings are looked up."""
    return settings.ledger_dataset or dataset.ledger or dataset.name, settings.ledger_noise or noise.slug


def _redirections(settings: Settings, dataset: DatasetConfig, noise: NoiseSpec) -> Iterator[str]:
    """Yield who asked for another dataset's or noise's entry than the run's own."""
    name, slug = _place(settings, dataset, noise)
    if name != dataset.name:
        who = "ledger_dataset of the study" if settings.ledger_dataset else f"ledger of {dataset.name}"
        yield f"entry of {name}: {who}"
    if slug != noise.slug:
        yield f"entry of {slug}: ledger_noise of the study"


def _find(
    settings: Settings, dataset: DatasetConfig, noise: NoiseSpec, method: MethodConfig, file: Path
) -> LedgerEntry | None:
    """Return a run's entry, found through ``as`` where one names another, with the way to it in its source."""
    name, slug = _place(settings, dataset, noise)
    entries, way = method.ledger.get(name, {}), list(_redirections(settings, dataset, noise))
    place, seen = slug if slug in entries else "default", []
    while (entry := entries.get(place)) is not None and entry.same_as:
        seen.append(place)
        where = f"{file}: ledger.{name}.{place}.as: {entry.same_as!r}"
        if entry.same_as not in entries:
            raise SpecError(f"{where} leads nowhere; allowed: {', '.join(key for key in entries if key != place)}")
        if entry.same_as in seen:
            raise SpecError(f"{where} leads in a circle; one of {', '.join(seen)} must give settings itself")
        way.append(f"entry of {entry.same_as}" + (f": {entry.note}" if entry.note else ""))
        place = entry.same_as
    if entry is None or not way:
        return entry
    return entry.model_copy(update={"source": f"{entry.source or ''} ({'; '.join(way)})".strip()})
