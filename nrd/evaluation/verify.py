"""Whether finished runs are still what training and evaluation wrote."""

import json

from nrd.checksums import SEAL, SUMS, is_sealed, read_checked, read_sums
from nrd.layout import TRAINED, Layout
from nrd.spec import RunSpec, SpecError


def verify_run(name: str, layout: Layout) -> list[str]:
    """Return what is wrong with a finished run's files: one line each, none where all is well.

    A run that is older than checksums is only looked through for what is missing or cannot be read.
    """
    folder, problems = layout.run(name), []
    try:
        files = read_sums(folder) or dict.fromkeys(TRAINED, "")
    except SpecError as error:
        return [str(error)]
    for file in files:
        try:
            read_checked(folder, file)
        except SpecError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{folder / file}: {error.strerror}; delete the run's folder to train it again")
    if not problems:
        problems += _spec(name, layout) + _metrics(name, layout)
    return problems


def _spec(name: str, layout: Layout) -> list[str]:
    path = layout.run(name) / "spec.yaml"
    try:
        found = RunSpec.from_yaml(path).name
    except SpecError as error:
        return [str(error)]
    return [] if found == name else [f"{path}: is the spec of {found}; delete the folder to train {name} again"]


def _metrics(name: str, layout: Layout) -> list[str]:
    path = layout.run(name) / "metrics.json"
    again = "delete it and evaluate the run again"
    try:
        content = dict(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, RecursionError):
        return [f"{path}: is damaged; {again}"]
    if (SEAL in content or (path.parent / SUMS).exists()) and not is_sealed(content):
        return [f"{path}: is damaged (its numbers do not have the SHA-256 that stands in it); {again}"]
    return [] if content.get("run") == name else [f"{path}: holds the metrics of {content.get('run')!r}; {again}"]
