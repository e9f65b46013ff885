"""Losses against independent float64 implementations: SciPy for values, differences and algebra for gradients."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.special import log_softmax, rel_entr, softmax
from scipy.stats import entropy

from nrd.losses import (
    Bootstrapping,
    CrossEntropy,
    GeneralizedCrossEntropy,
    GeneralizedJensenShannon,
    JensenShannon,
    LabelSmoothing,
    Loss,
    MeanAbsoluteError,
    NCEAndRCE,
    NRDLoss,
    SymmetricCrossEntropy,
    js_divergence,
)

N, K = 6, 5


# --- references: functions of a list of logits (N, K) and label distributions y (N, K), in float64 ---------------


def ref_ce(z, y):
    return entropy(y, axis=1) + rel_entr(y, softmax(z[0], axis=1)).sum(1)


def ref_bootstrapping(beta):
    def reference(z, y):
        p = softmax(z[0], axis=1)
        return -(((1 - beta) * y + beta * p) * np.log(np.maximum(p, 1e-7))).sum(1)

    return reference


def ref_label_smoothing(epsilon):
    return lambda z, y: rel_entr((1 - epsilon) * y + epsilon / K, softmax(z[0], axis=1)).sum(1)


def ref_rce(z, y):
    return -(np.clip(softmax(z[0], axis=1), 1e-7, 1) * np.log(np.clip(y, 1e-4, 1))).sum(1)


def ref_nce(z, y):
    log_p = log_softmax(z[0], axis=1)
    return (y * log_p).sum(1) / log_p.sum(1)


def ref_gce(q):
    return lambda z, y: (y * (1 - np.clip(softmax(z[0], axis=1), 1e-7, 1) ** q) / q).sum(1)


def ref_mae(z, y):
    return np.linalg.norm(y - softmax(z[0], axis=1), ord=1, axis=1)


def ref_divergence(distributions, weights, kl_weights=None):
    """Definition with m clamped, from SciPy's x ln(x / y)."""
    m = np.clip(sum(w * d for w, d in zip(weights, distributions, strict=True)), 1e-7, 1)
    kl_weights = weights if kl_weights is None else kl_weights
    return sum(w * rel_entr(d, m).sum(1) for w, d in zip(kl_weights, distributions, strict=True))


def ref_js(weights, scale=True, kl_weights=None, teachers=0):
    """Label, one distribution per logits; the last ``teachers`` of them are averaged into one."""

    def reference(z, y):
        p = [softmax(logits, axis=1) for logits in z]
        if teachers:
            p = [*p[:-teachers], np.mean(p[-teachers:], axis=0)]
        z_scale = -(1 - weights[0]) * np.log(1 - weights[0]) if scale else 1.0
        return ref_divergence([y, *p], weights, kl_weights) / z_scale

    return reference


def first_only(loss, z, target):
    return loss(z[0], target)


@dataclass(frozen=True)
class Case:
    make: Callable[..., Loss]
    reference: Callable
    views: int = 1
    trained: int = 1  # the first so many views get a gradient
    call: Callable = first_only


def student_teacher(students):
    def call(loss, z, target):
        student, teacher = z[:students], z[students:]
        single = students == 1
        return loss(student[0] if single else student, teacher[0] if len(teacher) == 1 else teacher, target)

    return call


def as_list(loss, z, target):
    return loss(list(z), target)


