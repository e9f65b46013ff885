"""The step: compiled into one graph it does what it does eagerly, it never waits for the device, it stays small."""

import copy
import gc
import math
import weakref
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nrd.augment import VIEWS, create_view
from nrd.methods.base import Batch, Context
from nrd.spec import TeacherSpec
from nrd.study import Project
from nrd.training.build import build_method, build_optimizer
from nrd.training.step import Step, forget_compiled, wants_compilation
from tests.conftest import REPOSITORY

CPU = torch.device("cpu")
BATCH, STEPS = 8, 3
AOT = {"backend": "aot_eager"}
# Kernels of an eager step of the thin PreActResNet-34; docs/performance.md has the measured numbers.
MOST_KERNELS = {"ce": 350, "gjs": 850, "nrd": 600}


def project():
    return Project(REPOSITORY)


def methods():
    """Every method of the project by name, as some study sets it, and variants of NRD."""
    found = {}
    for study in project().studies:
        for spec in project_specs(study):
            if spec.method.teacher is None or spec.method.teacher.kind != "frozen":
                found.setdefault(spec.method.name, spec.method)
    nrd = found["nrd"]
    found["nrd, two student views"] = changed(nrd, {"pi": [0.3, 0.2, 0.2, 0.3], "student_views": 2})
    both = changed(nrd, {"stop_gradient": False, "teacher_views": 2})
    found["nrd, gradient, two teacher views"] = both.model_copy(update={"teacher": TeacherSpec(kind="self")})
    for label, teacher in {
        "self": TeacherSpec(kind="self"),
        "self in evaluation mode": TeacherSpec(kind="self", batch_norm="eval"),
        "ema in evaluation mode": TeacherSpec(batch_norm="eval"),
        "ema, copied buffers": TeacherSpec(batch_norm="eval", buffers="copy"),
    }.items():
        found[f"nrd, teacher {label}"] = nrd.model_copy(update={"teacher": teacher})
    return found


def project_specs(study, cache={}):  # noqa: B006
    if study not in cache:
        cache[study] = list(project().study(study).specs.values())
    return cache[study]


def changed(method, hyperparameters):
    return method.model_copy(update={"hyperparameters": {**method.hyperparameters, **hyperparameters}})


METHODS = methods()


def base_spec(method, network=None):
    spec = project_specs("tiny")[0].model_copy(update={"method": METHODS[method]})
    smallest = spec.network.model_copy(update={"options": {"widths": (4,), "blocks": (1,)}})
    return spec.model_copy(update={"network": network or smallest})


def make(method, device=CPU, network=None, **step):
    """A method with its networks, and the step under test."""
    spec = base_spec(method, network)
    built = build_method(spec, 64, CPU).train()
    context = Context(CPU, 0, 2, STEPS, BATCH)
    if device != CPU:
        built = built.to(device)
    return built, Step(built, build_optimizer(spec, built), context, "float32", **step)


def batch_for(method, seed, device=CPU, channels=1, size=8):
    draw = torch.Generator().manual_seed(seed)
    views = {
        role: [
            torch.randn(BATCH, channels, size, size, generator=draw)
            .contiguous(memory_format=torch.channels_last)
            .to(device)
            for _ in range(count)
        ]
        for role, count in method.view_counts.items()
    }
    targets = torch.randint(10, (BATCH,), generator=draw).to(device)
    return Batch(views, targets, torch.randperm(64, generator=draw)[:BATCH].to(device))


def two_epochs(method, step):
    """Two epochs with another learning rate each; returns the losses."""
    values = []
    for epoch in range(2):
        step.context.epoch, step.context.step = epoch, 0
        step.set_rate(0.1 / (epoch + 1))
        method.on_epoch_start(step.context)
        for number in range(STEPS):
            losses = step(batch_for(method, epoch * STEPS + number, step.context.device))
            values.append(losses["loss"].item())
            step.context.step += 1
    return values


def worst_difference(first, second):
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return max((a.double() - b.double()).abs().max().item() for a, b in pairs)


