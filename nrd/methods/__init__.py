"""Methods: what a training step computes. All of them train through the one loop in :mod:`nrd.training.loop`."""
