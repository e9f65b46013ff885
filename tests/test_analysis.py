"""Networks looked at again: every number against weights loaded by hand, views drawn one by one and plain loops."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from scipy.special import log_softmax, softmax

from nrd.analysis import look_again
from nrd.augment import create_view
from nrd.checksums import write_sums
from nrd.data.arrays import load_arrays
from nrd.evaluation.answers import POLICIES, read_answers
from nrd.evaluation.dynamics import true_class_confidence
from nrd.evaluation.samples import choose_samples
from nrd.layout import TRAINED
from nrd.models import create_model
from nrd.randomness import generator
from nrd.spec import SpecError
from nrd.study import Project
from tests.conftest import make_project, train_run

STUDY = {
    "name": "looks",
    "title": "Looks",
    "description": "A test.",
    "settings": {
        "network": {"name": "preact_resnet", "widths": [8, 16], "blocks": [1, 1]},
        **{"epochs": 3, "batch_size": 64, "validation": 0.2, "views": {"student": "crop"}},
    },
    "grid": [
        {"datasets": ["digits"], "noises": ["sym40"], "methods": ["ce"], "seeds": [1]},
        {
            **{"table": "memorised", "figures": ["memorised", "dynamics"]},
            **{"datasets": ["digits"], "noises": ["sym50"], "methods": ["ce"], "seeds": [1]},
            "settings": {"snapshots": [1, 3]},
            "views": {"draws": 3, "points": 5, "samples": 2, "epochs": [1]},
        },
    ],
}


@pytest.fixture(scope="module")
def looked(tmp_path_factory):
    """A project with one trained run of the study's figures, its spec, and what its network answered. Read only."""
    root = tmp_path_factory.mktemp("looks")
    make_project(root)
    (root / "params" / "studies" / "looks.yaml").write_text(yaml.safe_dump(STUDY))
    project = Project(root)
    study = project.study("looks")
    ((name, views),) = [(run.spec.name, run.views) for run in study.pictured("memorised")]
    train_run(project, study.specs[name])
    return project, study.specs[name], views, look_again(study.specs[name], views, project.layout)


def by_hand(project, spec, file):
    """Logits of a file's student on normalised images, one batch."""
    network = create_model("preact_resnet", 10, 1, widths=(8, 16), blocks=(1, 1))
    weights = load_file(project.layout.run(spec.name) / file)
    network.load_state_dict({key.removeprefix("student."): value for key, value in weights.items()})
    network.eval()
    with torch.no_grad():
        return lambda images: network(images).detach().double().numpy()


def test_means_over_views_are_those_of_a_plain_loop(looked):
    project, spec, views, path = looked
    found = read_answers(path, spec.name)
    with np.load(project.layout.run(spec.name) / "predictions.npz") as content:
        stored = dict(content)
    np.testing.assert_array_equal(found.true, stored["train_true"])
    np.testing.assert_array_equal(found.given, stored["train_given"])
    images = training_images(project, spec, found.true)
    view = create_view("autoaugment_erasing", spec.dataset.mean, spec.dataset.std, padding=1, flip=False)
    predict = by_hand(project, spec, "model.safetensors")
    plain = predict((images / 255 - spec.dataset.mean[0]) / spec.dataset.std[0])
    drawn = [predict(view(images, view.draw(len(images), 8, 8, generator(1, "vicinal", v)))) for v in range(3)]
    expected = {
        "plain": log_softmax(plain, axis=1),
        "probabilities": np.log(np.mean([softmax(logits, axis=1) for logits in drawn], axis=0)),
        "logits": log_softmax(np.mean(drawn, axis=0), axis=1),
    }
    rows = np.arange(len(images))
    for place, values in enumerate(expected.values()):
        np.testing.assert_allclose(found.loss[place], -values[rows, found.true], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found.confidence[place], np.exp(values.max(axis=1)), atol=1e-4)
        agree = found.predicted[place] == values.argmax(axis=1)
        assert agree.mean() > 0.995  # float32 may turn a tie
    assert (found.predicted[0] == stored["student_train"].argmax(axis=1)).mean() > 0.99
    assert views.draws == 3


