"""The plain way to train the same methods: what the project's own step is measured against.

Written as a textbook would: a ``DataLoader`` applies torchvision's transforms image by image, the step is eager, its
losses follow the papers' formulas term by term, and the teacher's average is a loop over parameters. It shares the
networks and nothing else with the project's training code.
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
from nrd.spec import RunSpec


def cross_entropy(logits: list[Tensor], labels: Tensor) -> Tensor:
    """CE."""
    return F.cross_entropy(logits[0], labels)


def bootstrapping(logits: list[Tensor], labels: Tensor, beta: float) -> Tensor:
    """Soft bootstrapping, Reed et al. 2015: the target is mixed with the prediction, whose weight is β."""
    p = logits[0].softmax(dim=1)
    target = (1 - beta) * one_hot(labels, p) + beta * p
    return -(target * p.clamp(min=1e-7).log()).sum(dim=1).mean()


def label_smoothing(logits: list[Tensor], labels: Tensor, epsilon: float) -> Tensor:
    """Label smoothing, Szegedy et al. 2016, as the divergence from the smoothed label."""
    log_p = logits[0].log_softmax(dim=1)
    target = (1 - epsilon) * one_hot(labels, log_p) + epsilon / log_p.shape[1]
    return F.kl_div(log_p, target, reduction="batchmean")


def reverse_cross_entropy(logits: list[Tensor], labels: Tensor) -> Tensor:
    """RCE: prediction and label change places, and the label's zeros count as 10⁻⁴."""
    p = logits[0].softmax(dim=1).clamp(1e-7, 1)
    return -(p * one_hot(labels, p).clamp(1e-4, 1).log()).sum(dim=1).mean()


def symmetric_cross_entropy(logits: list[Tensor], labels: Tensor, alpha: float, beta: float) -> Tensor:
    """SCE, Wang et al. 2019."""
    return alpha * cross_entropy(logits, labels) + beta * reverse_cross_entropy(logits, labels)


def generalized_cross_entropy(logits: list[Tensor], labels: Tensor, q: float) -> Tensor:
    """GCE, Zhang & Sabuncu 2018."""
    p = logits[0].softmax(dim=1).gather(1, labels[:, None]).clamp(min=1e-7)
    return ((1 - p**q) / q).mean()


def normalised_and_reverse(logits: list[Tensor], labels: Tensor, alpha: float, beta: float) -> Tensor:
    """NCE+RCE, Ma et al. 2020."""
    log_p = logits[0].log_softmax(dim=1)
    normalised = log_p.gather(1, labels[:, None])[:, 0] / log_p.sum(dim=1)
    return alpha * normalised.mean() + beta * reverse_cross_entropy(logits, labels)


def jensen_shannon_of_views(logits: list[Tensor], labels: Tensor, pi1: float) -> Tensor:
    """JS of one view and GJS of several, Englesson & Azizpour 2021: the label weighs π₁, the views share the rest."""
    share = (1 - pi1) / len(logits)
    return noise_robust_distillation(logits, labels, [pi1, *[share] * len(logits)])


def noise_robust_distillation(logits: list[Tensor], labels: Tensor, pi: list[float]) -> Tensor:
    """NRD, eq. 25: the label, the student's prediction and the teacher's."""
    predictions = [output.softmax(dim=1) for output in logits]
    return jensen_shannon([one_hot(labels, predictions[0]), *predictions], tuple(pi))


def one_hot(labels: Tensor, like: Tensor) -> Tensor:
    """Return labels as distributions."""
    return F.one_hot(labels, like.shape[1]).to(like.dtype)


def jensen_shannon(distributions: list[Tensor], weights: tuple[float, ...]) -> Tensor:
    """Return the scaled generalized Jensen-Shannon divergence Σᵢ πᵢ KL(pᵢ ‖ m) / Z, averaged over the batch."""
    mixture = sum(weight * p for weight, p in zip(weights, distributions, strict=True)).clamp(1e-7, 1)
    total = sum(
        weight * F.kl_div(mixture.log(), p, reduction="batchmean")
        for weight, p in zip(weights, distributions, strict=True)
    )
    return total / (-(1 - weights[0]) * math.log(1 - weights[0]))


@dataclass(frozen=True)
class Plain:
    """A method: its loss of the logits of all views, and how many views student and teacher see."""

    loss: Callable[..., Tensor]
    student: int = 1
    teacher: int = 0


METHODS = {
    "ce": Plain(cross_entropy),
    "bs": Plain(bootstrapping),
    "ls": Plain(label_smoothing),
    "sce": Plain(symmetric_cross_entropy),
    "gce": Plain(generalized_cross_entropy),
    "nce-rce": Plain(normalised_and_reverse),
    "js": Plain(jensen_shannon_of_views),
    "gjs": Plain(jensen_shannon_of_views, student=2),
    "nrd": Plain(noise_robust_distillation, teacher=1),
}


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
        spec: what to train; of its method's hyper-parameters those that differ from their default.
        network: untrained.
        images: uint8 ``(N, C, H, W)`` of training.
        labels: given labels ``(N,)``.
        device: to train on.
        workers: processes that load; 0 loads in this one.
    """

    def __init__(
        self,
        spec: RunSpec,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        device: torch.device,
        workers: int = 0,
    ) -> None:
        self.spec, self.device = spec, device
        self.plain, settings = METHODS[spec.method.name], spec.optimization
        self.student = network.to(device).train()
        self.teacher = copy.deepcopy(self.student).requires_grad_(False) if self.plain.teacher else None
        self.loader = DataLoader(
            Images(images.cpu(), labels.cpu(), self._views()),
            batch_size=settings.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            persistent_workers=workers > 0,
        )
        self.optimizer = torch.optim.SGD(
            self.student.parameters(),
            lr=settings.learning_rate,
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            weight_decay=settings.weight_decay,
        )
        self.total = 0.0

    def _views(self) -> list[str]:
        """Return the view of each forward pass of a step."""
        counts = {"student": self.plain.student, "teacher": self.plain.teacher}
        return [self.spec.method.views[role].name for role, count in counts.items() for _ in range(count)]

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
            decay = self.spec.method.teacher.decay
            for mine, theirs in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                mine.data.mul_(decay).add_(theirs.data, alpha=1 - decay)

    def loss(self, views: list[Tensor], labels: Tensor) -> Tensor:
        """Return the method's loss; views of the teacher follow those of the student."""
        logits = [self.student(view) for view in views[: self.plain.student]]
        with torch.no_grad():
            logits += [self.teacher(view) for view in views[self.plain.student :]]
        return self.plain.loss(logits, labels, **self.spec.method.hyperparameters)

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
