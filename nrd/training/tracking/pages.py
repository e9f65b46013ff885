"""Where MLflow's interface shows a study's runs: word of it is left for the study's report."""

import json
from collections.abc import Mapping
from pathlib import Path

from nrd.files import write_text
from nrd.layout import Layout
from nrd.training.tracking.store import shown

FILE = "mlflow.json"  # in the study's folder
HOST, PORT = "127.0.0.1", 5000  # of `nrd ui`, unless other ones are given
KIND = "workflowType=machine_learning"  # of MLflow's pages: not those for language models


def page(experiment: str, run: str) -> str:
    """Return what follows ``#/`` in the address of an MLflow run's page."""
    return f"experiments/{experiment}/runs/{run}?{KIND}"


def write_pages(layout: Layout, study: str, pages: Mapping[str, str], uri: str) -> Path:
    """Write the addresses of a study's runs.

    Args:
        layout: Folders of the project.
        study: Its name.
        pages: What :func:`page` returns, by run.
        uri: The store. A server has an address of its own; any other store is shown by ``nrd ui``.
    """
    server = shown(uri) if uri.startswith("http") else f"http://{HOST}:{PORT}"
    path = layout.study(study) / FILE
    write_text(path, json.dumps({"server": server, "runs": dict(pages)}, indent=1) + "\n")
    return path
