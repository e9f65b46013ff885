"""MLflow's web interface on the project's store."""

import os
import socket
import sys
from typing import NoReturn

from nrd.layout import Layout
from nrd.training.tracking.pages import HOST, KIND, PORT
from nrd.training.tracking.store import (
    ENVIRONMENT,
    URI_VARIABLE,
    TrackingError,
    is_server,
    open_client,
    prepare_store,
    shown,
    sqlite_path,
    store_uri,
)

SHOWN = 12  # experiments whose address is printed


def open_ui(layout: Layout, host: str = HOST, port: int = PORT, uri: str | None = None) -> NoReturn:
    """Become MLflow's web server, until it is interrupted. Does not return.

    Only this machine can reach it unless another ``host`` is given.

    Raises:
        TrackingError: the store is a server already (the message has its address), or the port is taken.
    """
    uri = store_uri(layout, uri)
    if is_server(uri):
        raise TrackingError(f"the store is an MLflow server: open {shown(uri)} in a browser")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise TrackingError(f"{host}:{port} cannot be served on ({error.strerror}); choose another port") from None
    print("starting MLflow, which takes up to a minute ...", file=sys.stderr, flush=True)
    path = sqlite_path(uri)
    if path is None or not path.is_file():
        prepare_store(layout, uri)
    pages = f"http://{host}:{port}/#/experiments"
    print(f"MLflow on {shown(uri)}: {pages}?{KIND} (ctrl-c ends it)", file=sys.stderr, flush=True)
    for number, name in _experiments(layout, uri):
        print(f"  {name}: {pages}/{number}/runs?{KIND}&viewStateShareKey=methods", file=sys.stderr, flush=True)
    command = _command(layout, host, port)
    os.execve(command[0], command, _environment(uri))  # signals then reach the server itself


def _experiments(layout: Layout, uri: str) -> list[tuple[str, str]]:
    """Return number and name of each dataset's experiment: MLflow's own way to one leads through other pages."""
    try:
        found = open_client(layout, uri).search_experiments(filter_string="name != 'Default'", max_results=SHOWN)
        return sorted(((one.experiment_id, one.name) for one in found), key=lambda pair: pair[1])
    except Exception:  # whatever it is, the server will tell
        return []


def _command(layout: Layout, host: str, port: int) -> list[str]:
    """One worker serves a person; artifacts are read from where their runs say."""
    artifacts = layout.root.resolve() / "mlartifacts"
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    return [*command, "--artifacts-destination", artifacts.as_uri()]


def _environment(uri: str) -> dict[str, str]:
    """The address goes through the environment, where `ps` does not show a password."""
    return {**ENVIRONMENT, **os.environ, "MLFLOW_BACKEND_STORE_URI": uri, URI_VARIABLE: uri}
