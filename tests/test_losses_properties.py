"""What is known of the losses: limits, decompositions, bounds, symmetries."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from nrd.losses import GeneralizedJensenShannon, JensenShannon, NRDLoss, js_divergence
from tests.test_losses import CASES, K, N, draw, every_loss, ref_divergence


def test_js_tends_to_cross_entropy_for_small_pi1():
    z, labels = draw(CASES["js"])
    logits, target = torch.tensor(z[0]), torch.tensor(labels)
    ce = -log_softmax(z[0], axis=1)[np.arange(N), labels]
    distances = [
        np.abs(JensenShannon(pi1, reduction="none")(logits, target).numpy() - ce) for pi1 in 10.0 ** -np.arange(1, 7)
    ]
    assert all((after < before).all() for before, after in pairwise(distances))
    assert (distances[-1] < 1e-3).all()


def test_js_tends_to_half_the_mae_for_large_pi1_at_its_known_pace():
    """JS − (1 − p_y) = (1 − p_y + p_y ln p_y) / |ln(1 − π₁)| + O(1 − π₁)."""
    z, labels = draw(CASES["js"], scale=0.3)
    p_y = softmax(z[0], axis=1)[np.arange(N), labels]
    before = np.inf
    for rest in 10.0 ** -np.arange(1, 6):
        loss = JensenShannon(1 - rest, reduction="none")(torch.tensor(z[0]), torch.tensor(labels)).numpy()
        distance = loss - (1 - p_y)
        assert (distance > 0).all() and (distance < before).all()
        before = distance
    np.testing.assert_allclose(distance * -np.log(rest), 1 - p_y + p_y * np.log(p_y), rtol=1e-3)


def test_gjs_of_equal_views_is_js():
    z, labels = draw(CASES["js"])
    got = GeneralizedJensenShannon(0.7, num_views=4, reduction="none")([torch.tensor(z[0])] * 4, torch.tensor(labels))
    np.testing.assert_allclose(got, CASES["js"].reference(z, np.eye(K)[labels]), rtol=1e-12)


def test_gjs_is_js_of_the_mean_view_plus_consistency():
    z, labels = draw(CASES["gjs"])
    y, p = np.eye(K)[labels], [softmax(logits, axis=1) for logits in z]
    fit = ref_divergence([y, (p[0] + p[1]) / 2], [0.3, 0.7])
    consistency = jensenshannon(p[0], p[1], axis=1) ** 2
    got = GeneralizedJensenShannon(0.3, scale=False, reduction="none")(
        [torch.tensor(a) for a in z], torch.tensor(labels)
    )
    np.testing.assert_allclose(got, fit + 0.7 * consistency, rtol=1e-12)
    assert (consistency > 1e-2).all()


def test_nrd_averages_probabilities_of_teachers_not_logits():
    student, certain = torch.zeros(1, 2), torch.tensor([[40.0, -40.0]])
    loss = NRDLoss((0.0, 0.5, 0.5), scale=False)
    target = torch.tensor([0])
    assert loss(student, [certain, -certain, certain, -certain], target).item() == pytest.approx(0, abs=1e-7)
    mean_of_three = ref_divergence([np.array([[0.5, 0.5]]), np.array([[2 / 3, 1 / 3]])], [0.5, 0.5]).item()
    assert loss(student, [certain, certain, -certain], target).item() == pytest.approx(mean_of_three, abs=1e-7)


def test_uniform_kl_weights_are_about_five_times_the_value_at_a_large_pi1():
    wrong, target = torch.tensor([[-20.0, 20.0]]), torch.tensor([0])
    pi, uniform = (NRDLoss((0.9, 0.05, 0.05), kl_weights=w)(wrong, wrong, target).item() for w in ("pi", "uniform"))
    assert uniform / pi == pytest.approx(
        (-np.log(0.9) - 2 * np.log(0.1)) / 3 / -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    )
    assert 4.7 < uniform / pi < 4.9


probability = st.floats(0, 1, allow_subnormal=False)
rows = st.integers(2, 4).flatmap(
    lambda m: st.tuples(
        st.lists(st.lists(probability, min_size=4, max_size=4).filter(lambda r: sum(r) > 0.01), min_size=m, max_size=m),
        st.lists(st.floats(0.01, 1), min_size=m, max_size=m),
    )
)


@settings(deadline=None, max_examples=60)
@given(rows, st.randoms(use_true_random=False))
def test_divergence_is_bounded_and_blind_to_order(drawn, random):
    distributions = [np.array([row]) / sum(row) for row in drawn[0]]
    weights = (np.array(drawn[1]) / sum(drawn[1])).tolist()
    value = js_divergence([torch.tensor(d) for d in distributions], weights).item()
    assert -1e-5 <= value <= entropy(weights) + 1e-9
    np.testing.assert_allclose(value, ref_divergence(distributions, weights).item(), rtol=1e-9, atol=1e-12)
    classes, order = random.sample(range(4), 4), random.sample(range(len(weights)), len(weights))
    shuffled = js_divergence([torch.tensor(distributions[j][:, classes]) for j in order], [weights[j] for j in order])
    np.testing.assert_allclose(shuffled, value, rtol=1e-9, atol=1e-12)


@every_loss
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.1, 1.0, 10.0, 100.0]))
def test_losses_are_not_negative_and_blind_to_the_order_of_classes(case, seed, scale):
    z, labels = draw(case, seed, scale)
    order = np.random.default_rng(seed + 1).permutation(K)
    loss = case.make(reduction="none")
    value = case.call(loss, [torch.tensor(a) for a in z], torch.tensor(labels))
    moved = case.call(loss, [torch.tensor(a[:, order]) for a in z], torch.tensor(np.argsort(order)[labels]))
    torch.testing.assert_close(moved, value, rtol=1e-9, atol=1e-9)
    assert (value >= -1e-5).all()


@settings(deadline=None, max_examples=50)
@given(pi1=st.floats(0.01, 0.99), seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1.0, 10.0, 1000.0]))
def test_scaled_js_is_at_most_that_of_a_certain_error(pi1, seed, scale):
    z, labels = draw(CASES["js"], seed, scale)
    z_scale = -(1 - pi1) * np.log(1 - pi1)
    value = JensenShannon(pi1, reduction="none")(torch.tensor(z[0]), torch.tensor(labels))
    assert (value <= entropy([pi1, 1 - pi1]) / z_scale + 1e-5).all()