NRD_PI, NRD_2 = (0.2, 0.6, 0.2), (0.1, 0.4, 0.4, 0.1)
CASES = {
    "ce": Case(CrossEntropy, ref_ce),
    "bs": Case(lambda **o: Bootstrapping(0.7, **o), ref_bootstrapping(0.7)),
    "ls": Case(lambda **o: LabelSmoothing(0.3, **o), ref_label_smoothing(0.3)),
    "sce": Case(
        lambda **o: SymmetricCrossEntropy(0.2, 1.5, **o), lambda z, y: 0.2 * ref_ce(z, y) + 1.5 * ref_rce(z, y)
    ),
    "gce": Case(lambda **o: GeneralizedCrossEntropy(0.7, **o), ref_gce(0.7)),
    "gce-small-q": Case(lambda **o: GeneralizedCrossEntropy(1e-3, **o), ref_gce(1e-3)),
    "nce-rce": Case(lambda **o: NCEAndRCE(10.0, 0.1, **o), lambda z, y: 10 * ref_nce(z, y) + 0.1 * ref_rce(z, y)),
    "mae": Case(MeanAbsoluteError, ref_mae),
    "js": Case(lambda **o: JensenShannon(0.7, **o), ref_js((0.7, 0.3))),
    "js-unscaled": Case(lambda **o: JensenShannon(0.7, scale=False, **o), ref_js((0.7, 0.3), scale=False)),
    "gjs": Case(lambda **o: GeneralizedJensenShannon(0.3, **o), ref_js((0.3, 0.35, 0.35)), 2, 2, as_list),
    "gjs-3": Case(
        lambda **o: GeneralizedJensenShannon(0.4, num_views=3, scale=False, **o),
        ref_js((0.4, 0.2, 0.2, 0.2), scale=False),
        3,
        3,
        as_list,
    ),
    "nrd": Case(lambda **o: NRDLoss(NRD_PI, **o), ref_js(NRD_PI), 2, 1, student_teacher(1)),
    "nrd-unscaled": Case(lambda **o: NRDLoss(NRD_PI, False, **o), ref_js(NRD_PI, False), 2, 1, student_teacher(1)),
    "nrd-uniform": Case(
        lambda **o: NRDLoss(NRD_PI, kl_weights="uniform", **o),
        ref_js(NRD_PI, True, [1 / 3] * 3),
        2,
        1,
        student_teacher(1),
    ),
    "nrd-through-teacher": Case(
        lambda **o: NRDLoss(NRD_PI, stop_gradient=False, **o), ref_js(NRD_PI), 2, 2, student_teacher(1)
    ),
    "nvr": Case(
        lambda **o: NRDLoss((0.0, 0.3, 0.7), False, **o), ref_js((0, 0.3, 0.7), False), 2, 1, student_teacher(1)
    ),
    "nrd-two-students": Case(lambda **o: NRDLoss(NRD_2, **o), ref_js(NRD_2), 3, 2, student_teacher(2)),
    "nrd-three-teachers": Case(lambda **o: NRDLoss(NRD_PI, **o), ref_js(NRD_PI, teachers=3), 4, 1, student_teacher(1)),
    "nrd-three-teachers-trained": Case(
        lambda **o: NRDLoss(NRD_PI, stop_gradient=False, **o), ref_js(NRD_PI, teachers=3), 4, 4, student_teacher(1)
    ),
}
every_loss = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def draw(case, seed=0, scale=2.0, samples=N):
    rng = np.random.default_rng(seed)
    return [rng.normal(0, scale, (samples, K)) for _ in range(case.views)], rng.integers(0, K, samples)


def soft_labels(seed=1, samples=N):
    return np.random.default_rng(seed).dirichlet(np.full(K, 0.7), samples)


def tensors(z, dtype=torch.float64):
    return [torch.tensor(logits, dtype=dtype, requires_grad=True) for logits in z]


def finite_differences(case, z, y, step=1e-5):
    """Gradient of the mean reference value with respect to the trained views."""
    gradients = [np.zeros_like(logits) for logits in z[: case.trained]]
    for view, gradient in enumerate(gradients):
        for index in np.ndindex(gradient.shape):
            for sign in (1, -1):
                moved = [logits.copy() for logits in z]
                moved[view][index] += sign * step
                gradient[index] += sign * case.reference(moved, y).mean() / (2 * step)
    return gradients


# --- values ------------------------------------------------------------------------------------------------------


@every_loss
@pytest.mark.parametrize("soft", [False, True], ids=["indices", "soft"])
def test_value_is_the_formula_for_every_reduction(case, soft):
    z, labels = draw(case)
    y = soft_labels() if soft else np.eye(K)[labels]
    target = torch.tensor(y if soft else labels)
    expected = case.reference(z, y)
    for reduction, want in (("none", expected), ("mean", expected.mean()), ("sum", expected.sum())):
        got = case.call(case.make(reduction=reduction), tensors(z), target)
        assert got.dtype == torch.float64
        np.testing.assert_allclose(got.detach(), want, rtol=1e-12, atol=1e-14)


@every_loss
def test_one_hot_probabilities_give_the_value_of_indices(case):
    z, labels = draw(case)
    y = np.eye(K)[labels]
    got = case.call(case.make(reduction="none"), tensors(z), torch.tensor(y))
    np.testing.assert_allclose(got.detach(), case.reference(z, y), rtol=1e-12, atol=1e-14)


@every_loss
@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_indices_of_any_integer_dtype(case, dtype):
    z, labels = draw(case)
    got = case.call(case.make(), tensors(z), torch.tensor(labels, dtype=dtype))
    np.testing.assert_allclose(got.item(), case.reference(z, np.eye(K)[labels]).mean(), rtol=1e-12)