@pytest.mark.parametrize("name", METHODS)
def test_compiled_into_whole_graphs_a_step_is_the_eager_one(name):
    """Six steps agree within 1e-5 in every weight, average, running statistic and loss; nothing is compiled twice."""
    from torch._dynamo.utils import counters

    eager_method, eager = make(name)
    if not eager_method.capturable:
        pytest.skip("says that its step cannot be captured")
    torch._dynamo.reset()
    counters.clear()
    compiled_method, compiled = make(name, compiled=True, backend=AOT)
    expected = two_epochs(eager_method, eager)
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert two_epochs(compiled_method, compiled) == pytest.approx(expected, abs=1e-5)
    assert counters["stats"]["unique_graphs"] == 2, "one graph of losses and one of the update"
    assert not counters["graph_break"]
    assert worst_difference(eager_method, compiled_method) < 1e-5


def test_many_kinds_of_step_compile_in_one_process_and_can_be_freed():
    """PyTorch keeps eight kinds of one function's code, and these are more."""
    limit, graphs, losses = torch._dynamo.config.recompile_limit, [], []

    def remember(graph, inputs):
        graphs.append(weakref.ref(graph))
        return graph.forward

    torch._dynamo.reset()
    one = base_spec("ce").network
    networks = [
        one.model_copy(update={"options": {"widths": (width,), "blocks": (1,)}}) for width in range(2, 4 + limit)
    ]
    for network in networks:  # each width is another kind
        method, step = make("nrd", network=network, compiled=True, backend={"backend": remember})
        losses += two_epochs(method, step)
        del method, step
    assert len(graphs) == 2 * len(networks) > 2 * limit
    assert all(map(math.isfinite, losses))
    forget_compiled()
    gc.collect()
    assert [graph for graph in graphs if graph() is not None] == []


@pytest.mark.parametrize("name", ["gjs", "nrd", "nrd, teacher ema, copied buffers"])
def test_graphs_write_only_to_tensors_that_stay(name):
    """A CUDA graph knows tensors by their addresses; one that writes to an input that may move is never captured."""
    moving = []

    def record(graph, inputs):
        nodes = graph.graph.find_nodes(op="placeholder")
        moving.extend(node.name for node in nodes if "_dynamo_static_input_type" not in node.meta["tensor_dict"])
        return graph.forward

    torch._dynamo.reset()
    method, step = make(name, compiled=True, backend={"backend": record})
    two_epochs(method, step)
    gradients = [node for node in moving if node.startswith("l_gradients_")]
    assert len(gradients) == len(method.trainable())
    others = {node for node in moving if node not in gradients}
    roles = [f"l_views_{role}_{index}_" for role, count in method.view_counts.items() for index in range(count)]
    assert others == {"l_targets_", *roles}, "only what each step brings anew"


def test_a_step_that_cannot_be_captured_stays_eager(monkeypatch):
    method, _ = make("ce")
    assert wants_compilation("on", method, CPU)
    assert not wants_compilation("auto", method, CPU)
    assert not wants_compilation("off", method, torch.device("cuda"))
    monkeypatch.setattr("nrd.training.step._has_compiler", lambda: True)
    assert wants_compilation("auto", method, torch.device("cuda"))
    monkeypatch.setattr(type(method), "capturable", False)
    assert not wants_compilation("on", method, torch.device("cuda"))


