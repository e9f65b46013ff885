"""Views that MLflow's interface offers on each experiment, under "Views": the right columns and groups to start from.

MLflow keeps such views as tags of the experiment. Their format is its own and may change: a view that a later
interface does not understand is left out of its menu, and nothing else depends on them.
"""

import json

# Makes the interface open an experiment as trainings rather than as traces of language models.
KIND = {"mlflow.experimentKind": "custom_model_development"}
PREFIX = "mlflow.sharedViewState."
CREATED = 1_700_000_000_000  # any fixed time: the same tags whenever they are written

RUN_COLUMNS = (
    "tags.`noise`",
    "tags.`method`",
    "tags.`seed`",
    "metrics.`epochs`",
    "metrics.`epoch/test_accuracy`",
    "metrics.`epoch/train_memorised`",
    "metrics.`result/test_accuracy_last`",
    "metrics.`result/test_accuracy_best`",
    "metrics.`result/test_ece`",
    "tags.`studies`",
)
VIEWS = {
    "runs": ("Runs", None),
    "methods": ("Methods, mean over seeds", ("cell",)),
}


def experiment_tags() -> dict[str, str]:
    """Return the tags of an experiment: its kind and its saved views."""
    return KIND | {f"{PREFIX}{key}": _view(name, groups) for key, (name, groups) in VIEWS.items()}


def _view(name: str, groups: tuple[str, ...] | None) -> str:
    state = {
        "selectedColumns": list(RUN_COLUMNS),
        "columnOrder": list(RUN_COLUMNS),
        "orderByKey": "tags.`mlflow.runName`",
        "orderByAsc": True,
        "groupBy": groups and {"aggregateFunction": "average", "groupByKeys": [_group(tag) for tag in groups]},
    }
    return json.dumps({"name": name, "createdAt": CREATED, "updatedAt": CREATED, "state": json.dumps(state)})


def _group(tag: str) -> dict[str, str]:
    return {"mode": "tag", "groupByData": tag}
