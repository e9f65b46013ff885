"""Learning rate as a pure function of the epoch: nothing to save, nothing to restore."""

import math

from nrd.spec import OptimizationSpec


def learning_rate(spec: OptimizationSpec, epoch: int) -> float:
    """Return the learning rate of an epoch (counted from 0).

    ``step`` multiplies by ``gamma`` from each milestone on (a milestone of 200: epochs 200, 201, ... are smaller);
    ``cosine`` falls from the base rate towards zero over all epochs; ``warmup`` epochs climb linearly before either.

    >>> from nrd.spec import ScheduleSpec
    >>> schedule = ScheduleSpec(milestones=(2, 3))
    >>> spec = OptimizationSpec(epochs=4, batch_size=8, learning_rate=1.0, weight_decay=0, schedule=schedule)
    >>> [round(learning_rate(spec, epoch), 4) for epoch in range(4)]
    [1.0, 1.0, 0.1, 0.01]
    """
    schedule = spec.schedule
    rate = spec.learning_rate
    if schedule.name == "step":
        rate *= schedule.gamma ** sum(epoch >= milestone for milestone in schedule.milestones)
    else:
        rate *= 0.5 * (1 + math.cos(math.pi * epoch / spec.epochs))
    if epoch < schedule.warmup:
        rate *= (epoch + 1) / (schedule.warmup + 1)
    return rate
