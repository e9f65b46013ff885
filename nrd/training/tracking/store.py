"""Which MLflow store a project writes to, and how its database is made ready."""

import hashlib
import logging
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from filelock import FileLock, Timeout

from nrd.files import write_text
from nrd.layout import Layout

if TYPE_CHECKING:
    from mlflow import MlflowClient

SWITCH = "NRD_TRACKING"
URI_VARIABLE = "MLFLOW_TRACKING_URI"
OFF = ("off", "0", "false", "no")
LOCK_SECONDS = 600.0
SQLITE = "sqlite:///"

# Our defaults where the user sets none. MLflow's own would try an unreachable server for minutes, report usage to
# its makers, and (since 3) start a job queue beside the web server.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


class TrackingError(RuntimeError):
    """The store cannot be used. The message is for people."""


def is_enabled() -> bool:
    """Whether runs are mirrored: ``NRD_TRACKING=off`` switches it off."""
    return os.environ.get(SWITCH, "on").strip().lower() not in OFF


def store_uri(layout: Layout, uri: str | None = None) -> str:
    """Return the store in use: the one given, ``MLFLOW_TRACKING_URI``, or the project's own database.

    A relative SQLite file is made absolute, so that processes with other working folders mean the same file.
    """
    uri = uri or os.environ.get(URI_VARIABLE) or f"{SQLITE}{layout.root.resolve() / 'mlflow.db'}"
    path = sqlite_path(uri)
    return uri if path is None or path.is_absolute() else f"{SQLITE}{path.resolve()}"


def sqlite_path(uri: str) -> Path | None:
    """Return the file of a SQLite store, None for any other store."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def is_server(uri: str) -> bool:
    """Whether the store is an MLflow server, which decides itself where artifacts go."""
    return uri.startswith(("http://", "https://", "databricks"))


def shown(uri: str) -> str:
    """Return the address as it may appear in logs: without user name and password."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def tracking_folder(layout: Layout) -> Path:
    """Return the folder of the mirror's own small files."""
    return layout.root / "scratch" / ".tracking"


def store_key(uri: str) -> str:
    """Return a short name for a store, fit for file names."""
    return hashlib.sha256(uri.encode()).hexdigest()[:12]


def store_lock(layout: Layout, uri: str) -> FileLock:
    """Return the lock that writers of a store share; a database file has it beside itself."""
    path = sqlite_path(uri)
    file = tracking_folder(layout) / f"{store_key(uri)}.store.lock" if path is None else Path(f"{path}.lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(file, timeout=LOCK_SECONDS)


def project_id(layout: Layout) -> str:
    """Return this project folder's identity.

    On a store that several clones share, a clone replaces only the runs that it wrote itself.
    """
    file = tracking_folder(layout) / "project"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):
            if not file.is_file():
                write_text(file, uuid.uuid4().hex[:12])
    return file.read_text(encoding="utf-8")


def prepare_store(layout: Layout, uri: str) -> None:
    """Create or upgrade the tables of a SQLite store, one process at a time.

    Processes that open a new database at the same moment fail in MLflow itself. Other stores are left to those who
    run them.

    Raises:
        TrackingError: the database cannot be made ready.
    """
    path = sqlite_path(uri)
    if path is None:
        return
    _be_quiet()
    from mlflow.db import upgrade

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with store_lock(layout, uri):
            upgrade.callback(uri)
    except Timeout:
        raise TrackingError(f"{path}: another process has held its lock for {LOCK_SECONDS:.0f} s") from None
    except Exception as error:  # alembic, sqlalchemy, sqlite3 and MLflow each raise their own
        raise TrackingError(f"{path}: cannot be made ready for MLflow ({first_line(error)})") from None


def open_client(layout: Layout, uri: str) -> "MlflowClient":
    """Return a client of a store that is ready.

    Raises:
        TrackingError: MLflow is not installed, or the store cannot be used.
    """
    _be_quiet()
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise TrackingError("MLflow is not installed; install it with: pip install 'nrd[workflow]'") from None
    prepare_store(layout, uri)
    try:
        return MlflowClient(tracking_uri=uri)
    except Exception as error:  # an unknown scheme, a refused file store, a database of a newer MLflow
        raise TrackingError(f"{shown(uri)}: MLflow cannot open this store ({first_line(error, uri)})") from None


def _be_quiet() -> None:
    """Set our defaults before MLflow reads them; each step of a schema's upgrade is a log line otherwise."""
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)


def first_line(error: BaseException, uri: str = "") -> str:
    """Return an error's first line, without the store's password; its kind where it says nothing."""
    secret = urlsplit(uri).netloc.rpartition("@")[0]
    text = str(error).replace(f"{secret}@", "") if secret else str(error)
    lines = text.strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
