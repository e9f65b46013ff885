"""Networks: sizes, the thin network's forward pass derived again, initial weights, and what training code relies on."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from nrd.models import MODELS, PreActBlock, PreActResNet, count_macs, count_parameters, create_model

NAMED = [name for name in MODELS if name != "preact_resnet"]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def shapes_only(name, classes, **options):
    """A network without values, for counting: drawing 20 million weights takes seconds."""
    with torch.device("meta"):
        return create_model(name, classes, **options)


# --- sizes


@pytest.mark.parametrize(
    ("name", "ten", "hundred"),
    [
        ("preact_resnet34_thin", 1_860_138, 1_871_748),
        ("preact_resnet34", 21_279_306, 21_325_476),
        ("preact_resnet18", 11_171_146, 11_217_316),
        ("preact_resnet_pocket", 308_266, 319_876),
        ("preact_resnet_tiny", 77_850, 83_700),
    ],
)
def test_parameters(name, ten, hundred):
    assert count_parameters(shapes_only(name, 10)) == ten
    assert count_parameters(shapes_only(name, 100)) == hundred


def test_thin_parameters_by_hand():
    """Convolutions without bias, two numbers per BatchNorm channel, the linear layer with bias."""
    total, before = 3 * 32 * 9, 32
    for width in (32, 64, 128):
        for block in range(5):
            entering = before if block == 0 else width
            total += 2 * entering + entering * width * 9 + 2 * width + width * width * 9
            total += entering * width if entering != width else 0
        before = width
    assert count_parameters(create_model("preact_resnet34_thin", 10)) == total + 2 * 128 + 128 * 10 + 10


def test_torchvision_parameters():
    """torchvision's published counts for 1000 classes; the CIFAR stem has 9 weights per filter and colour, not 49."""
    assert count_parameters(shapes_only("resnet34", 1000)) == 21_797_672
    assert count_parameters(shapes_only("resnet50", 1000)) == 25_557_032
    assert count_parameters(shapes_only("resnet34", 1000, cifar_stem=True)) == 21_797_672 - 64 * 3 * 40


@pytest.mark.parametrize(
    ("name", "giga"),
    [
        ("preact_resnet34_thin", 0.276),
        ("preact_resnet34", 1.159),
        ("preact_resnet18", 0.555),
        ("preact_resnet_pocket", 0.0123),
    ],
)
def test_macs_at_32(name, giga):
    assert count_macs(shapes_only(name, 10), (3, 32, 32)) / 1e9 == pytest.approx(giga, rel=0.003)


def test_resnet50_macs_at_224():
    assert count_macs(shapes_only("resnet50", 50), (3, 224, 224)) / 1e9 == pytest.approx(4.1, abs=0.05)


@pytest.mark.parametrize("name", NAMED)
def test_macs_are_half_of_pytorchs_own_flop_count(name):
    model = shapes_only(name, 10).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 32, 32, device="meta"))
    assert 2 * count_macs(model, (3, 32, 32)) == counter.get_total_flops()


def test_counting_leaves_the_model_alone():
    model = create_model("preact_resnet_tiny", 10)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    count_macs(model, (3, 8, 8))
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_frozen_parameters_are_not_counted():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    assert count_parameters(model) == 6


# --- forward pass


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize(("classes", "channels", "size"), [(10, 3, 32), (100, 1, 19)])
def test_output_shape_and_gradients(name, classes, channels, size):
    model = create_model(name, classes, channels, generator=seeded(0))
    images = torch.randn(2, channels, size, size, generator=seeded(1))
    untouched = images.clone()
    logits = model(images)
    assert logits.shape == (2, classes)
    F.cross_entropy(logits, torch.tensor([0, 1])).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    assert torch.equal(images, untouched)


def test_digits():
    assert create_model("preact_resnet_tiny", 10, in_channels=1)(torch.zeros(5, 1, 8, 8)).shape == (5, 10)


@pytest.mark.parametrize(("cifar_stem", "side"), [(True, 32), (False, 8)])
def test_torchvision_stem(cifar_stem, side):
    """Size of what enters the first stage, for 32×32 images."""
    model = create_model("resnet34", 10, cifar_stem=cifar_stem).eval()
    sizes = []
    model.layer1.register_forward_pre_hook(lambda _layer, inputs: sizes.append(inputs[0].shape))
    with torch.no_grad():
        model(torch.zeros(1, 3, 32, 32))
    assert sizes == [(1, 64, side, side)]


