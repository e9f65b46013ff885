"""Label noise: every definition under its own name, drawn from frozen generators.

Papers that say "40 % symmetric noise" do not mean the same labels. Here each definition has a name of its own and
says whose it is; the same name, rate and seed give the same labels on every machine.

>>> import numpy as np
>>> labels = np.arange(1000) % 10
>>> noisy = corrupt(labels, "symmetric", 0.4, num_classes=10, seed=1)
>>> bool((noisy.labels != labels).mean() == noisy.actual_rate)
True
"""

from nrd.label_noise.cifar100 import CIFAR100_SUPERCLASSES
from nrd.label_noise.measure import actual_rate, transition_matrix
from nrd.label_noise.registry import NOISES, CorruptedLabels, NoiseDefinition, corrupt

__all__ = [
    "CIFAR100_SUPERCLASSES",
    "NOISES",
    "CorruptedLabels",
    "NoiseDefinition",
    "actual_rate",
    "corrupt",
    "transition_matrix",
]
