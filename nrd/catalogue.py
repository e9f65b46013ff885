"""What a spec may name: views, networks and noises, known without importing torch.

The workflow resolves thousands of runs before anything heavy is loaded, so the names, their options with types and
frozen defaults, and their semantics numbers live here. A test holds this list against the code that implements it.

A semantics number is raised by hand when a fix changes what a name computes: runs made before then keep their names,
runs made afterwards get new ones. A frozen default never changes: options equal to it are left out of a run's hash.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

OptionValue = bool | int | float | str | list[int] | list[float] | None

# Raised when the training loop itself (order of samples, update, evaluation) changes results.
LOOP_SEMANTICS = 1


@dataclass(frozen=True)
class Entry:
    """One name a spec may use: its options with their frozen defaults, and its semantics number.

    ``num_classes`` is that of the datasets that a noise is made for; None for any.
    """

    summary: str
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    semantics: int = 1
    num_classes: int | None = None


_SHARED = {"padding": 4, "flip": True}

VIEWS: Mapping[str, Entry] = {
    "none": Entry("normalise only: evaluation"),
    "crop": Entry("random crop after zero padding, horizontal flip", _SHARED),
    "gjs": Entry(
        "RandAugment (ildoonet), crop, flip, cutout: the baselines' student view",
        {"num_ops": 1, "magnitude": 3, "cutout": 16, **_SHARED},
    ),
    "paper": Entry(
        "RandAugment (torchvision), crop, flip, cutout: the NRD paper's appendix, read literally",
        {"num_ops": 1, "magnitude": 3, "cutout": 5, **_SHARED},
    ),
    "autoaugment": Entry("AutoAugment (CIFAR-10 policy), crop, flip", _SHARED),
    "augmix": Entry(
        "AugMix with torchvision's defaults, crop, flip: the teacher's view",
        {"severity": 3, "width": 3, "depth": -1, "alpha": 1.0, "all_ops": True, **_SHARED},
    ),
    "augmix_original": Entry(
        "crop, flip, AugMix as its authors wrote it",
        {"severity": 3.0, "width": 3, "depth": -1, "alpha": 1.0, "all_ops": False, **_SHARED},
    ),
    "autoaugment_erasing": Entry("AutoAugment, crop, flip, RandomErasing: Table 1's test-time view", _SHARED),
    "color_jitter": Entry(
        "brightness, contrast and saturation jittered, crop, flip",
        {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, **_SHARED},
    ),
}

_PREACT = {"stem_stride": 1, "final_norm": True}

NETWORKS: Mapping[str, Entry] = {
    "preact_resnet": Entry("pre-activation ResNet from widths and blocks", {"widths": None, "blocks": None, **_PREACT}),
    "preact_resnet34_thin": Entry("the paper's PreActResNet-34: 32-64-128 of 5-5-5 blocks"),
    "preact_resnet34": Entry("standard PreActResNet-34: 64-128-256-512 of 3-4-6-3 blocks"),
    "preact_resnet18": Entry("standard PreActResNet-18: 64-128-256-512 of 2-2-2-2 blocks"),
    "preact_resnet_tiny": Entry("16-32-64 of 1-1-1 blocks: the digits demo"),
    "preact_resnet_pocket": Entry("32-64-128 of 1-1-1 blocks, stride-2 stem: CIFAR-10 on a CPU"),
    "resnet34": Entry("torchvision's ResNet-34", {"cifar_stem": False}),
    "resnet50": Entry("torchvision's ResNet-50", {"cifar_stem": False}),
}

# slug prefix in studies and run names -> definition in nrd.label_noise; "asym" is resolved by the dataset
NOISE_SLUGS: Mapping[str, str] = {
    "sym": "symmetric",
    "symx": "symmetric-exclusive",
    "asym": "",
    "asymi": "asymmetric-cifar10-independent",
    "asymb": "asymmetric-cifar100-block5",
    "pair": "pair",
    "idn": "instance-dependent",
}

NOISES: Mapping[str, Entry] = {
    "none": Entry("clean labels"),
    "symmetric": Entry("uniform over all classes, the true one included"),
    "symmetric-exclusive": Entry("uniform over the other classes"),
    "asymmetric-cifar10-sequential": Entry("similar CIFAR-10 classes, visited one after the other", num_classes=10),
    "asymmetric-cifar10-independent": Entry("similar CIFAR-10 classes, from the true labels", num_classes=10),
    "asymmetric-cifar100-superclass": Entry("next class of the true CIFAR-100 superclass", num_classes=100),
    "asymmetric-cifar100-block5": Entry("next class within blocks of five consecutive ids", num_classes=100),
    "pair": Entry("y -> y + 1"),
    "instance-dependent": Entry("depends on the image (Xia et al. 2020)"),
    "human": Entry("published human labels (CIFAR-N)"),
}
