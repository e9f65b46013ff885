"""The plain way to train the same methods: what the project's own step is measured against.

Written as a textbook would: a ``DataLoader`` applies torchvision's transforms image by image, the step is eager, its
losses follow the formulas term by term, and the teacher's average is a loop over parameters. It shares the networks
and nothing else with the project's training code.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from nrd.benchmark.augment import torchvision_pipeline

METHODS = ("ce", "gjs", "nrd")


@dataclass(frozen=True)
class Recipe:
    """What both ways train.

    Attributes:
        method: ``ce``, ``gjs`` or ``nrd``.
        student: view of the student.
        teacher: view of the teacher, for ``nrd``.
        pi: weights of label and student views (``gjs``), or of label, student and teacher (``nrd``).
        decay: of the teacher's average.
    """

    method: str
    student: str = "crop"
    teacher: str = "augmix"
    pi: tuple[float, ...] = (0.3, 0.4, 0.3)
    decay: float = 0.99
    batch_size: int = 64
    learning_rate: float = 0.05
    weight_decay: float = 1e-4

    @property
    def views(self) -> list[str]:
        """View of each forward pass of a step."""
        return {"ce": [self.student], "gjs": [self.student] * 2, "nrd": [self.student, self.teacher]}[self.method]


class Images(Dataset):
    """Pictures with labels; each access makes its views anew."""

    def __init__(self, images: Tensor, labels: Tensor, views: list[str]) -> None:
        from torchvision.transforms.functional import to_pil_image

        self.pictures = [to_pil_image(image) for image in images]
        self.labels = labels.tolist()
        self.transforms = [torchvision_pipeline(view) for view in views]

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple:
        return *(transform(self.pictures[index]) for transform in self.transforms), self.labels[index]


class Reference:
    """A plain training of one network.

    Args:
        recipe: what to train.
        network: untrained.
        images: uint8 ``(N, C, H, W)`` of training.
        labels: given labels ``(N,)``.
        device: to train on.
        workers: processes that load; 0 loads in this one.
    """

    def __init__(
        self,
        recipe: Recipe,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        device: torch.device,
        workers: int = 0,
    ) -> None:
        self.recipe, self.device = recipe, device
        self.student = network.to(device).train()
        self.teacher = copy.deepcopy(self.student).requires_grad_(False) if recipe.method == "nrd" else None
        self.loader = DataLoader(
            Images(images.cpu(), labels.cpu(), recipe.views),
            batch_size=recipe.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            persistent_workers=workers > 0,
        )
        self.optimizer = torch.optim.SGD(
            self.student.parameters(),
            lr=recipe.learning_rate,
            momentum=0.9,
            nesterov=True,
            weight_decay=recipe.weight_decay,
        )
        self.total = 0.0

    def steps(self) -> Iterator[Callable[[], None]]:
        """Yield one epoch's steps; the time until a step is yielded is that of loading its batch."""
        for *views, labels in self.loader:
            yield lambda views=views, labels=labels: self.step(views, labels)

    def epoch(self, learning_rate: float) -> None:
        """Train one epoch."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        for step in self.steps():
            step()

    def step(self, views: list[Tensor], labels: Tensor) -> None:
        """Take one step."""
        views, labels = [view.to(self.device) for view in views], labels.to(self.device)
        self.optimizer.zero_grad()
        loss = self.loss(views, labels)
        loss.backward()
        self.optimizer.step()
        self.total += loss.item()
        if self.teacher is not None:
            for mine, theirs in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                mine.data.mul_(self.recipe.decay).add_(theirs.data, alpha=1 - self.recipe.decay)

    def loss(self, views: list[Tensor], labels: Tensor) -> Tensor:
        """Return the method's loss."""
        if self.recipe.method == "ce":
            return F.cross_entropy(self.student(views[0]), labels)
        if self.recipe.method == "gjs":
            pi1 = self.recipe.pi[0]
            weights = (pi1, *[(1 - pi1) / len(views)] * len(views))
            predictions = [self.student(view).softmax(dim=1) for view in views]
        else:
            weights = self.recipe.pi
            with torch.no_grad():
                taught = self.teacher(views[1]).softmax(dim=1)
            predictions = [self.student(views[0]).softmax(dim=1), taught]
        return jensen_shannon([F.one_hot(labels, predictions[0].shape[1]).float(), *predictions], weights)

    @torch.no_grad()
    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        """Return the student's accuracy on plain images, uint8 ``(N, C, H, W)``."""
        self.student.eval()
        plain = torchvision_pipeline("none")
        right = 0
        for chunk, truth in zip(images.split(500), labels.split(500), strict=True):
            batch = torch.stack([plain(image) for image in chunk]).to(self.device)
            right += (self.student(batch).argmax(dim=1).cpu() == truth.cpu()).sum().item()
        self.student.train()
        return right / len(images)


def jensen_shannon(distributions: list[Tensor], weights: tuple[float, ...]) -> Tensor:
    """Return the scaled generalized Jensen-Shannon divergence Σᵢ πᵢ KL(pᵢ ‖ m) / Z, averaged over the batch."""
    mixture = sum(weight * p for weight, p in zip(weights, distributions, strict=True)).clamp(1e-7, 1)
    total = sum(
        weight * F.kl_div(mixture.log(), p, reduction="batchmean")
        for weight, p in zip(weights, distributions, strict=True)
    )
    return total / (-(1 - weights[0]) * math.log(1 - weights[0]))
