"""The optimiser of eager steps: PyTorch's own, bit for bit, and without importing its compiler."""

import subprocess
import sys

import pytest
import torch

from nrd.training.sgd import EagerSGD


@pytest.mark.parametrize("settings", [{"momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}, {"momentum": 0.0}])
def test_steps_and_states_are_those_of_pytorchs_sgd(settings):
    torch.manual_seed(0)
    networks = [
        torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.BatchNorm1d(7), torch.nn.Linear(7, 3)) for _ in "ab"
    ]
    networks[1].load_state_dict(networks[0].state_dict())
    kinds = (torch.optim.SGD, EagerSGD)
    optimizers = [kind(n.parameters(), lr=0.1, fused=True, **settings) for kind, n in zip(kinds, networks, strict=True)]
    for number in range(6):
        inputs = torch.randn(16, 5)
        for optimizer, network in zip(optimizers, networks, strict=True):
            optimizer.param_groups[0]["lr"] = 0.1 / (1 + number)
            optimizer.zero_grad(set_to_none=True)
            network(inputs).square().mean().backward()
            optimizer.step()
        if number == 2:  # a resumed run begins with an optimiser that reads its state
            state = optimizers[1].state_dict()
            optimizers[1] = EagerSGD(networks[1].parameters(), lr=1.0, fused=True, **settings)
            optimizers[1].load_state_dict(state)
    for one, other in zip(*(network.parameters() for network in networks), strict=True):
        assert torch.equal(one, other)
    states = [optimizer.state_dict() for optimizer in optimizers]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    assert str(states[0]["state"]) == str(states[1]["state"])


def test_the_compiler_is_not_imported():
    code = (
        "import sys, torch\n"
        "from nrd.training.sgd import EagerSGD\n"
        "weight = torch.nn.Parameter(torch.ones(3))\n"
        "optimizer = EagerSGD([weight], lr=0.1, momentum=0.9, fused=True)\n"
        "optimizer.zero_grad(set_to_none=True)\n"
        "weight.sum().backward()\n"
        "optimizer.step()\n"
        "optimizer.load_state_dict(optimizer.state_dict())\n"
        "print(weight.detach().tolist()[0] < 1, 'torch._dynamo' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
