"""From a trained run's files to its ``metrics.json``. Needs no torch, no dataset and no GPU."""

import csv
import io
import json
import math
from pathlib import Path

import numpy as np

from nrd import metrics
from nrd.checksums import read_checked, sealed
from nrd.files import write_text
from nrd.layout import Layout
from nrd.spec import RunSpec, SpecError

NETWORKS = ("student", "teacher")


def evaluate_run(name: str, layout: Layout) -> dict:
    """Compute and write a trained run's ``metrics.json``; return its content.

    Raises:
        SpecError: as :func:`measure_run`.
    """
    result = sealed(measure_run(name, layout.run(name)))
    write_text(layout.run(name) / "metrics.json", json.dumps(result, indent=2) + "\n")
    return result


def measure_run(name: str, folder: Path) -> dict:
    """Compute what is written to a trained run's ``metrics.json`` from the other files of its folder.

    Returns:
        Its content. Accuracies are shares in [0, 1]:
        ``test_accuracy_last`` after the last epoch (what the tables show, as the paper's do),
        ``test_accuracy_best`` over all epochs, chosen by looking at the test part (an upper bound, not a result),
        ``test_accuracy_validation_selected`` at the epoch with the best accuracy on the noisy validation part;
        ``test_*`` also for the teacher where there is one; ``train_*`` on plain training images after the last epoch.

    Raises:
        SpecError: a file is missing or damaged, or holds another run's spec; the message names it.
    """
    spec = _read_spec(folder / "spec.yaml")
    if spec.name != name:
        raise SpecError(f"{folder / 'spec.yaml'}: is the spec of {spec.name}; delete the folder to train {name} again")
    history = read_history(folder / "history.csv")
    if len(history) != spec.optimization.epochs:
        raise SpecError(f"{folder / 'history.csv'}: has {len(history)} of {spec.optimization.epochs} epochs")
    predictions = _read_predictions(folder / "predictions.npz")
    result = {"run": name, **_selected(history, folder / "history.csv")}
    try:
        result |= _predicted(predictions)
        ties = _ties(predictions["student_test"])
    except (KeyError, IndexError, ValueError, TypeError) as error:
        again = "delete the run's folder to train it again"
        raise SpecError(f"{folder / 'predictions.npz'}: its arrays do not fit together ({error}); {again}") from None
    _check_agreement(result, ties, folder)
    return result | _machine(folder / "machine.json")


def _read_spec(path: Path) -> RunSpec:
    try:
        read_checked(path.parent, path.name)
        return RunSpec.from_yaml(path)
    except SpecError as error:
        again = "delete the run's folder to train it again"
        reason = str(error).partition("\n")[0]
        raise SpecError(reason if reason.endswith(again) else f"{reason}; {again}") from None
    except OSError as error:
        raise SpecError(f"{path}: is missing or damaged ({error}); delete the run's folder to train it again") from None