@pytest.mark.parametrize("name", METHODS)
def test_a_step_looks_at_no_value(name, monkeypatch):
    """On PyTorch's meta device tensors have no values: whatever waits for one, or goes by a mask, fails there."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no meta device
    method, _ = make(name)
    if not method.capturable:
        pytest.skip("says that its step cannot be captured")
    method = method.to("meta")
    optimizer = torch.optim.SGD(method.trainable(), lr=0.1, momentum=0.9, nesterov=True)
    losses = Step(method, optimizer, Context(CPU, 0, 1, 1, BATCH), "float32")(batch_for(method, 0, "meta"))
    assert losses["loss"].device.type == "meta"
    from nrd.training.statistics import EpochStatistics

    EpochStatistics(2, BATCH, torch.device("meta")).add(losses)


@pytest.mark.parametrize(
    "look",
    [
        lambda t: t.sum().item(),
        lambda t: t.cpu(),
        lambda t: t[t > 0],
        lambda t: t.nonzero(),
        lambda t: t.tolist(),
        lambda t: bool(t.any()),
        lambda t: t.masked_select(t > 0),
    ],
    ids=["item", "cpu", "mask", "nonzero", "tolist", "bool", "masked_select"],
)
def test_the_test_above_finds_what_looks_at_values(look, monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    method, _ = make("ce")
    step = type(method).step

    def looking(self, ctx, batch):
        losses = step(self, ctx, batch)
        look(losses["logits"].detach())
        return losses

    monkeypatch.setattr(type(method), "step", looking)
    method = method.to("meta")
    optimizer = torch.optim.SGD(method.trainable(), lr=0.1)
    with pytest.raises((RuntimeError, NotImplementedError), match=r"(?i)meta"):
        Step(method, optimizer, Context(CPU, 0, 1, 1, BATCH), "float32")(batch_for(method, 0, "meta"))


class CountKernels(TorchDispatchMode):
    """Counts operations that compute or copy; views, allocations and the like launch nothing."""

    NOTHING = {"empty", "empty_like", "empty_strided", "detach", "new_empty", "new_empty_strided"}

    def __init__(self):
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if not func.is_view and func.overloadpacket.__name__ not in self.NOTHING:
            self.number += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", MOST_KERNELS)
def test_a_step_of_the_papers_network_launches_few_kernels(name):
    network = project_specs("tiny")[0].network.model_copy(update={"name": "preact_resnet34_thin", "options": {}})
    method, step = make(name, network=network)
    step(batch_for(method, 0))
    with CountKernels() as count:
        step(batch_for(method, 1))
    print(f"{name}: {count.number} kernels")
    assert count.number <= MOST_KERNELS[name]


def test_a_compiled_run_continues_where_an_eager_one_was_stopped():
    """The optimiser's state is the same thing in both."""
    method, step = make("nrd")
    two_epochs(method, step)
    other, resumed = make("nrd")
    other.load_state_dict(method.state_dict())
    resumed.optimizer.load_state_dict(copy.deepcopy(step.optimizer.state_dict()))
    compiled = Step(other, resumed.optimizer, resumed.context, "float32", compiled=True, backend={"backend": "eager"})
    assert two_epochs(other, compiled) == pytest.approx(two_epochs(method, step), abs=1e-4)


def test_statistics_against_plain_loops():
    from nrd.training.statistics import EpochStatistics

    draw = torch.Generator().manual_seed(0)
    true, given = torch.randint(4, (2, 5, 16), generator=draw)
    logits, losses = torch.randn(5, 16, 4, generator=draw), torch.rand(5, generator=draw)
    statistics = EpochStatistics(5, 16, CPU)
    for step in range(5):
        statistics.add({"loss": losses[step], "logits": logits[step]})
    assert statistics.first_bad_step() is None
    summary = statistics.summary(true, given)
    rows = [
        (p == t, p == g, t == g)
        for p, t, g in zip(
            logits.argmax(2).flatten().tolist(), true.flatten().tolist(), given.flatten().tolist(), strict=True
        )
    ]
    clean = [right for right, _, same in rows if same]
    wrong = [(right, memorised) for right, memorised, same in rows if not same]
    assert summary["loss"] == pytest.approx(losses.double().mean().item())
    assert summary["train_clean_accuracy"] == sum(clean) / len(clean)
    assert summary["train_mislabeled_accuracy"] == sum(right for right, _ in wrong) / len(wrong)
    assert summary["train_memorised"] == sum(memorised for _, memorised in wrong) / len(wrong)
    statistics.losses["loss"][3] = float("inf")
    assert statistics.first_bad_step() == 3


GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@contextmanager
def waiting_is_an_error():
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def make_on_gpu(name, precision="float32", network=None, compiled=True, batch=BATCH):
    device, spec = torch.device("cuda"), base_spec(name, network)
    method = build_method(spec, 64, device).train()
    context = Context(device, 0, 2, STEPS, batch)
    return method, Step(method, build_optimizer(spec, method), context, precision, compiled)


