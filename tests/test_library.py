"""The guide to the importable parts: its code runs as printed, and the README shows the same loop."""

import ast
import builtins
import doctest
import re

import numpy as np
import pytest
import torch

from nrd.augment import create_view
from nrd.label_noise import corrupt
from nrd.models import create_model


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def snippet(repository):
    (found,) = blocks(repository / "docs" / "library.md", "python")
    return found


@pytest.fixture(scope="module")
def digits():
    """Real digits, enlarged to 16x16; 18 % of the training labels are wrong."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(np.kron(bunch.images * 15, np.ones((2, 2))).astype(np.uint8))[:, None]
    given = torch.from_numpy(corrupt(bunch.target[:1280], "symmetric", 0.2, num_classes=10, seed=1).labels)
    return images, given, torch.from_numpy(bunch.target.astype(np.int64))


def test_the_plain_loop_has_under_fifteen_lines(snippet):
    assert len(snippet.splitlines()) < 15
    assert "NRDLoss" in snippet and "update_parameters" in snippet


def test_the_plain_loop_learns(snippet, digits):
    """Four epochs on digits with wrong labels, the snippet as it is printed."""
    images, given, true = digits
    mean, std = (0.29,), (0.35,)
    model = create_model("preact_resnet", 10, 1, widths=(16, 32, 64), blocks=(1, 1, 1), generator=generator(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, nesterov=True)
    losses, order = [], torch.cat([torch.randperm(1280, generator=generator(epoch)) for epoch in range(4)])

    def loader():
        for rows in order.split(64):
            yield images[rows], given[rows]
            losses.append(namespace["loss"].item())

    namespace = {"model": model, "optimizer": optimizer, "loader": loader(), "mean": mean, "std": std}
    exec(compile(snippet, "docs/library.md", "exec"), namespace)
    assert len(losses) == 80
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])
    plain = create_view("none", mean, std)
    with torch.no_grad():
        predicted = model.eval()(plain(images[1280:], {})).argmax(1)
    assert (predicted == true[1280:]).double().mean() > 0.5
    assert not any(p.requires_grad for p in namespace["teacher"].parameters())


def generator(seed):
    return torch.Generator().manual_seed(seed)


def test_the_readme_shows_the_same_loop(repository, snippet):
    shown = [block for block in blocks(repository / "README.md", "python") if "NRDLoss" in block]
    assert shown == [snippet]


@pytest.mark.parametrize("guide", ["README.md", "docs/library.md"])
def test_what_the_loop_takes_is_named_before_it(repository, snippet, guide):
    names = [node for node in ast.walk(ast.parse(snippet)) if isinstance(node, ast.Name)]
    given = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    given -= {node.id for node in names if isinstance(node.ctx, ast.Store)} | set(dir(builtins))
    given -= {alias.name for node in ast.walk(ast.parse(snippet)) for alias in getattr(node, "names", [])}
    assert given == {"model", "optimizer", "loader", "mean", "std"}
    before = (repository / guide).read_text().split(snippet)[0]
    paragraph = before.removesuffix("```python\n").strip().split("\n\n")[-1]
    assert all(f"`{name}`" in paragraph for name in given), paragraph


def test_the_guides_human_labels_are_the_published_ones(repository, real_data, capsys):
    if not (real_data / "cifarn" / "CIFAR-10_human.pt").is_file():
        pytest.skip("needs cifarn/CIFAR-10_human.pt in the folder that NRD_DATA names")
    (example,) = blocks(repository / "docs" / "library.md", "py")
    exec(compile(example.replace('"data/raw"', repr(str(real_data))), "docs/library.md", "exec"), {})
    assert capsys.readouterr().out == re.search(r"# (.*% wrong)$", example, re.MULTILINE)[1] + "\n"


def test_the_guide_names_every_label_set_and_what_needs_torchvision(repository):
    from nrd.data.human_labels import CIFAR_N_LABEL_SETS
    from nrd.models import MODELS
    from nrd.models.torchvision_resnet import torchvision_resnet

    text = (repository / "docs" / "library.md").read_text()
    sentence = text.split("## Networks")[1].split(" are torchvision's")[0]
    theirs = {name for name, make in MODELS.items() if getattr(make, "func", None) is torchvision_resnet}
    assert set(re.findall(r"`(\w+)`", sentence)) == theirs
    assert all(f"`{name}`" in text for name in CIFAR_N_LABEL_SETS)


def test_the_guides_examples_are_true(repository):
    text = "\n".join(blocks(repository / "docs" / "library.md", "pycon"))
    test = doctest.DocTestParser().get_doctest(text, {}, "library.md", "docs/library.md", 0)
    assert len(test.examples) > 15
    report = []
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.append)
    assert result.failed == 0, "".join(report)


def test_the_ledger_is_printed_with_its_sources(repository):
    from nrd.ledger import ledger_rows
    from nrd.study import Project

    project = Project(repository)
    rows = {row[0]: row[1:] for row in ledger_rows(project.datasets, project.methods, "cifar10", "sym40")}
    assert len(rows) == len(project.methods)
    assert rows["NRD"] == ("0.1", "0.0005", "pi [0.2, 0.6, 0.2]", "NRD paper, Table 5")
    rows = {row[0]: row[1:] for row in ledger_rows(project.datasets, project.methods, "cifar100", "sym50")}
    assert rows["GJS"][2] == "pi1 0.5" and "50 % without giving settings: those of 40 %" in rows["GJS"][3]
    rows = {row[0]: row[1:] for row in ledger_rows(project.datasets, project.methods, "cifar10", "worst")}
    assert rows["GJS"][2] == "pi1 0.9" and "symmetric noise at the nearest rate" in rows["GJS"][3]
