"""NRD's teacher: each switch changes what it says and nothing else, against float64 recursions and plain autograd."""

import copy

import pytest
import torch

from nrd.methods.base import Batch, Context
from nrd.methods.distillation import NRD
from nrd.methods.registry import create_method
from nrd.models import create_model
from nrd.spec import MethodSpec, SpecError, TeacherSpec, ViewSpec
from nrd.training.step import Step

K, B = 10, 16
PI = [0.2, 0.6, 0.2]


def network(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return create_model("preact_resnet", K, 1, widths=(4, 8), blocks=(1, 1), generator=generator)


def make(teacher=None, frozen=None, **hyperparameters):
    method = NRD(**{"pi": PI, **hyperparameters}, teacher=TeacherSpec(**(teacher or {})))
    given = {} if frozen is None else {"frozen": frozen}
    method.setup([network()], num_samples=100, num_classes=K, **given)
    return method.train()


def make_batch(method, seed=0):
    generator = torch.Generator().manual_seed(seed)
    views = {
        role: [torch.randn(B, 1, 8, 8, generator=generator) for _ in range(count)]
        for role, count in method.view_counts.items()
    }
    return Batch(views, torch.randint(K, (B,), generator=generator), torch.arange(B))


def context():
    return Context(torch.device("cpu"), seed=0, epochs=1, steps_per_epoch=10, batch_size=B)


def steps(method, number):
    """Take real steps; yield after each."""
    optimizer = torch.optim.SGD(method.trainable(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    take = Step(method, optimizer, context(), "float32")
    for step in range(number):
        take(make_batch(method, step))
        yield step


def doubles(tensors):
    return [tensor.detach().double().clone() for tensor in tensors]


def running(module):
    return [b for name, b in module.named_buffers() if not name.endswith("num_batches_tracked")]


def gradients(method, batch):
    method.zero_grad()
    method.step(context(), batch)["loss"].backward()
    return [p.grad.clone() for p in method.trainable()]


def divergence(pi, distributions, scale=True):
    """Equation 19 in float64, term by term; scaled by -(1 - pi1) ln(1 - pi1)."""
    distributions = [d.double() for d in distributions]
    mixture = sum(w * d for w, d in zip(pi, distributions, strict=True))
    terms = [w * (torch.special.xlogy(d, d) - d * mixture.log()).sum(1) for w, d in zip(pi, distributions, strict=True)]
    z = -(1 - pi[0]) * torch.log(torch.tensor(1 - pi[0], dtype=torch.float64)) if scale else 1.0
    return (sum(terms) / z).mean()


def onehot(batch):
    return torch.nn.functional.one_hot(batch.targets, K).double()


# --- the average (equation 24) --------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.99, 0.999])
def test_averaged_weights_follow_equation_24(decay):
    method = make({"decay": decay})
    student, teacher = method.networks[0], method.teacher.network
    expected = doubles(student.parameters())
    assert all(torch.equal(a, b) for a, b in zip(teacher.parameters(), student.parameters(), strict=True))
    for _ in steps(method, 8):
        current = doubles(student.parameters())
        expected = [decay * old + (1 - decay) * new for old, new in zip(expected, current, strict=True)]
    for mine, wanted in zip(teacher.parameters(), expected, strict=True):
        torch.testing.assert_close(mine.double(), wanted, rtol=1e-5, atol=1e-6)
        assert not mine.requires_grad and mine.grad is None
    moved = [not torch.equal(a, b) for a, b in zip(teacher.parameters(), student.parameters(), strict=True)]
    assert not any(moved) if decay == 0 else all(moved)


def test_only_the_student_is_trained_and_both_are_kept():
    method = make()
    assert {id(p) for p in method.trainable()} == {id(p) for p in method.networks[0].parameters()}
    assert method.exports() == {"student": method.networks[0], "teacher": method.teacher.network}


@pytest.mark.parametrize("buffers", ["average", "copy"])
def test_running_statistics_of_an_eval_teacher(buffers):
    method = make({"batch_norm": "eval", "buffers": buffers, "decay": 0.9})
    student, teacher = method.networks[0], method.teacher.network
    expected = doubles(running(student))
    for _ in steps(method, 5):
        current = doubles(running(student))
        expected = [0.9 * old + 0.1 * new for old, new in zip(expected, current, strict=True)]
    wanted, other = (expected, current) if buffers == "average" else (current, expected)
    for mine, right, wrong in zip(running(teacher), wanted, other, strict=True):
        torch.testing.assert_close(mine.double(), right, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(mine.double(), wrong, rtol=1e-3, atol=1e-6)


def test_running_statistics_of_a_train_teacher_are_those_of_its_own_views():
    method = make()
    norm = next(m for m in method.teacher.network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    seen = []
    norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach().double()))
    for _ in steps(method, 4):
        pass
    mean, variance = torch.zeros(norm.num_features).double(), torch.ones(norm.num_features).double()
    for value in seen:
        mean = 0.9 * mean + 0.1 * value.mean((0, 2, 3))
        variance = 0.9 * variance + 0.1 * value.var((0, 2, 3))
    assert len(seen) == 4
    torch.testing.assert_close(norm.running_mean.double(), mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(norm.running_var.double(), variance, rtol=1e-5, atol=1e-6)


# --- whose statistics normalise the teacher's view ------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ema", "self"])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_batch_norm_mode(kind, mode):
    method = make({"kind": kind, "batch_norm": mode})
    for _ in steps(method, 3):
        pass
    student, source = method.networks[0], method.teacher.network or method.networks[0]
    view = make_batch(method, 9).views["teacher"][0]
    before, expected = copy.deepcopy(running(student)), copy.deepcopy(source).train(mode == "train")(view)
    logits = method.teacher(view, student)
    assert torch.equal(logits, expected.detach()) and not logits.requires_grad
    alone = method.teacher(view[:4], student)
    assert torch.allclose(alone, logits[:4], atol=1e-5) == (mode == "eval")
    moved = not all(torch.equal(a, b) for a, b in zip(before, running(student), strict=True))
    assert moved == (kind == "self" and mode == "train")
    assert student.training


# --- self -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_self_teacher_has_no_weights_and_gives_no_gradient(mode):
    method = make({"kind": "self", "batch_norm": mode})
    assert not list(method.teacher.parameters()) and set(method.exports()) == {"student"}
    batch, student = make_batch(method), method.networks[0]
    found = gradients(method, batch)
    twin = network().train()
    y_s = twin(batch.views["student"][0]).softmax(1)
    with torch.no_grad():
        y_t = copy.deepcopy(student).train(mode == "train")(batch.views["teacher"][0]).softmax(1)
    if mode == "eval":  # the running statistics have moved with the student's view by then
        with torch.no_grad():
            y_t = copy.deepcopy(twin).eval()(batch.views["teacher"][0]).softmax(1)
    divergence(PI, [onehot(batch), y_s, y_t]).backward()
    for mine, parameter in zip(found, twin.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-3, atol=1e-6)


# --- stop-gradient --------------------------------------------------------------------------------------------------


def test_without_stop_gradient_the_loss_is_gjs_with_two_kinds_of_view():
    free, stopped = make({"kind": "self"}, stop_gradient=False), make({"kind": "self"})
    batch = make_batch(free)
    found, held = gradients(free, batch), gradients(stopped, batch)
    twin = network().train()
    y_s, y_t = (twin(batch.views[role][0]).softmax(1) for role in ("student", "teacher"))
    divergence(PI, [onehot(batch), y_s, y_t]).backward()
    for mine, without, parameter in zip(found, held, twin.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-3, atol=1e-6)
        assert not torch.allclose(mine, without, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("teacher", [{}, {"kind": "frozen", "batch_norm": "eval", "checkpoint": "a"}])
def test_without_stop_gradient_another_networks_teacher_is_refused(teacher):
    spec = MethodSpec(
        name="nrd",
        implementation="nrd.methods.distillation:NRD",
        hyperparameters={"pi": PI, "stop_gradient": False},
        views={"student": ViewSpec(name="crop"), "teacher": ViewSpec(name="augmix")},
        teacher=TeacherSpec(**teacher),
    )
    with pytest.raises(SpecError, match="method nrd: stop_gradient: false needs a teacher of kind self"):
        create_method(spec)


# --- frozen ---------------------------------------------------------------------------------------------------------


def test_a_frozen_teacher_never_moves():
    finished = network(seed=5).eval()
    for buffer in running(finished):
        buffer.uniform_(0.5, 1.5)
    method = make({"kind": "frozen", "batch_norm": "eval", "checkpoint": "before"}, frozen=copy.deepcopy(finished))
    start = doubles(method.networks[0].parameters())
    for step in steps(method, 4):
        view = make_batch(method, step).views["teacher"][0]
        assert torch.equal(method.teacher(view, method.networks[0]), finished(view).detach())
    wanted = finished.state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in method.teacher.network.state_dict().items())
    assert all(not torch.equal(a, b) for a, b in zip(start, doubles(method.networks[0].parameters()), strict=True))
    assert set(method.exports()) == {"student"}
    with pytest.raises(ValueError, match="needs the network of a finished run"):
        make({"kind": "frozen", "batch_norm": "eval", "checkpoint": "before"})


# --- numbers of views, weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("students", "teachers"), [(1, 1), (2, 1), (1, 2), (1, 4), (2, 2)])
def test_loss_of_several_views(students, teachers):
    pi = PI if students == 1 else [0.2, 0.3, 0.3, 0.2]
    method = make({"batch_norm": "eval"}, student_views=students, teacher_views=teachers, pi=pi)
    assert method.view_counts == {"student": students, "teacher": teachers}
    batch = make_batch(method)
    twin, taught = network().train(), copy.deepcopy(method.teacher.network).eval()
    with torch.no_grad():
        y_s = [twin(view).softmax(1) for view in batch.views["student"]]
        y_t = sum(taught(view).double().softmax(1) for view in batch.views["teacher"]) / teachers
    expected = divergence(pi, [onehot(batch), *y_s, y_t])
    found = method.step(context(), batch)
    assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(found["logits"].softmax(1), y_s[0], atol=1e-6)


def test_the_loop_draws_as_many_views_as_are_asked_for():
    from nrd.augment import create_view
    from nrd.data.device import Part
    from nrd.training.batches import make_batches

    method = make(student_views=2, teacher_views=4, pi=[0.2, 0.3, 0.3, 0.2])
    images = torch.randint(256, (32, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    part = Part(images, torch.zeros(32, dtype=torch.int64), torch.zeros(32, dtype=torch.int64))
    views = {role: create_view("crop", (0.5,), (0.5,), padding=2) for role in ("student", "teacher")}
    order = torch.arange(32).view(2, 16)
    for batch, _ in make_batches(part, order, views, method.view_counts, (1, 0), 1024):
        made = [view for role in ("student", "teacher") for view in batch.views[role]]
        assert [len(batch.views[role]) for role in ("student", "teacher")] == [2, 4]
        assert all(not torch.equal(a, b) for i, a in enumerate(made) for b in made[:i])


def test_nvr_alone_does_not_see_the_label():
    method = make(pi=[0.0, 0.75, 0.25], scale=False)
    batch = make_batch(method)
    first = gradients(method, batch)
    loss = method.step(context(), batch)["loss"]
    again = make(pi=[0.0, 0.75, 0.25], scale=False)
    other = Batch(batch.views, (batch.targets + 3) % K, batch.indices)
    assert all(torch.equal(a, b) for a, b in zip(first, gradients(again, other), strict=True))
    assert again.step(context(), other)["loss"].item() == loss.item() > 0


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({"pi": [0.2, 0.3, 0.3, 0.2]}, r"NRD with 1 student view\(s\) needs 3 weights pi"),
        ({"student_views": 2}, r"NRD with 2 student view\(s\) needs 4 weights pi"),
        ({"pi": [0.2, 0.6, 0.3]}, "sum to 1"),
        ({"pi": [0.0, 0.75, 0.25]}, "use scale=False"),
    ],
)
def test_weights_that_make_no_loss_are_refused(hyperparameters, message):
    with pytest.raises(ValueError, match=message):
        make(**hyperparameters)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "frozen"}, "needs `checkpoint`"),
        ({"checkpoint": "a"}, "a frozen teacher, and only that"),
        ({"kind": "frozen", "checkpoint": "a"}, "batch_norm: a frozen teacher does not move"),
        ({"kind": "self", "decay": 0.9}, "decay: a teacher of kind self is no average"),
        ({"buffers": "copy"}, "buffers: matter to kind `ema` with batch_norm `eval` only"),
        ({"decay": 1.1}, "less than or equal to 1"),
        ({"kind": "mean"}, "'ema', 'self' or 'frozen'"),
    ],
)
def test_settings_without_effect_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TeacherSpec(**settings)