def training_images(project, spec, true):
    """The images that were trained on: those left by the stratified validation part, in their order."""
    from nrd.data.arrays import stratified_indices
    from nrd.data.sources import SPLIT_SEED

    arrays = load_arrays(project.layout.dataset("digits"), spec.dataset.checksum)
    held_out = stratified_indices(arrays.train_labels, round(0.2 * len(arrays.train_labels)), SPLIT_SEED)
    kept = np.setdiff1d(np.arange(len(arrays.train_labels)), held_out)
    np.testing.assert_array_equal(arrays.train_labels[kept], true)
    return torch.from_numpy(arrays.train_images[kept])


def test_confidence_at_a_snapshot_is_that_of_its_weights(looked):
    project, spec, _, path = looked
    found = read_answers(path, spec.name)
    assert found.epochs.tolist() == [1, 3]
    assert found.points.shape == (2, 2, len(found.samples), 5, 10)
    predict = {
        1: by_hand(project, spec, "snapshots/epoch-0001.safetensors"),
        3: by_hand(project, spec, "model.safetensors"),
    }
    images = torch.from_numpy(found.images)
    true = found.true[found.samples]
    mean, std = true_class_confidence(found.points, true)
    for policy, name in enumerate(("crop", "autoaugment")):
        view = create_view(name, spec.dataset.mean, spec.dataset.std, padding=1, flip=False)
        repeated = torch.stack([image for image in images for _ in range(5)])
        made = view(repeated, view.draw(len(repeated), 8, 8, generator(1, POLICIES[policy])))
        for epoch, number in enumerate((1, 3)):
            probabilities = softmax(predict[number](made), axis=1).reshape(len(images), 5, 10)
            np.testing.assert_allclose(found.points[epoch, policy], probabilities, atol=2e-3)
            for sample, label in enumerate(true):
                own = [probabilities[sample, v, label] for v in range(5)]
                assert mean[epoch, policy, sample] == pytest.approx(np.mean(own), abs=2e-3)
                assert std[epoch, policy, sample] == pytest.approx(np.std(own), abs=2e-3)


def test_samples_are_drawn_among_those_learned_as_labeled():
    random = np.random.default_rng(0)
    true, given, predicted = (random.integers(0, 4, 4000) for _ in range(3))
    chosen = choose_samples(true, given, predicted, 3, seed=5)
    assert len(set(chosen.tolist())) == 6
    assert (given == true)[chosen].tolist() == [True] * 3 + [False] * 3
    assert (predicted == given)[chosen].all()
    assert choose_samples(true, given, predicted, 3, seed=5).tolist() == chosen.tolist()
    assert choose_samples(true, given, predicted, 3, seed=6).tolist() != chosen.tolist()
    # Every image that qualifies can be drawn: over many seeds the clean ones are spread over the data.
    places = [choose_samples(true, given, predicted, 1, seed)[0] for seed in range(60)]
    assert min(places) < 1000 and max(places) > 3000 and len(set(places)) > 40
    assert len(choose_samples(true, given, true, 9, seed=1)) == 9  # nothing mislabeled was learned


def test_pictures_are_views_that_look_like_the_samples(looked):
    _, spec, _, path = looked
    found = read_answers(path, spec.name)
    assert found.pictures.shape == (len(found.samples), 8, 1, 8, 8)
    view = create_view("autoaugment_erasing", spec.dataset.mean, spec.dataset.std, padding=1, flip=False)
    repeated = torch.from_numpy(found.images).repeat_interleave(8, dim=0)
    made = view(repeated, view.draw(len(repeated), 8, 8, generator(1, "pictures")))
    shown = (made * spec.dataset.std[0] + spec.dataset.mean[0]) * 255
    np.testing.assert_allclose(found.pictures.reshape(-1, 1, 8, 8), shown.numpy(), atol=1)


def test_what_cannot_be_read_is_refused_in_one_line(looked, tmp_path):
    _, spec, _, path = looked
    with pytest.raises(SpecError, match=r"there is no such file; `nrd analyse digits.sym50"):
        read_answers(tmp_path / "x.npz", spec.name)
    with pytest.raises(SpecError, match=f"is about {spec.name}, not other; delete it"):
        read_answers(path, "other")
    with np.load(path) as content:
        arrays = dict(content)
    for change in ({"loss": arrays["loss"][:, :-1]}, {"points": arrays["points"] * np.nan}, {"about": np.array("{")}):
        np.savez(tmp_path / "changed.npz", **(arrays | change))
        with pytest.raises(SpecError, match="is damaged"):
            read_answers(tmp_path / "changed.npz", spec.name)
    (tmp_path / "cut.npz").write_bytes(path.read_bytes()[:-200])
    with pytest.raises(SpecError, match="is damaged"):
        read_answers(tmp_path / "cut.npz", spec.name)


