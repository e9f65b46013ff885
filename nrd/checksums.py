"""Checksums that a run carries, so that a flipped bit is found before a table shows it.

``sums.json`` lists the SHA-256 of every file that training wrote; ``metrics.json`` and ``sums.json`` hold their own.
Runs that were trained before there were checksums have none, and are read without.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from nrd.files import write_bytes, write_text
from nrd.spec import SpecError

SUMS = "sums.json"
SEAL = "sha256"


def digest(content: bytes) -> str:
    """Return the SHA-256 of bytes in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sealed(content: dict) -> dict:
    """Return a JSON mapping with the checksum of its other entries under ``sha256``.

    >>> is_sealed(sealed({"accuracy": 0.9})), is_sealed(sealed({"accuracy": 0.9}) | {"accuracy": 0.8})
    (True, False)
    """
    rest = {key: value for key, value in content.items() if key != SEAL}
    # As it will be read back: JSON knows no tuples, and only text as keys.
    canonical = json.dumps(json.loads(json.dumps(rest)), sort_keys=True, separators=(",", ":"))
    return {**rest, SEAL: digest(canonical.encode())}


def is_sealed(content: dict) -> bool:
    """Whether a mapping holds the checksum of its other entries."""
    return content.get(SEAL) == sealed(content)[SEAL]


def write_sums(folder: Path, files: Iterable[str], more: dict[str, bytes] | None = None) -> None:
    """Write a run's ``sums.json``.

    Args:
        folder: of the run.
        files: that are there, relative to it.
        more: content of files that will be written after it.
    """
    sums = {name: digest((folder / name).read_bytes()) for name in files}
    sums |= {name: digest(content) for name, content in (more or {}).items()}
    write_text(folder / SUMS, json.dumps(sealed({"files": sums}), indent=2) + "\n")


def read_sums(folder: Path) -> dict[str, str] | None:
    """Return the checksums of a run's files by name; None where the run is older than checksums.

    Raises:
        SpecError: the list itself is damaged.
    """
    path = folder / SUMS
    try:
        content = json.loads(path.read_bytes())
        if is_sealed(content):
            return dict(content["files"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        pass
    raise SpecError(f"{path}: is damaged; delete the run's folder to train it again")


def read_checked(folder: Path, file: str) -> bytes:
    """Return a file of a run's folder, the same as training wrote it.

    Raises:
        SpecError: the file is not the one that training wrote; the message names it.
        OSError: it cannot be read.
    """
    sums, content = read_sums(folder), (folder / file).read_bytes()
    if sums is not None and sums.get(file) != digest(content):
        reason = "its SHA-256 is not the one in sums.json" if file in sums else "it is not listed in sums.json"
        raise SpecError(f"{folder / file}: is damaged ({reason}); delete the run's folder to train it again")
    return content


def _mark(path: Path) -> Path:
    return path.with_name(f".{path.name}.sha256")


def write_marked(path: Path, content: bytes) -> None:
    """Write a file at once, and beside it, hidden, its checksum: for files that later steps read back."""
    _mark(path).unlink(missing_ok=True)  # a kill between the two leaves a whole file without a mark
    write_bytes(path, content)
    write_text(_mark(path), digest(content) + "\n")


def check_marked(folder: Path) -> None:
    """Look through all marked files of a folder, also those that nothing reads but people.

    Raises:
        SpecError: one was altered since it was written.
    """
    for mark in sorted(folder.glob(".*.sha256")):
        path = folder / mark.name.removeprefix(".").removesuffix(".sha256")
        if path.is_file():
            read_marked(path)


def read_marked(path: Path) -> bytes:
    """Return a file's content, the same as was written with its mark; a file without one is taken as it is.

    Raises:
        SpecError: it was altered since.
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    try:
        expected = _mark(path).read_bytes().strip()
    except FileNotFoundError:
        return content
    if expected != digest(content).encode():
        raise SpecError(f"{path}: is damaged (it was altered after it was written); build it again with `nrd report`")
    return content