@every_loss
def test_clamps_bind_where_the_formula_has_them(case):
    """Probabilities of about 1e-13, below the clamps of p and m."""
    z, labels = draw(case, scale=0.5)
    labels[0], labels[1] = 1, 2
    for logits in z:
        logits[:, 1] -= 30
    y = np.eye(K)[labels]
    got = case.call(case.make(reduction="none"), tensors(z), torch.tensor(labels))
    np.testing.assert_allclose(got.detach(), case.reference(z, y), rtol=1e-12)


def test_the_clamp_of_m_is_seen():
    d, e = torch.tensor([[1.0, 1e-9]], dtype=torch.float64), torch.tensor([[1.0, 3e-9]], dtype=torch.float64)
    unclamped = (jensenshannon(d[0], e[0]) ** 2).item()
    clamped = 0.5 * (1e-9 * np.log(1e-9 / 1e-7) + 3e-9 * np.log(3e-9 / 1e-7))
    got = js_divergence([d, e], [0.5, 0.5], validate=False).item()
    assert got == pytest.approx(clamped, rel=1e-12) and clamped < 0 < unclamped


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.9])
def test_label_smoothing_is_torchs_less_the_entropy_of_the_target(epsilon):
    z, labels = draw(CASES["ls"])
    target = torch.tensor(labels)
    q = (1 - epsilon) * np.eye(K)[0] + epsilon / K
    theirs = torch.nn.functional.cross_entropy(tensors(z)[0], target, label_smoothing=epsilon) - entropy(q)
    torch.testing.assert_close(LabelSmoothing(epsilon)(tensors(z)[0], target), theirs, rtol=1e-12, atol=0)


def test_mae_nce_and_rce_are_symmetric_losses():
    """Their sums over all classes are constant: 2 (K − 1), 1 and (K − 1) ln 1e4."""
    logits = torch.tensor(draw(CASES["mae"])[0][0])
    for loss, total in (
        (MeanAbsoluteError(reduction="none"), 2 * (K - 1)),
        (NCEAndRCE(1.0, 0.0, reduction="none"), 1),
        (SymmetricCrossEntropy(0.0, 1.0, reduction="none"), (K - 1) * np.log(1e4)),
        (GeneralizedCrossEntropy(1.0, reduction="none"), K - 1),
    ):
        sums = sum(loss(logits, torch.full((N,), label)) for label in range(K))
        np.testing.assert_allclose(sums, total, rtol=1e-12)


# --- gradients ---------------------------------------------------------------------------------------------------


@every_loss
@pytest.mark.parametrize("soft", [False, True], ids=["indices", "soft"])
def test_gradient_is_the_slope_of_the_formula(case, soft):
    z, labels = draw(case, samples=2)
    y = soft_labels(samples=2) if soft else np.eye(K)[labels]
    inputs = tensors(z)
    case.call(case.make(), inputs, torch.tensor(y if soft else labels)).backward()
    for tensor, expected in zip(inputs, finite_differences(case, z, y), strict=False):
        np.testing.assert_allclose(tensor.grad, expected, rtol=1e-6, atol=1e-9)
    assert all(tensor.grad is None for tensor in inputs[case.trained :])


@every_loss
def test_gradcheck(case):
    z, labels = draw(case, samples=3)
    inputs = tensors(z)
    fixed = [tensor.detach() for tensor in inputs[case.trained :]]
    loss = case.make(reduction="none", validate=False)

    def function(*trained):
        return case.call(loss, [*trained, *fixed], torch.tensor(labels))

    assert torch.autograd.gradcheck(function, inputs[: case.trained])


def test_closed_form_gradients():
    z, labels = draw(CASES["nrd"])
    p, t, y = softmax(z[0], axis=1), softmax(z[1], axis=1), np.eye(K)[labels]
    m = 0.2 * y + 0.6 * p + 0.2 * t
    log_ratio = np.log(p / m)
    p_y = (p * y).sum(1, keepdims=True)
    for name, expected in (
        ("ce", p - y),
        ("ls", p - 0.7 * y - 0.3 / K),
        ("mae", -2 * p_y * (y - p)),
        ("gce", -(p_y**0.7) * (y - p)),
        ("nrd-unscaled", 0.6 * p * (log_ratio - (p * log_ratio).sum(1, keepdims=True))),
    ):
        inputs = tensors(z[: CASES[name].views])
        CASES[name].call(CASES[name].make(reduction="sum"), inputs, torch.tensor(labels)).backward()
        np.testing.assert_allclose(inputs[0].grad, expected, rtol=1e-11, atol=1e-14, err_msg=name)
