"""Writing files so that a killed process or a full disk leaves the old content or the new, never a part."""

import errno
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_AGAIN = "then run the same command again: it continues from here"
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), f"; make room there, {_AGAIN}"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), f"; make it writable, {_AGAIN}"),
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST), f"; move away what is there, {_AGAIN}"),
    errno.EIO: f"; look after the disk, {_AGAIN}",
}


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it takes the place of ``path``, on failure it is removed.

    Raises:
        OSError: naming ``path``: it cannot be written.
    """
    with errors_name(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{_owner()}{os.getpid()}.tmp")
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())  # some writers make files that only their owner can read
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    _sweep(path)


@contextmanager
def errors_name(path: Path) -> Iterator[None]:
    """Let errors of the file system name the file that was to be written: a full disk's own error names none."""
    try:
        yield
    except OSError as error:
        inside = str(error.filename or "")
        if not inside or inside.endswith(".tmp"):
            error.filename = str(path)
        raise


def _owner() -> str:
    """Host of the process that writes; only there can its number say whether it lives."""
    return f"{platform.node() or 'localhost'}-"


def _sweep(path: Path) -> None:
    """Remove what processes of this machine that were killed while writing ``path`` left beside it."""
    start = f".{path.name}.{_owner()}"
    for name in os.listdir(path.parent):  # noqa: PTH208 - a folder of thousands of files: names are enough
        number = name.removeprefix(start).removesuffix(".tmp")
        if name.startswith(start) and name.endswith(".tmp") and number.isdecimal() and not _is_alive(int(number)):
            path.with_name(name).unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _umask() -> int:
    """The process's mask; it can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file at once.

    Libraries that write files themselves tell of a full disk each in its own way: let them write to memory, and this
    to the disk.
    """
    with replace_file(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text file at once."""
    write_bytes(path, text.encode())


def append_text(path: Path, text: str) -> None:
    """Add to a text file that others read while it grows."""
    with errors_name(path), path.open("a", encoding="utf-8", newline="") as file:
        file.write(text)


def write_if_changed(path: Path, text: str) -> bool:
    """Write a text file only if its content differs, so that its time changes only when its content does."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    write_text(path, text)
    return True


def remedy(error: OSError) -> str:
    """Return what a person can do about an error of the file system, to follow the error's own text."""
    return _REMEDIES.get(error.errno, "")
