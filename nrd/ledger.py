"""The ledger of searched settings in ``params/methods``: looked up for a run, and listed for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nrd.configs import DatasetConfig, LedgerEntry, MethodConfig, Settings
from nrd.resolve import resolve_noise
from nrd.spec import NoiseSpec, SpecError


def ledger_entry(
    settings: Settings, dataset: DatasetConfig, noise: NoiseSpec, method: MethodConfig, file: Path
) -> LedgerEntry:
    """Return a method's searched settings for a dataset and noise, found through ``as`` where one entry names another.

    Args:
        settings: of the study; ``ledger_noise`` and ``ledger_dataset`` ask for another entry than the run's own.
        dataset: of the run.
        noise: of the run.
        method: whose ledger.
        file: of the method, for messages.

    Raises:
        SpecError: there is none, and the study does not give all that is needed itself.
    """
    name = settings.ledger_dataset or dataset.ledger or dataset.name
    entries = method.ledger.get(name, {})
    slug = settings.ledger_noise or noise.slug
    seen: list[str] = []
    while (entry := entries.get(slug) or entries.get("default")) is not None and entry.same_as:
        seen.append(slug)
        slug = entry.same_as
        if slug in seen or slug not in entries:
            raise SpecError(f"{file}: ledger.{name}.{seen[-1]}.as: {slug!r} leads nowhere")
    if entry is not None:
        return entry
    required = [key for key, h in method.hyperparameters.items() if h.default is None]
    given = (settings.hyperparameters or {}).get(method.name, {})
    if all(key in given for key in required) and None not in (settings.learning_rate, settings.weight_decay):
        return LedgerEntry()
    has = ", ".join(entries) or "nothing"
    raise SpecError(
        f"{file}: ledger.{name}: no settings for noise {slug!r} (it has {has}); "
        "add them there, or name another entry with `ledger_noise` or `ledger_dataset` in the study"
    )


def ledger_rows(
    datasets: Mapping[str, DatasetConfig], methods: Mapping[str, MethodConfig], dataset: str, noise: str
) -> list[tuple[str, str, str, str, str]]:
    """Return (method, learning rate, weight decay, own hyper-parameters, source) of each method, as text.

    Raises:
        SpecError: an unknown dataset or noise.
    """
    if dataset not in datasets:
        raise SpecError(f"there is no dataset {dataset!r}; params/datasets has: {', '.join(datasets)}")
    slug = resolve_noise(noise, datasets[dataset], "--noise").slug
    rows = []
    for method in methods.values():
        entries = method.ledger.get(datasets[dataset].ledger or dataset, {})
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