def read_history(path: Path) -> list[dict[str, float]]:
    """Return the rows of a ``history.csv``; an empty cell is NaN."""
    try:
        text = read_checked(path.parent, path.name).decode()
        rows = [
            {key: float(value) if value else math.nan for key, value in row.items()}
            for row in csv.DictReader(io.StringIO(text, newline=""))
        ]
    except SpecError:
        raise
    except (OSError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise SpecError(f"{path}: is missing or damaged ({error}); delete the run's folder to train it again") from None
    if [row.get("epoch") for row in rows] != list(range(1, len(rows) + 1)):
        raise SpecError(f"{path}: its epochs do not count 1, 2, 3, ...; delete the run's folder to train it again")
    return rows


def _read_predictions(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(read_checked(path.parent, path.name)), allow_pickle=False) as content:
            return {key: content[key] for key in content}
    except SpecError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy each raise their own for a damaged file
        raise SpecError(f"{path}: is missing or damaged ({error}); delete the run's folder to train it again") from None


def _predicted(predictions: dict[str, np.ndarray]) -> dict[str, float]:
    result = {}
    true, given = predictions["train_true"], predictions["train_given"]
    for network in NETWORKS:
        if f"{network}_test" in predictions:
            if predictions[f"{network}_train"].shape[:1] != true.shape or given.shape != true.shape:
                raise ValueError("one prediction per label is needed")
            prefix = "" if network == "student" else f"{network}_"
            result |= {f"{prefix}{key}": value for key, value in _test(network, predictions).items()}
            result |= {f"{prefix}{key}": value for key, value in _train(network, predictions).items()}
    if "test_accuracy" not in result:
        raise KeyError("student_test")
    result["actual_noise_rate"] = float(np.mean(true != given))
    return result


def _selected(history: list[dict[str, float]], path: Path) -> dict[str, float]:
    evaluated = [row for row in history if not math.isnan(row.get("test_accuracy", math.nan))]
    if not evaluated:
        raise SpecError(f"{path}: has no test accuracy; delete the run's folder to train it again")
    best = max(evaluated, key=lambda row: row["test_accuracy"])  # the first of equals
    result = {
        "test_accuracy_last": evaluated[-1]["test_accuracy"],
        "test_accuracy_best": best["test_accuracy"],
        "test_accuracy_best_epoch": int(best["epoch"]),
    }
    if "validation_accuracy" in evaluated[-1]:
        chosen = max(evaluated, key=lambda row: row["validation_accuracy"])
        result |= {
            "validation_accuracy_last": evaluated[-1]["validation_accuracy"],
            "validation_accuracy_best": chosen["validation_accuracy"],
            "test_accuracy_validation_selected": chosen["test_accuracy"],
            "validation_selected_epoch": int(chosen["epoch"]),
        }
    return result


def _test(network: str, predictions: dict[str, np.ndarray]) -> dict[str, float]:
    probabilities, labels = predictions[f"{network}_test"], predictions["test_labels"]
    return {
        "test_accuracy": metrics.accuracy(probabilities, labels),
        "test_top5_accuracy": metrics.top_k_accuracy(probabilities, labels, 5),
        "test_nll": metrics.negative_log_likelihood(probabilities, labels),
        "test_brier": metrics.brier_score(probabilities, labels),
        "test_ece": metrics.expected_calibration_error(probabilities, labels),
        "test_ece_midpoint": metrics.midpoint_calibration_error(probabilities, labels),
    }


def _train(network: str, predictions: dict[str, np.ndarray]) -> dict[str, float]:
    predicted = predictions[f"{network}_train"].argmax(axis=1)
    true, given = predictions["train_true"], predictions["train_given"]
    wrong = true != given
    result = {"train_clean_accuracy": float(np.mean(predicted[~wrong] == true[~wrong])) if (~wrong).any() else None}
    if wrong.any():
        result["train_mislabeled_accuracy"] = float(np.mean(predicted[wrong] == true[wrong]))
        result["train_memorised"] = float(np.mean(predicted[wrong] == given[wrong]))
    return result


def _ties(probabilities: np.ndarray) -> float:
    """Share of images whose two most likely classes were rounded to the same probability: either may come out."""
    two = np.partition(probabilities, -2, axis=1)[:, -2:]
    return float(np.mean(two[:, 0] == two[:, 1]))


def _check_agreement(result: dict, ties: float, folder: Path) -> None:
    """History and predictions tell of the same network: float16 turns ties, of which young networks have many."""
    if abs(result["test_accuracy_last"] - result["test_accuracy"]) > 0.005 + ties:
        raise SpecError(
            f"{folder}: history.csv ends at test accuracy {result['test_accuracy_last']:.4f}, predictions.npz gives "
            f"{result['test_accuracy']:.4f}; the files are not of one run: delete the folder to train it again"
        )


def _machine(path: Path) -> dict:
    try:
        machine = dict(json.loads(read_checked(path.parent, path.name)))
    except SpecError:
        raise
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise SpecError(f"{path}: is missing or damaged ({error}); delete the run's folder to train it again") from None
    return {key: machine.get(key) for key in ("git_commit", "device", "host", "torch", "started", "finished")}
