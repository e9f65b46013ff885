"""What the benchmarks train: each method as a study would set it, with hyper-parameters from its ledger."""

from collections.abc import Sequence

from nrd.configs import MethodConfig, Named, Settings
from nrd.resolve import resolve_noise
from nrd.spec import RunSpec
from nrd.study import Project

POCKET = "preact_resnet_pocket"
DATASET, NOISE = "cifar10", "sym60"
WHERE = "nrd benchmark"


def benchmark_specs(
    project: Project,
    methods: Sequence[str] = (),
    networks: Sequence[str] = (POCKET,),
    student: str = "crop",
    teacher: str = "augmix",
    batch_size: int = 64,
    precision: str = "float32",
) -> list[RunSpec]:
    """Return a run of one epoch for each network and method, on colour images of 32×32 in ten classes.

    Learning rate and weight decay are those of the ``pocket`` study, one pair for all; hyper-parameters are those of
    the method's ledger for CIFAR-10 with 60 % symmetric noise, or the first entry of a ledger without CIFAR-10.

    Args:
        project: whose methods.
        methods: their names; by default all.
        networks: names of networks.
        student: view of the student.
        teacher: view of the teacher, where a method has one.
        batch_size: of a step.
        precision: ``float32`` or ``bfloat16``.

    Raises:
        SpecError: an unknown name, or a method without settings.
    """
    chosen = [project.methods[name] for name in methods or project.methods]
    views = {"student": Named(name=student), "teacher": Named(name=teacher)}
    common = {"epochs": 1, "batch_size": batch_size, "learning_rate": 0.05, "weight_decay": 1e-4}
    return [
        _spec(project, method, Settings(network=Named(name=network), precision=precision, views=views, **common))
        for network in networks
        for method in chosen
    ]


def _spec(project: Project, method: MethodConfig, settings: Settings) -> RunSpec:
    dataset = project.datasets[DATASET]
    if method.ledger and DATASET not in method.ledger:
        settings = settings.model_copy(update={"ledger_dataset": next(iter(method.ledger))})
    noise = resolve_noise(NOISE, dataset, WHERE)
    spec, _ = project.resolve(settings, dataset, noise, method, WHERE)
    return spec.model_copy(update={"seed": 1})
