"""Losses as PyTorch modules: precision, extreme inputs, errors, compilation, devices, imports."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.overrides import TorchFunctionMode

import nrd.losses
from nrd.losses import (
    Bootstrapping,
    CrossEntropy,
    GeneralizedCrossEntropy,
    GeneralizedJensenShannon,
    JensenShannon,
    LabelLoss,
    LabelSmoothing,
    NCEAndRCE,
    NRDLoss,
    SymmetricCrossEntropy,
    js_divergence,
)
from tests.test_losses import CASES, K, N, draw, every_loss, finite_differences, soft_labels, tensors

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


# --- precision ---------------------------------------------------------------------------------------------------


@every_loss
def test_float32_is_close_to_the_float64_formula(case):
    z, labels = draw(case, samples=2)
    y = np.eye(K)[labels]
    inputs = tensors(z, torch.float32)
    loss = case.call(case.make(), inputs, torch.tensor(labels))
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(case.reference(z, y).mean(), rel=2e-6)
    for tensor, expected in zip(inputs, finite_differences(case, z, y), strict=False):
        np.testing.assert_allclose(tensor.grad, expected, rtol=1e-5, atol=1e-6)


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("soft", [False, True], ids=["indices", "soft"])
def test_half_precision_under_autocast_is_computed_in_float32(case, dtype, soft):
    z, labels = draw(case, samples=2)
    inputs = tensors(z, dtype)
    rounded = [tensor.detach().double().numpy() for tensor in inputs]  # the numbers that the loss is given
    y = soft_labels(samples=2) if soft else np.eye(K)[labels]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = case.call(case.make(), inputs, torch.tensor(y if soft else labels))
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(case.reference(rounded, y).mean(), rel=2e-6)
    for tensor, expected in zip(inputs, finite_differences(case, rounded, y), strict=False):
        unit = torch.finfo(dtype).eps  # the gradient itself comes back in half precision
        np.testing.assert_allclose(tensor.grad.double(), expected, rtol=unit, atol=1e-6)


class AutocastStates(TorchFunctionMode):
    """Notes whether autocast is on when a softmax or a logarithm is taken."""

    def __init__(self):
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") in ("softmax", "log_softmax", "log"):
            self.seen.append(torch.is_autocast_enabled("cpu"))
        return func(*args, **(kwargs or {}))


@every_loss
def test_autocast_is_off_inside_and_on_again_after(case):
    z, labels = draw(case)
    with torch.autocast("cpu", dtype=torch.bfloat16), AutocastStates() as states:
        case.call(case.make(), tensors(z), torch.tensor(labels))
        assert torch.is_autocast_enabled("cpu")
    assert states.seen and not any(states.seen)


def test_matrix_products_of_a_new_loss_escape_autocast():
    transitions = torch.tensor(soft_labels(samples=K), dtype=torch.float32)

    class ForwardCorrection(LabelLoss):
        def per_sample(self, log_p, y):
            return -(y * (log_p.exp() @ transitions).log()).sum(-1)

    z, labels = draw(CASES["ce"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = ForwardCorrection()(tensors(z, torch.float32)[0], torch.tensor(labels))
    expected = -np.log((softmax(z[0], axis=1) @ transitions.double().numpy())[np.arange(N), labels]).mean()
    assert loss.item() == pytest.approx(expected, rel=2e-6)


def test_mixed_precision_views_meet_in_the_wider_one():
    z, labels = draw(CASES["nrd"])
    student, teacher = torch.tensor(z[0]), torch.tensor(z[1]).bfloat16()
    loss = NRDLoss()(student, teacher, torch.tensor(labels))
    expected = CASES["nrd"].reference([z[0], teacher.double().numpy()], np.eye(K)[labels]).mean()
    assert loss.dtype == torch.float64 and loss.item() == pytest.approx(expected, rel=1e-6)


EXTREMES = [[1e4, -1e4, 0, 0, 0], [1e4] * 5, [-1e4] * 5, [1e4, 1e4, -1e4, -1e4, 0], [0, 1e4, -1e4, 40, -40], [0.0] * 5]


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("soft", [False, True], ids=["indices", "soft"])
def test_extreme_logits_give_finite_losses_and_gradients(case, dtype, soft):
    rows = [np.tile(np.roll(EXTREMES, shift, axis=0), (K, 1)) for shift in range(case.views)]
    inputs = [torch.tensor(logits, dtype=dtype, requires_grad=True) for logits in rows]
    labels = torch.arange(K).repeat_interleave(len(EXTREMES))
    target = torch.tensor(soft_labels(samples=len(labels))) if soft else labels
    values = case.call(case.make(reduction="none"), inputs, target)
    values.sum().backward()
    assert values.isfinite().all()
    assert all(tensor.grad.isfinite().all() for tensor in inputs[: case.trained])


def test_extreme_logits_keep_their_value():
    logits, right, wrong = torch.tensor([[1e4, -1e4]]), torch.tensor([0]), torch.tensor([1])
    assert CrossEntropy()(logits, wrong).item() == 2e4
    for loss, worst in (
        (Bootstrapping(0.5), -np.log(1e-7) / 2),
        (GeneralizedCrossEntropy(0.5), (1 - 1e-7**0.5) / 0.5),
        (NCEAndRCE(1.0, 0.0), 1.0),
        (JensenShannon(0.5), 2.0),  # ln 2 / (½ ln 2)
        (JensenShannon(0.5, scale=False), np.log(2)),
    ):
        assert loss(logits, wrong).item() == pytest.approx(worst, rel=1e-5)
        assert loss(logits, right).item() == pytest.approx(0, abs=1e-6)


# --- the teacher -------------------------------------------------------------------------------------------------


def test_teacher_gets_no_gradient_unless_asked():
    z, labels = draw(CASES["nrd"])
    for stop_gradient in (True, False):
        student, teacher = tensors(z)
        network = torch.nn.Linear(K, K, dtype=torch.float64)
        loss = NRDLoss(stop_gradient=stop_gradient)(student, [teacher, network(teacher)], torch.tensor(labels))
        loss.backward()
        assert student.grad.abs().max() > 1e-3
        for parameter in (teacher, network.weight):
            assert (parameter.grad is None) if stop_gradient else (parameter.grad.abs().max() > 1e-3)


# --- errors ------------------------------------------------------------------------------------------------------

LOGITS, LABELS = torch.zeros(N, K), torch.zeros(N, dtype=torch.long)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Bootstrapping(1.0), r"beta must lie in \[0, 1\), got 1.0"),
        (lambda: LabelSmoothing(-0.1), r"epsilon must lie in \[0, 1\)"),
        (lambda: GeneralizedCrossEntropy(0), r"q must lie in \(0, 1\]"),
        (lambda: GeneralizedCrossEntropy(float("nan")), r"q must lie in \(0, 1\]"),
        (lambda: SymmetricCrossEntropy(-1, 1), "alpha and beta must be finite, >= 0"),
        (lambda: NCEAndRCE(0, 0), "not all 0"),
        (lambda: NCEAndRCE(float("nan"), 1), "must be finite"),
        (lambda: JensenShannon(0), r"pi1 must lie in \(0, 1\)"),
        (lambda: GeneralizedJensenShannon(1.0), r"pi1 must lie in \(0, 1\)"),
        (lambda: GeneralizedJensenShannon(0.3, num_views=0), "num_views must be at least 1"),
        (lambda: GeneralizedJensenShannon(0.3, num_views=2.5), "num_views must be at least 1 and whole, got 2.5"),
        (lambda: GeneralizedJensenShannon(0.3, num_views=None), "num_views must be at least 1 and whole, got None"),
        (lambda: NRDLoss((0.5, 0.5)), "label, student, teacher"),
        (lambda: NRDLoss((0.2, 0.6, 0.3)), "pi must be non-negative and sum to 1"),
        (lambda: NRDLoss((-0.2, 0.6, 0.6)), "pi must be non-negative and sum to 1"),
        (lambda: NRDLoss((0.5, 0.0, 0.5)), "student's weight in pi must be positive"),
        (lambda: NRDLoss((0, 1, 0), scale=False), "two distributions"),
        (lambda: NRDLoss((0, 0.5, 0.5)), "use scale=False"),
        (lambda: NRDLoss((0, 0.5, 0.5), False, "uniform"), "kl_weights='pi'"),
        (lambda: NRDLoss(kl_weights="equal"), "'pi' or 'uniform', got 'equal'"),
        (lambda: CrossEntropy(reduction="average"), "one of 'mean', 'none', 'sum', got 'average'"),
        (lambda: js_divergence([LOGITS], [0.5, 0.5]), "one weight per distribution, got 1 and 2"),
        (lambda: js_divergence([], []), "sum to 1"),
        (lambda: js_divergence([LOGITS + 0.2, LOGITS + 0.2], [0.5, 0.6]), "weights must be non-negative and sum to 1"),
        (lambda: js_divergence([LOGITS + 0.2, LOGITS], [0.5, 0.5]), r"row of distributions\[1\]"),
        (lambda: js_divergence([LOGITS + 0.2, LOGITS[:2]], [0.5, 0.5]), "one shape"),
        (lambda: js_divergence([LOGITS + 0.2], [1.0], reduction="max"), "reduction must be"),
    ],
)
def test_wrong_settings_say_what_was_expected(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NRDLoss(pi=0.3), r"pi must be a list of numbers \(label, student ..., teacher\), got float 0.3"),
        (lambda: NRDLoss(pi=None), "pi must be a list .*, got None"),
        (lambda: NRDLoss(pi="0.2"), "pi must be a list .*, got str '0.2'"),
        (lambda: NRDLoss(pi=(0.2, "a", 0.2)), r"pi\[1\] must be a number, got str 'a'"),
        (lambda: JensenShannon(None), "pi1 must be a number, got None"),
        (lambda: JensenShannon([0.3, 0.7]), "pi1 must be a number, got list of length 2"),
        (lambda: Bootstrapping("0.5"), "beta must be a number, got str '0.5'"),
        (lambda: GeneralizedCrossEntropy(True), "q must be a number, got bool True"),
        (lambda: SymmetricCrossEntropy(None, 1), "alpha must be a number, got None"),
        (lambda: js_divergence([LOGITS + 0.2], 1.0), "weights must be a list of numbers, got float 1.0"),
        (lambda: js_divergence(None, [1.0]), r"distributions must be .* \(N, K\) or a list of them, got None"),
        (lambda: js_divergence([[0.2]], [1.0]), r"distributions\[0\] must be a torch.Tensor .*, got list of length 1"),
    ],
)
def test_wrong_types_of_settings_say_what_was_expected(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_numbers_of_numpy_and_torch_are_numbers():
    for number in (np.float32(0.25), np.float64(0.25), torch.tensor(0.25), np.array(0.25)):
        assert JensenShannon(number).pi1 == 0.25
    for numbers in ([0.25, 0.5, 0.25], np.array([0.25, 0.5, 0.25]), torch.tensor([0.25, 0.5, 0.25])):
        assert NRDLoss(numbers).pi == (0.25, 0.5, 0.25)
    assert GeneralizedJensenShannon(num_views=np.int64(3)).num_views == 3
    stacked = torch.full((2, 3, 4), 0.25)
    assert js_divergence(stacked, [0.5, 0.5]).item() == js_divergence(list(stacked), [0.5, 0.5]).item() == 0


WRONG_TYPES = [[[0.0] * K] * N, np.zeros((N, K)), None, "logits", 3]


@every_loss
def test_anything_but_tensors_is_refused_with_what_was_expected(case):
    for wrong in WRONG_TYPES:
        with pytest.raises(TypeError, match=r"logits.* must be a torch.Tensor of shape \(N, K\).*, got "):
            case.call(case.make(), [wrong] * case.views, LABELS)
        for view in range(case.views):
            views = [wrong if index == view else LOGITS for index in range(case.views)]
            with pytest.raises(TypeError, match=r"logits.* must be a torch.Tensor of shape \(N, K\).*, got "):
                case.call(case.make(), views, LABELS)
    target = r"target must be a torch.Tensor of shape \(6,\), integer class indices, or \(6, 5\), probabilities, got "
    for wrong, got in (
        (LABELS.tolist(), "list of length 6"),
        (LABELS.numpy(), r"numpy.ndarray of shape \(6,\)"),
        (None, "None"),
        (2, "int 2"),
    ):
        with pytest.raises(TypeError, match=target + got):
            case.call(case.make(validate=False), [LOGITS] * case.views, wrong)


WRONG_SHAPES = [
    (torch.zeros(N, K, 2), LABELS, r"must have shape \(N, K\) with K >= 2 classes, got \(6, 5, 2\)"),
    (torch.zeros(N, 1), LABELS, "K >= 2"),
    (torch.zeros(N, K, dtype=torch.long), LABELS, "must be floating point, got torch.int64"),
    (LOGITS, LABELS[:3], r"shape \(6,\) or .* \(6, 5\), got torch.int64 of shape \(3,\)"),
    (LOGITS, LABELS.unsqueeze(1), "got torch.int64 of shape"),
    (LOGITS, LABELS.float(), "got torch.float32 of shape"),
    (LOGITS, LABELS.bool(), "got torch.bool"),
    (LOGITS, torch.full((N, K - 1), 0.25), r"\(6, 5\), got torch.float32 of shape \(6, 4\)"),
    (LOGITS, torch.zeros(N, K, dtype=torch.long), "got torch.int64"),
]
WRONG_VALUES = [
    (torch.tensor([0, 1, 2, 3, 4, 5]), r"class indices must lie in \[0, 5\), got 5"),
    (torch.tensor([0, -1, 2, 3, 4, 0]), "got -1"),
    (torch.full((N, K), 0.3), "sum to 1, .* row sums in .1.5, 1.5"),
    (torch.tensor([[1.2, -0.2, 0, 0, 0]] * N), "non-negative"),
    (torch.tensor([[float("nan"), 1.0, 0, 0, 0]] * N), "non-negative and sum to 1"),
]


@every_loss
def test_wrong_shapes_are_refused_always(case):
    for logits, target, message in WRONG_SHAPES:
        with pytest.raises(ValueError, match=message):
            case.call(case.make(validate=False), [logits] * case.views, target)


@every_loss
def test_wrong_values_are_refused(case):
    for target, message in WRONG_VALUES:
        with pytest.raises(ValueError, match=message):
            case.call(case.make(), [LOGITS] * case.views, target)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GeneralizedJensenShannon()(LOGITS, LABELS), r"logits must hold 2 view\(s\), got 1"),
        (lambda: GeneralizedJensenShannon()([LOGITS] * 3, LABELS), r"2 view\(s\), got 3"),
        (lambda: GeneralizedJensenShannon()([LOGITS, LOGITS[:, :4]], LABELS), "one shape"),
        (lambda: NRDLoss()([LOGITS] * 2, LOGITS, LABELS), r"student_logits must hold 1 view\(s\), got 2"),
        (lambda: NRDLoss((0.1, 0.4, 0.4, 0.1))(LOGITS, LOGITS, LABELS), r"2 view\(s\), got 1"),
        (lambda: NRDLoss()(LOGITS, [], LABELS), "teacher_logits must hold at least one view"),
        (lambda: NRDLoss()(LOGITS, LOGITS[:, :4], LABELS), "one shape"),
    ],
)
def test_wrong_views_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_values_are_not_looked_at_without_validation():
    """A fake tensor has no values: whatever asks for one, as a device synchronisation does, raises."""
    for case in CASES.values():
        with FakeTensorMode():
            z = [torch.empty(N, K) for _ in range(case.views)]
            for target in (torch.empty(N, dtype=torch.long), torch.empty(N, K)):
                assert case.call(case.make(validate=False), z, target).shape == ()
                with pytest.raises(DataDependentOutputException):
                    case.call(case.make(validate=True), z, target)


# --- modules -----------------------------------------------------------------------------------------------------


def test_modules_show_their_settings_and_hold_no_state():
    loss = NRDLoss((0.1, 0.8, 0.1), scale=False, kl_weights="uniform", reduction="sum")
    shown = "pi=(0.1, 0.8, 0.1), scale=False, kl_weights='uniform', stop_gradient=True, reduction='sum'"
    assert repr(loss) == f"NRDLoss({shown})"
    for case in CASES.values():
        assert not case.make().state_dict() and not list(case.make().parameters())


def test_a_new_loss_is_one_method():
    class Brier(LabelLoss):
        def per_sample(self, log_p, y):
            return (y - log_p.exp()).square().sum(-1)

    assert Brier()(torch.zeros(3, 4), torch.tensor([0, 1, 2])).item() == pytest.approx(0.75**2 + 3 * 0.25**2)


COMPILED = ["ce", "bs", "ls", "sce", "gce", "nce-rce", "mae", "js", "gjs", "nrd-uniform", "nrd-two-students"]


@pytest.mark.parametrize("name", [*COMPILED, "nrd-three-teachers"])
def test_compiles_to_one_graph(name):
    torch.compiler.reset()
    case = CASES[name]
    z, labels = draw(case, samples=2)
    y = np.eye(K)[labels]
    inputs = tensors(z)
    compiled = torch.compile(case.make(), fullgraph=True, backend="aot_eager")
    loss = case.call(compiled, inputs, torch.tensor(labels))
    loss.backward()
    assert loss.item() == pytest.approx(case.reference(z, y).mean(), rel=1e-12)
    for tensor, expected in zip(inputs, finite_differences(case, z, y), strict=False):
        np.testing.assert_allclose(tensor.grad, expected, rtol=1e-6, atol=1e-9)


def test_importing_the_losses_imports_torch_only():
    script = (
        "import sys, nrd.losses\n"
        "heavy = {'dvc', 'matplotlib', 'mlflow', 'pandas', 'pydantic', 'sklearn', 'snakemake', 'torchvision'}\n"
        "loaded = heavy & set(sys.modules) | {name for name in sys.modules if name.startswith('nrd.')}\n"
        "print(*sorted(loaded))"
    )
    root = Path(nrd.losses.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["nrd.losses", "nrd.losses.base", "nrd.losses.divergence", "nrd.losses.robust"]


# --- GPU ---------------------------------------------------------------------------------------------------------


@GPU
@every_loss
def test_gpu_agrees_with_the_formula(case):
    z, labels = draw(case, samples=2)
    y = np.eye(K)[labels]
    inputs = [torch.tensor(a, dtype=torch.float32, device="cuda", requires_grad=True) for a in z]
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss = case.call(case.make(), inputs, torch.tensor(labels, device="cuda"))
    loss.backward()
    assert loss.item() == pytest.approx(case.reference(z, y).mean(), rel=5e-6)
    for tensor, expected in zip(inputs, finite_differences(case, z, y), strict=False):
        np.testing.assert_allclose(tensor.grad.cpu(), expected, rtol=1e-5, atol=1e-6)


@GPU
@every_loss
def test_gpu_step_does_not_synchronise(case):
    z, labels = draw(case)
    inputs = [torch.tensor(a, device="cuda", requires_grad=True) for a in z]
    target = torch.tensor(labels, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        case.call(case.make(validate=False), inputs, target).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@GPU
@every_loss
def test_gpu_step_can_be_captured_even_with_validation(case):
    z, labels = draw(case)
    inputs = [torch.tensor(a, device="cuda") for a in z]
    target = torch.tensor(labels, device="cuda")
    loss = case.make()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        case.call(loss, inputs, target)
    side.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = case.call(loss, inputs, target)
    graph.replay()
    assert captured.item() == pytest.approx(case.reference(z, np.eye(K)[labels]).mean(), rel=1e-9)