def normalise(x, state, name, training):
    """BatchNorm from its definition: batch statistics (biased variance) in training, running ones otherwise."""
    if training:
        mean, variance = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), unbiased=False)
    else:
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    scale = state[f"{name}.weight"] / (variance + 1e-5).sqrt()
    return (x - mean[:, None, None]) * scale[:, None, None] + state[f"{name}.bias"][:, None, None]


def thin_forward(x, state, training, final_norm=True):
    """Three stages of five pre-activation blocks, as the protocol describes them."""
    x = F.conv2d(x, state["stem.weight"], padding=1)
    for stage in range(3):
        for block in range(5):
            name, stride = f"stages.{stage}.{block}", 2 if stage > 0 and block == 0 else 1
            activated = normalise(x, state, f"{name}.norm1", training).clamp(min=0)
            shortcut = x
            if stride == 2:
                matrix = state[f"{name}.shortcut.weight"][:, :, 0, 0]  # a 1×1 convolution is a matrix per pixel
                shortcut = torch.einsum("oi,bihw->bohw", matrix, activated[:, :, ::2, ::2])
            out = F.conv2d(activated, state[f"{name}.conv1.weight"], stride=stride, padding=1)
            out = normalise(out, state, f"{name}.norm2", training).clamp(min=0)
            x = shortcut + F.conv2d(out, state[f"{name}.conv2.weight"], padding=1)
    if final_norm:
        x = normalise(x, state, "norm", training).clamp(min=0)
    return x.sum(dim=(2, 3)) / (x.shape[2] * x.shape[3]) @ state["head.weight"].T + state["head.bias"]


def lived_in(model):
    """Give every BatchNorm scales, shifts and running statistics of its own, as training would."""
    generator = seeded(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            for tensor in (module.bias.data, module.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
    return model.double()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("final_norm", [True, False])
def test_thin_forward_is_the_one_described(training, final_norm):
    model = lived_in(create_model("preact_resnet34_thin", 10, generator=seeded(0), final_norm=final_norm))
    images = torch.randn(3, 3, 32, 32, generator=seeded(1), dtype=torch.float64)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        found = model.train(training)(images)
        expected = thin_forward(images, state, training, final_norm)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert found.std() > 0.01


def test_training_moves_the_running_statistics_and_evaluation_does_not():
    model = create_model("preact_resnet_tiny", 10, generator=seeded(0)).double()
    images = torch.randn(4, 3, 8, 8, generator=seeded(1), dtype=torch.float64)
    with torch.no_grad():
        entering = F.conv2d(images, model.stem.weight, padding=1)
        model.train()(images)
        once = model.stages[0][0].norm1.running_var.clone()
        model.eval()(images)
    torch.testing.assert_close(once, 0.9 + 0.1 * entering.var(dim=(0, 2, 3), unbiased=True))
    assert torch.equal(model.stages[0][0].norm1.running_var, once)


def test_identity_shortcut_takes_the_raw_input_and_the_convolution_the_activated_one():
    x = torch.randn(2, 4, 6, 6, generator=seeded(0))
    same, wider = PreActBlock(4, 4).eval(), PreActBlock(4, 8, stride=2).eval()
    for block in (same, wider):
        nn.init.zeros_(block.conv2.weight)  # leaves the shortcut alone
    assert torch.equal(same(x), x)
    activated = F.relu(x / np.sqrt(1 + 1e-5))
    torch.testing.assert_close(wider(x), F.conv2d(activated, wider.shortcut.weight, stride=2))


# --- initial weights


@pytest.mark.parametrize("name", ["preact_resnet34_thin", "preact_resnet18"])
def test_convolutions_and_head_start_uniform(name):
    """PyTorch's default: uniform within ±1/√fan_in, BatchNorm 1 and 0."""
    model = create_model(name, 10, generator=seeded(0))
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = 1 / np.sqrt(module.weight[0].numel())
            weights = module.weight.detach().flatten()[:20_000].double().numpy()
            assert stats.kstest(weights, stats.uniform(-bound, 2 * bound).cdf).pvalue > 1e-4
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()
    assert 0 < model.head.bias.abs().max() <= 1 / np.sqrt(model.head.in_features)


def test_weights_are_drawn_in_the_order_of_the_gjs_network():
    """Stem, each block's convolutions and then its shortcut, head: a seed gives the weights that GJS starts from."""
    model = create_model("preact_resnet34_thin", 10, generator=seeded(7))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        expected, before = [nn.Conv2d(3, 32, 3, bias=False)], 32
        for width in (32, 64, 128):
            for block in range(5):
                entering = before if block == 0 else width
                expected += [nn.Conv2d(entering, width, 3, bias=False), nn.Conv2d(width, width, 3, bias=False)]
                expected += [nn.Conv2d(entering, width, 1, bias=False)] if entering != width else []
            before = width
        expected.append(nn.Linear(128, 10))
    found = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(found) == len(expected)
    assert all(torch.equal(mine.weight, theirs.weight) for mine, theirs in zip(found, expected, strict=True))


@pytest.mark.parametrize("options", [{"cifar_stem": True}, {"in_channels": 1}])
def test_a_new_torchvision_stem_starts_as_torchvisions(options):
    weight = create_model("resnet34", 10, generator=seeded(0), **options).conv1.weight.detach()
    fan_out = 64 * weight[0, 0].numel()
    scaled = weight.double().flatten().numpy() / np.sqrt(2 / fan_out)
    assert stats.kstest(scaled, "norm").pvalue > 1e-3


@pytest.mark.parametrize(("name", "options"), [("preact_resnet_tiny", {}), ("resnet34", {"cifar_stem": True})])
def test_the_generator_decides_alone(name, options):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    generator = seeded(1)
    first = create_model(name, 10, generator=generator, **options).state_dict()
    second = create_model(name, 10, generator=generator, **options).state_dict()
    torch.rand(3)
    again = create_model(name, 10, generator=seeded(1), **options).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], second[key]) for key in first)  # it moves on
    torch.set_rng_state(state)
    create_model(name, 10, generator=seeded(1), **options)
    assert torch.equal(torch.get_rng_state(), state)


