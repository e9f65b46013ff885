"""Vicinal predictions against one view after the other, losses against SciPy, AUROC against all pairs."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax
from sklearn.metrics import roc_auc_score

from nrd.augment.views import View
from nrd.evaluation import vicinal
from nrd.evaluation.vicinal import true_label_losses, vicinal_losses, vicinal_predictions
from nrd.metrics import density_auroc
from nrd.randomness import generator


@pytest.fixture
def parts():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 5)).eval()
    images = torch.randint(0, 256, (23, 3, 8, 8), dtype=torch.uint8)
    return network, images, View([0.5] * 3, [0.25] * 3, padding=2)


def test_both_means_are_those_of_the_views_drawn_one_by_one(parts):
    network, images, view = parts
    found = vicinal_predictions(network, images, view, draws=4, seed=7)
    logits = []
    for number in range(4):
        made = view(images, view.draw(23, 8, 8, generator(7, "vicinal", number)))
        logits.append(network(made).detach().double().numpy())
    np.testing.assert_allclose(found.probabilities, softmax(logits, axis=2).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.logits, np.mean(logits, axis=0), atol=1e-5)
    assert found.draws == 4
    assert not found.logits.requires_grad


def test_batches_do_not_matter_and_more_draws_begin_alike(parts, monkeypatch):
    network, images, view = parts
    whole = vicinal_predictions(network, images, view, draws=2, seed=1)
    monkeypatch.setattr(vicinal, "BATCH", 5)
    split = vicinal_predictions(network, images, view, draws=2, seed=1)
    torch.testing.assert_close(whole.probabilities, split.probabilities)
    third = vicinal.view_logits(network, images, view, 1, 2)
    more = vicinal_predictions(network, images, view, draws=3, seed=1)
    torch.testing.assert_close(more.logits, (2 * split.logits + third) / 3)


def test_other_seeds_draw_other_views_and_none_are_refused(parts):
    network, images, view = parts
    one, other = (vicinal_predictions(network, images, view, 1, seed).logits for seed in (1, 2))
    assert not torch.equal(one, other)
    with pytest.raises(ValueError, match="at least 1"):
        vicinal_predictions(network, images, view, 0, 1)


def test_losses_reach_beyond_what_probabilities_can_hold():
    logits = np.random.default_rng(0).normal(scale=20, size=(50, 6))
    logits[0] = [0, 300, 0, 0, 0, 0]
    labels = np.arange(50) % 6
    expected = logsumexp(logits, axis=1) - logits[np.arange(50), labels]
    found = true_label_losses(torch.tensor(logits, dtype=torch.float32), torch.tensor(labels))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert found[0] == 300


def test_losses_of_mean_probabilities_are_their_logarithms_and_never_infinite():
    random = np.random.default_rng(1)
    probabilities = softmax(random.normal(scale=12, size=(40, 5)), axis=1).astype(np.float32)
    probabilities[0] = [0, 1, 0, 0, 0]
    labels = random.integers(0, 5, 40)
    labels[0] = 2
    found = vicinal_losses(torch.tensor(probabilities), torch.tensor(labels)).numpy()
    expected = -np.log(probabilities[np.arange(1, 40), labels[1:]].astype(float))
    np.testing.assert_allclose(found[1:], expected, rtol=1e-12)
    assert found[0] == pytest.approx(149 * np.log(2))


def test_auroc_is_the_share_of_pairs_in_order():
    random = np.random.default_rng(3)
    plain, vicinal = random.normal(1, 1, 40).round(1), random.normal(0, 2, 55).round(1)
    pairs = [(a > b) + 0.5 * (a == b) for a in plain for b in vicinal]
    assert density_auroc(plain, vicinal) == pytest.approx(np.mean(pairs))
    origin = np.repeat([1, 0], [len(plain), len(vicinal)])
    assert density_auroc(plain, vicinal) == pytest.approx(roc_auc_score(origin, np.concatenate([plain, vicinal])))
    assert density_auroc(torch.tensor(plain), torch.tensor(plain)) == pytest.approx(0.5)
