"""Measures of predictions against scikit-learn and torchmetrics, and the mid-point ECE against its definition."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, top_k_accuracy_score
from torchmetrics.functional.classification import multiclass_calibration_error

from nrd import metrics


@pytest.fixture(scope="module", params=[(2000, 10, 1.0), (500, 100, 1.5), (37, 2, 0.3)])
def sample(request):
    size, classes, scale = request.param
    random = np.random.default_rng(size)
    logits = scale * random.standard_normal((size, classes))
    labels = np.where(random.random(size) < 0.5, logits.argmax(axis=1), random.integers(0, classes, size))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return probabilities, labels


def test_accuracies_and_likelihood_are_scikit_learns(sample):
    p, y = sample
    classes = np.arange(p.shape[1])
    assert metrics.accuracy(p, y) == accuracy_score(y, p.argmax(axis=1))
    if len(classes) > 5:
        assert metrics.top_k_accuracy(p, y, 5) == top_k_accuracy_score(y, p, k=5, labels=classes)
    assert metrics.negative_log_likelihood(p, y) == pytest.approx(log_loss(y, p, labels=classes), rel=1e-9)


def test_brier_score_is_the_squared_distance(sample):
    p, y = sample
    expected = np.mean([sum((p[i, k] - (k == y[i])) ** 2 for k in range(p.shape[1])) for i in range(len(y))])
    assert metrics.brier_score(p, y) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("bins", [10, 15])
def test_ece_is_torchmetrics(sample, bins):
    p, y = sample
    expected = multiclass_calibration_error(torch.tensor(p), torch.tensor(y), p.shape[1], n_bins=bins)
    assert metrics.expected_calibration_error(p, y, bins) == pytest.approx(float(expected), abs=1e-6)


def test_midpoint_ece_by_hand():
    # confidences .93 (right), .91 and 1 (wrong), .55 (right): bins .9-1 and .5-.6
    p = np.array([[0.93, 0.07], [0.91, 0.09], [0.45, 0.55], [1.0, 0.0]])
    y = np.array([0, 1, 1, 1])
    assert metrics.midpoint_calibration_error(p, y) == pytest.approx((3 * abs(1 / 3 - 0.95) + 1 * abs(1 - 0.55)) / 4)


def test_float16_changes_no_calibration_error_of_an_overconfident_network():
    random = np.random.default_rng(5)
    logits = 10 * random.standard_normal((3000, 10))
    y = np.where(random.random(3000) < 0.8, logits.argmax(axis=1), random.integers(0, 10, 3000))
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = (p / p.sum(axis=1, keepdims=True)).astype(np.float32).clip(max=np.float32(1 - 2.0**-24))
    stored = p.astype(np.float16)
    assert (stored.max(axis=1) == 1).mean() > 0.2 and (p.max(axis=1) < 1).all()
    found, expected = (metrics.midpoint_calibration_error(each, y) for each in (stored, p))
    assert found == pytest.approx(expected, abs=1e-3)
    # Without those that were rounded to 1 it would be another number altogether.
    inside = stored.max(axis=1) < 1
    dropped = metrics.midpoint_calibration_error(stored[inside], y[inside]) * inside.mean()
    assert abs(dropped - expected) > 0.02


def test_a_perfect_prediction_is_perfect():
    p, y = np.eye(4), np.arange(4)
    assert metrics.accuracy(p, y) == metrics.top_k_accuracy(p, y, 1) == 1
    assert metrics.negative_log_likelihood(p, y) == metrics.brier_score(p, y) == 0
    assert metrics.expected_calibration_error(p, y) == 0


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"expected \(N, K\) probabilities and \(N,\) labels"):
        metrics.accuracy(np.ones((3, 2)), np.zeros(4, dtype=int))


def test_metrics_json_is_what_the_files_say(tiny_project):
    """From the run's folder by other means: csv and numpy by hand, scikit-learn."""
    for name, spec in tiny_project.study("tiny").specs.items():
        folder = tiny_project.layout.run(name)
        found = json.loads((folder / "metrics.json").read_text())
        rows = [line.split(",") for line in (folder / "history.csv").read_text().splitlines()]
        columns = {key: [float(row[i]) for row in rows[1:]] for i, key in enumerate(rows[0])}
        with np.load(folder / "predictions.npz") as content:
            p, y = content["student_test"].astype(float), content["test_labels"]
            true, given = content["train_true"], content["train_given"]
            predicted = content["student_train"].argmax(axis=1)
        assert found["test_accuracy_last"] == columns["test_accuracy"][-1]
        assert found["test_accuracy_best"] == max(columns["test_accuracy"])
        chosen = int(np.argmax(columns["validation_accuracy"]))
        assert found["test_accuracy_validation_selected"] == columns["test_accuracy"][chosen]
        assert found["test_accuracy"] == accuracy_score(y, p.argmax(axis=1))
        assert found["actual_noise_rate"] == np.mean(true != given)
        assert found["train_memorised"] == np.mean(predicted[true != given] == given[true != given])
        assert ("teacher_test_accuracy" in found) == (spec.method.teacher is not None)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("history.csv", lambda text: text.rsplit("\n", 2)[0] + "\n"),
        ("history.csv", lambda text: text.replace("\n2,", "\n3,")),
        ("history.csv", lambda text: "nonsense"),
        ("spec.yaml", lambda text: text.replace("seed: 1", "seed: 7")),
        ("spec.yaml", lambda text: ""),
        ("machine.json", lambda text: text[:20]),
    ],
)
def test_altered_files_make_no_metrics(tiny_project, tmp_path, file, change):
    import shutil

    from nrd.evaluation.run_metrics import evaluate_run
    from nrd.layout import Layout
    from nrd.spec import SpecError

    name = next(iter(tiny_project.study("tiny").specs))
    layout = Layout(tmp_path)
    shutil.copytree(tiny_project.layout.run(name), layout.run(name))
    path = layout.run(name) / file
    path.write_text(change(path.read_text()))
    (layout.run(name) / "metrics.json").unlink()
    with pytest.raises(SpecError, match=file):
        evaluate_run(name, layout)
    assert not (layout.run(name) / "metrics.json").exists()


def test_truncated_predictions_make_no_metrics(tiny_project, tmp_path):
    import shutil

    from nrd.evaluation.run_metrics import evaluate_run
    from nrd.layout import Layout
    from nrd.spec import SpecError

    name = next(iter(tiny_project.study("tiny").specs))
    layout = Layout(tmp_path)
    shutil.copytree(tiny_project.layout.run(name), layout.run(name))
    path = layout.run(name) / "predictions.npz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(SpecError, match=r"predictions.npz: is damaged"):
        evaluate_run(name, layout)


def test_ties_that_float16_makes_are_no_damage_but_other_predictions_are(project):
    from nrd.evaluation.run_metrics import evaluate_run
    from nrd.spec import SpecError
    from tests.test_report import finish_run

    spec = next(iter(project.study("tiny").specs.values()))
    finish_run(project.layout, spec, 100)
    path = project.layout.run(spec.name) / "predictions.npz"
    with np.load(path) as content:
        arrays = dict(content)
    test = arrays["student_test"]
    for image in (1, 11):  # right ones of class 1: of 0 and 1, now equally likely, the first is predicted
        test[image, :2] = 0.5
    np.savez(path, **arrays)
    assert evaluate_run(spec.name, project.layout)["test_accuracy"] == 0.49
    for image in (1, 11):
        test[image, :2] = (0.51, 0.49)
    np.savez(path, **arrays)
    with pytest.raises(SpecError, match="not of one run"):
        evaluate_run(spec.name, project.layout)