def test_without_a_generator_the_global_one_decides():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        globally = create_model("preact_resnet_tiny", 10)
    given = create_model("preact_resnet_tiny", 10, generator=seeded(5))
    assert torch.equal(globally.head.weight, given.head.weight)


# --- making and using


@pytest.mark.parametrize("train", [True, False])
def test_compiles_as_one_graph(train):
    model = create_model("preact_resnet_tiny", 10, generator=seeded(0)).train(train)
    twin = create_model("preact_resnet_tiny", 10, generator=seeded(0)).train(train)
    images = torch.randn(4, 3, 8, 8, generator=seeded(1))
    compiled = torch.compile(twin, fullgraph=True, backend="aot_eager")
    model(images).square().sum().backward()
    compiled(images).square().sum().backward()
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.norm.running_mean, twin.norm.running_mean)


def test_named_networks_are_configurations_of_the_generic_one():
    generic = create_model("preact_resnet", 10, widths=[32, 64, 128], blocks=[5, 5, 5], generator=seeded(0))
    named = create_model("preact_resnet34_thin", 10, generator=seeded(0))
    assert generic.state_dict().keys() == named.state_dict().keys()
    images = torch.randn(2, 3, 16, 16, generator=seeded(1))
    assert torch.equal(generic.eval()(images), named.eval()(images))


def test_channels_last_and_bfloat16():
    model = create_model("preact_resnet_pocket", 10, generator=seeded(0)).eval()
    images = torch.randn(2, 3, 32, 32, generator=seeded(1))
    with torch.no_grad():
        plain = model(images)
        model = model.to(memory_format=torch.channels_last)
        torch.testing.assert_close(model(images.contiguous(memory_format=torch.channels_last)), plain)
        with torch.autocast("cpu", torch.bfloat16):
            assert (model(images) - plain).abs().max() < 0.1


def test_errors():
    with pytest.raises(ValueError, match="unknown network 'resnet'; known: preact_resnet, preact_resnet34_thin, "):
        create_model("resnet", 10)
    with pytest.raises(TypeError, match="cifar_stem"):
        create_model("preact_resnet18", 10, cifar_stem=True)
    for widths, blocks in [((8, 16), (1,)), ((), ()), ((8,), (0,))]:
        with pytest.raises(ValueError, match="need one entry per stage, at least 1"):
            PreActResNet(10, widths=widths, blocks=blocks)


def test_torchvision_is_not_imported_until_it_is_needed():
    command = "import sys; from nrd.models import create_model; create_model('preact_resnet_tiny', 2);"
    command += "sys.exit('torchvision' in sys.modules)"
    subprocess.run([sys.executable, "-c", command], check=True)


def test_without_torchvision_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError, match="resnet50 needs torchvision: pip install"):
        create_model("resnet50", 10)
