"""Noise-robust distillation for noisy labels: the paper's grid as a workflow, and its parts as a library.

Import what you need from its room, such as ``nrd.losses``, ``nrd.augment``, ``nrd.label_noise`` or ``nrd.models``;
nothing is imported here, so that each part costs only what it uses.
"""

__version__ = "0.1.0"