@GPU
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", METHODS)
def test_cuda_graphs_do_what_the_eager_step_does(name, precision):
    """Losses of six steps agree within 2 %, in which other kernels may sum in another order and round to bfloat16."""
    from torch._dynamo.utils import counters

    eager_method, eager = make_on_gpu(name, precision, compiled=False)
    if not eager_method.capturable:
        pytest.skip("says that its step cannot be captured")
    torch._dynamo.reset()
    counters.clear()
    compiled = two_epochs(*make_on_gpu(name, precision))
    assert compiled == pytest.approx(two_epochs(eager_method, eager), rel=0.02)
    assert counters["inductor"]["cudagraph_skips"] == 0, "all three graphs are captured"


@GPU
def test_a_captured_step_of_the_papers_network_waits_for_nothing_and_is_small():
    """After it is recorded, steps and statistics run without a look at the device; eight such runs fit 64 GiB."""
    from nrd.training.statistics import EpochStatistics

    network = project_specs("tiny")[0].network.model_copy(update={"name": "preact_resnet34_thin", "options": {}})
    dataset = project().study("paper").runs[0].spec.dataset
    spec = base_spec("nrd", network).model_copy(update={"dataset": dataset})
    device = torch.device("cuda")
    torch.cuda.reset_peak_memory_stats()
    method = build_method(spec, 64, device).train()
    step = Step(method, build_optimizer(spec, method), Context(device, 0, 1, 8, 128), "bfloat16", compiled=True)
    step.set_rate(0.1)
    draw = torch.Generator(device).manual_seed(0)
    views = {
        role: [torch.randn(128, 3, 32, 32, device=device, generator=draw).to(memory_format=torch.channels_last)]
        for role in ("student", "teacher")
    }
    batch = Batch(views, torch.arange(128, device=device) % 10, torch.arange(128, device=device) % 64)
    statistics = EpochStatistics(8, 128, device)
    for _ in range(4):
        statistics.add(step(batch))
    with waiting_is_an_error():
        for _ in range(4):
            statistics.add(step(batch))
    assert statistics.first_bad_step() is None
    assert torch.cuda.max_memory_allocated() < 8 * 2**30


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_looks_at_no_value(name):
    """All that decides what is computed is drawn on the host."""
    view = create_view(name, (0.5,) * 3, (0.25,) * 3)
    draw = view.draw(64, 32, 32, torch.Generator().manual_seed(0))
    result = view.to("meta")(torch.empty(64, 3, 32, 32, dtype=torch.uint8, device="meta"), draw)
    assert result.device.type == "meta" and result.shape == (64, 3, 32, 32)


@GPU
@pytest.mark.parametrize("name", VIEWS)
def test_augmentation_does_not_wait_for_the_device(name):
    view = create_view(name, (0.5,) * 3, (0.25,) * 3).to("cuda")
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (512, 3, 32, 32), dtype=torch.uint8, generator=draw).cuda()
    drawn = view.draw(512, 32, 32, draw)
    view(images, drawn)
    with waiting_is_an_error():
        view(images, drawn)


def test_drawing_ahead_changes_nothing():
    from nrd.training.batches import DrawAhead, draw_views

    views = {"student": create_view("gjs", (0.5,), (0.5,)), "teacher": create_view("augmix", (0.5,), (0.5,))}
    counts = {"student": 2, "teacher": 1}
    ahead = DrawAhead(views, counts, seed=3, epochs=4)
    for epoch, number in ((0, 20), (1, 20), (2, 30), (3, 30)):  # an epoch of another length is drawn when it comes
        got = ahead(number, (8, 8), epoch)
        expected = draw_views(views, counts, number, (8, 8), (3, epoch))
        assert got.keys() == expected.keys()
        for role in got:
            for mine, theirs in zip(got[role], expected[role], strict=True):
                assert mine.keys() == theirs.keys()
                assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert ahead.ahead is None
