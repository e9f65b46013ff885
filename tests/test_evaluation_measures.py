"""Calibration of several runs, people's uncertainty, polygons: against SciPy, torchmetrics and loops."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy as scipy_entropy
from scipy.stats import spearmanr
from sklearn.metrics import confusion_matrix
from torchmetrics.functional.classification import multiclass_calibration_error

from nrd.evaluation.calibration import calibration, pool
from nrd.evaluation.people import entropy, entropy_correlation, human_cross_entropy
from nrd.evaluation.projection import project, vertices
from nrd.metrics import confusion_counts, reliability


def draw(seed, size=400, classes=10, sharpness=1.0):
    random = np.random.default_rng(seed)
    logits = sharpness * random.standard_normal((size, classes))
    labels = np.where(random.random(size) < 0.5, logits.argmax(axis=1), random.integers(0, classes, size))
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), labels


def test_pooled_diagrams_are_those_of_all_samples_and_errors_are_means():
    samples = [draw(1), draw(2, size=150), draw(3, sharpness=4.0)]
    pooled = pool(calibration(p, y) for p, y in samples)
    together = reliability(np.concatenate([p for p, _ in samples]), np.concatenate([y for _, y in samples]), 10)
    for key, expected in together.items():
        np.testing.assert_allclose(getattr(pooled, key), expected, rtol=1e-12)
    errors = [
        float(multiclass_calibration_error(torch.tensor(p), torch.tensor(y), p.shape[1], n_bins=15)) for p, y in samples
    ]
    assert pooled.ece == pytest.approx(np.mean(errors), abs=1e-6)
    assert pooled.runs == 3


def test_an_empty_bin_stays_empty():
    pooled = pool([calibration(*draw(1, classes=2))] * 2)
    assert pooled.count[:4].tolist() == [0] * 4
    assert np.isnan(pooled.accuracy[:4]).all()
    assert np.isfinite(pooled.accuracy[5:]).all()


def test_confusion_is_scikit_learns():
    p, y = draw(4)
    expected = confusion_matrix(y, p.argmax(axis=1), labels=np.arange(12))
    np.testing.assert_array_equal(confusion_counts(y, p.argmax(axis=1), 12), expected)
    assert confusion_counts(y[:0], y[:0], 3).sum() == 0


def people(seed=0, size=400):
    """Shares of 50 answers, most of them unanimous: entropies have many ties."""
    random = np.random.default_rng(seed)
    answers = random.multinomial(50, random.dirichlet(np.full(10, 0.03), size))
    return answers / answers.sum(axis=1, keepdims=True)


def test_cross_entropy_and_entropy_are_scipys():
    p, human = draw(5)[0], people()
    cross = np.mean([scipy_entropy(h) + scipy_entropy(h, q) for h, q in zip(human, p, strict=True)])
    assert human_cross_entropy(p, human) == pytest.approx(cross, rel=1e-12)
    np.testing.assert_allclose(entropy(human), scipy_entropy(human, axis=1), atol=1e-14)
    assert human_cross_entropy(human, human) == pytest.approx(scipy_entropy(human, axis=1).mean())
    hard = np.eye(10)[human.argmin(axis=1)]
    assert math.isfinite(human_cross_entropy(hard, human))


def test_correlation_of_entropies_is_scipys_with_ties():
    human = people()
    assert (entropy(human) == 0).mean() > 0.2
    for seed in range(3):
        p = 0.5 * draw(seed)[0] + 0.5 * human
        expected = spearmanr(*(scipy_entropy(values, axis=1).round(10) for values in (p, human))).statistic
        assert entropy_correlation(p, human) == pytest.approx(expected, rel=1e-9)
    assert math.isnan(entropy_correlation(np.eye(10)[[0, 1]], human[:2]))


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"expected two \(N, K\) arrays"):
        human_cross_entropy(np.ones((3, 10)), np.ones((4, 10)))


@pytest.mark.parametrize("classes", [3, 10, 100])
def test_projection_is_a_weighted_mean_of_complex_roots(classes):
    p = np.random.default_rng(classes).dirichlet(np.ones(classes), (5, 7))
    roots = [complex(math.cos(a), math.sin(a)) for a in (2 * math.pi / classes * (i + 0.5) for i in range(classes))]
    found = project(p)
    assert found.shape == (5, 7, 2)
    for index in np.ndindex(5, 7):
        expected = sum(weight * root for weight, root in zip(p[index], roots, strict=True))
        assert complex(*found[index]) == pytest.approx(expected)
    np.testing.assert_allclose(project(np.eye(classes)), vertices(classes))
    np.testing.assert_allclose(project(np.full(classes, 1 / classes)), 0, atol=1e-12)
