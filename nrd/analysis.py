"""Finished networks looked at again: their predictions on views of the images they were trained on.

One small file per run (and question) holds what Table 1, Figures 1, 2a, 2b and Table 6 of the paper need, so that
tables and figures are made without a network, a dataset or a GPU.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from nrd.augment import create_view
from nrd.augment.views import View
from nrd.data.arrays import load_arrays
from nrd.data.device import Part, to_device
from nrd.data.labels import read_labels
from nrd.evaluation.answers import POLICIES, write_answers
from nrd.evaluation.samples import choose_samples, draw_views, predict_views
from nrd.evaluation.vicinal import true_label_losses, vicinal_losses, vicinal_predictions, view_logits
from nrd.layout import Layout
from nrd.spec import DatasetSpec, RunSpec, SpecError, ViewSpec, ViewsSpec
from nrd.training.build import build_views, pick_device
from nrd.training.finished import read_student, snapshot_path
from nrd.training.slots import leased_device

EXAMPLES = 8  # views of each sample that are kept as pictures
LINE_SECONDS = 20.0

Predictor = Callable[[Tensor], Tensor]
Step = Callable[[str], None]


def look_again(spec: RunSpec, views: ViewsSpec, layout: Layout, device: str = "auto", threads: int = 1) -> Path:
    """Ask a finished run's student about views of its training images; return the file of the answers.

    What it holds is described at :class:`nrd.evaluation.answers.Answers`.

    Raises:
        SpecError: the run is not finished, or a file of it is missing or damaged; nothing was written.
    """
    torch.set_num_threads(threads)
    if not layout.is_trained(spec.name):
        raise SpecError(f"{layout.run(spec.name)}: the run is not finished; train {spec.name} first")
    with leased_device(device, layout.root / "scratch") as leased:
        where = pick_device(leased)
        arrays = load_arrays(layout.dataset(spec.dataset.name), spec.dataset.checksum)
        train = to_device(spec, arrays, read_labels(spec, layout.labels(spec.labels_name)), where).train
        content = _answers(spec, views, layout, train, where)
    about = {"run": spec.name, "views": views.model_dump(mode="json"), "device": where.type}
    path, folder = layout.analysis(spec.name, views.name), layout.run(spec.name)
    weights = [_weights(spec, layout, epoch).relative_to(folder).as_posix() for epoch in _epochs(spec)]
    write_answers(path, about, content, folder, weights)
    return path


def _answers(spec: RunSpec, views: ViewsSpec, layout: Layout, train: Part, device: torch.device) -> dict:
    epochs = _epochs(spec)
    with _steps(spec.name, views.draws + len(epochs)) as step:
        final = _load(spec, layout, spec.optimization.epochs, device)
        content = {"true": train.true, "given": train.given, **_whole(spec, views, final, train, device, step)}
        true, given, plain = (part.cpu().numpy() for part in (train.true, train.given, content["predicted"][0]))
        samples = choose_samples(true, given, plain, views.samples, spec.seed)
        images = train.images[torch.from_numpy(samples).to(device)]
        content |= {"samples": torch.from_numpy(samples), "images": images, "epochs": torch.tensor(epochs)}
        content["pictures"] = _pictures(spec.dataset, _view(views.vicinal, spec.dataset, device), images, spec.seed)
        content["points"] = _points(spec, views, layout, images, device, epochs, step)
    return {key: value.cpu().numpy() for key, value in content.items()}


def _epochs(spec: RunSpec) -> list[int]:
    """The epochs whose networks are kept: the snapshots, and the end of training."""
    last = spec.optimization.epochs
    return [*sorted(epoch for epoch in set(spec.snapshots) if epoch < last), last]


def _whole(
    spec: RunSpec, views: ViewsSpec, predictor: Predictor, train: Part, device: torch.device, step: Step
) -> dict[str, Tensor]:
    """Predictions of every training image, plain and averaged over views."""
    plain = view_logits(predictor, train.images, _view(ViewSpec(name="none"), spec.dataset, device), spec.seed, 0)
    view = _view(views.vicinal, spec.dataset, device)
    vicinal = vicinal_predictions(
        predictor, train.images, view, views.draws, spec.seed, lambda: step(f"views of {len(train)} images")
    )
    probabilities = [plain.softmax(dim=1), vicinal.probabilities, vicinal.logits.softmax(dim=1)]
    losses = [
        true_label_losses(plain, train.true),
        vicinal_losses(vicinal.probabilities, train.true),
        true_label_losses(vicinal.logits, train.true),
    ]
    best = [part.max(dim=1) for part in probabilities]
    return {
        "predicted": torch.stack([part.indices for part in best]),
        "confidence": torch.stack([part.values for part in best]),
        "loss": torch.stack(losses).float(),
    }


def _points(
    spec: RunSpec,
    views: ViewsSpec,
    layout: Layout,
    images: Tensor,
    device: torch.device,
    epochs: list[int],
    step: Step,
) -> Tensor:
    """Probabilities on the same views of the samples at each epoch, ``(E, 2, M, V, K)``."""
    training = build_views(spec, device)[0]["student"]
    policies = {"training": training, "unseen": _view(views.unseen, spec.dataset, device)}
    drawn = [draw_views(images, policies[name], views.points, spec.seed, name) for name in POLICIES]
    found = []
    for epoch in epochs:
        predictor = _load(spec, layout, epoch, device)
        found.append(torch.stack([predict_views(predictor, part) for part in drawn]).half())
        step(f"network of epoch {epoch}")
    return torch.stack(found)


def _view(view: ViewSpec, dataset: DatasetSpec, device: torch.device) -> View:
    return create_view(view.name, dataset.mean, dataset.std, **view.options).to(device)


def _weights(spec: RunSpec, layout: Layout, epoch: int) -> Path:
    """Where the run's networks of an epoch are kept; those of the last are its model."""
    if epoch == spec.optimization.epochs:
        return layout.run(spec.name) / "model.safetensors"
    return snapshot_path(layout, spec.name, epoch)


def _load(spec: RunSpec, layout: Layout, epoch: int, device: torch.device) -> Predictor:
    """Return the run's student, as it was after an epoch, computing as training's evaluation does."""
    path = _weights(spec, layout, epoch)
    if not path.is_file():
        raise SpecError(f"{path}: there is no such file; delete its folder to train {spec.name} again")
    network = read_student(spec, spec.name, path, signed=epoch == spec.optimization.epochs)
    network = network.to(device, memory_format=torch.channels_last)

    def predict(images: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=spec.precision == "bfloat16"):
            return network(images)

    return predict


def _pictures(dataset: DatasetSpec, view: View, images: Tensor, seed: int) -> Tensor:
    """Views of the samples as they would look, uint8 ``(M, 8, C, H, W)``."""
    mean, std = (torch.tensor(values, device=images.device).view(-1, 1, 1) for values in (dataset.mean, dataset.std))
    made = draw_views(images, view, EXAMPLES, seed, "pictures")
    return ((made * std + mean) * 255).round().clamp(0, 255).byte()


@contextmanager
def _steps(run: str, total: int) -> Iterator[Step]:
    """Show steps: a bar when a person watches, else a line at most every twenty seconds and one at the end."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task(run, total=total)
            yield lambda text: bar.update(task, advance=1, description=f"{run}: {text}")
        return
    done, shown = 0, time.monotonic()

    def step(text: str) -> None:
        nonlocal done, shown
        done += 1
        if done == total or time.monotonic() - shown >= LINE_SECONDS:
            shown = time.monotonic()
            print(f"{run}: {done} of {total}, {text}", file=sys.stderr, flush=True)

    yield step