def save(path, about, arrays):
    np.savez(path, about=np.array(json.dumps(about)), **arrays)
    return path


def test_a_file_carries_the_checksums_of_its_arrays_and_of_the_weights(looked, tmp_path):
    project, spec, _, path = looked
    with np.load(path) as content:
        arrays = dict(content)
    about = json.loads(str(arrays.pop("about")))
    folder = project.layout.run(spec.name)
    files = ("model.safetensors", "snapshots/epoch-0001.safetensors")
    assert about["weights"] == {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in files}
    copy = save(tmp_path / "copy.npz", about, arrays)
    assert read_answers(copy, spec.name, folder).loss.shape == arrays["loss"].shape
    loss = arrays["loss"].copy()
    loss[0, 0] += 0.5
    save(copy, about, arrays | {"loss": loss})  # a well-formed archive, of other numbers
    with pytest.raises(SpecError, match=r"copy.npz: is damaged \(loss: its SHA-256 .*; delete it, `nrd analyse"):
        read_answers(copy, spec.name, folder)
    save(copy, about | {"device": "cuda"}, arrays)
    with pytest.raises(SpecError, match="what it says about itself"):
        read_answers(copy, spec.name, folder)
    save(copy, {"run": spec.name}, arrays)  # older than checksums
    assert read_answers(copy, spec.name, folder).epochs.tolist() == [1, 3]


@pytest.mark.parametrize("file", ["model.safetensors", "snapshots/epoch-0001.safetensors"])
@pytest.mark.parametrize("sums", [True, False])
def test_weights_that_are_others_by_now_are_told(looked, tmp_path, nrd, file, sums):
    """As after another training, by which a GPU rounds differently."""
    project, spec, views, _ = looked
    shutil.copytree(project.layout.root, tmp_path / "copy")
    layout = type(project.layout)(tmp_path / "copy")
    folder, path = layout.run(spec.name), layout.analysis(spec.name, views.name)
    read_answers(path, spec.name)
    (folder / file).write_bytes((folder / file).read_bytes() + b" ")
    if sums:
        write_sums(folder, [name for name in TRAINED if name != file] + [file])
    else:
        (folder / "sums.json").unlink()
    with pytest.raises(SpecError) as caught:
        read_answers(path, spec.name)
    message = f"{path}: is about other weights than {folder / file}; delete it, `nrd analyse {spec.name}` writes it"
    assert str(caught.value) == message
    process = nrd("analyse", spec.name, "--study", "looks", cwd=layout.root, check=False)
    assert process.returncode == 1 and "is about other weights" in process.stderr
    (folder / file).unlink()
    if not sums:
        read_answers(path, spec.name)  # nothing here to hold it against


def test_a_lost_snapshot_is_named_and_nothing_is_written(looked):
    project, spec, views, path = looked
    snapshot = project.layout.run(spec.name) / "snapshots" / "epoch-0001.safetensors"
    kept, before = snapshot.read_bytes(), path.read_bytes()
    snapshot.unlink()
    try:
        with pytest.raises(SpecError, match=r"epoch-0001.safetensors: there is no such file"):
            look_again(spec, views, project.layout)
    finally:
        snapshot.write_bytes(kept)
    assert path.read_bytes() == before


def test_the_command_asks_once_and_refuses_what_no_study_asks(looked, nrd):
    project, spec, views, path = looked
    before = path.stat().st_mtime_ns
    done = nrd("analyse", "--study", "looks", cwd=project.layout.root)
    assert done.stdout.strip() == f"results/analyses/{spec.name}/{views.name}.npz"
    assert path.stat().st_mtime_ns == before
    other = next(name for name in project.study("looks").specs if name != spec.name)
    with pytest.raises(SpecError, match=f"looks asks nothing of '{other}': runs with an analysis: {spec.name}"):
        project.asked([other], "looks")
    with pytest.raises(SpecError, match="give names of runs, or --study"):
        project.asked([])
    with pytest.raises(SpecError, match="the run is not finished"):
        look_again(project.study("looks").specs[other], views, project.layout)
    assert json.loads(str(np.load(path)["about"]))["run"] == spec.name
