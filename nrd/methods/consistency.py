"""Generalized Jensen-Shannon: one network, several views, each with its own BatchNorm statistics."""

from typing import Any

from torch import Tensor

from nrd.losses import GeneralizedJensenShannon
from nrd.methods.base import Batch, Context, Method


class GJS(Method):
    """GJS (Englesson & Azizpour 2021, eq. 6): divergence between the label and the predictions on ``num_views`` views.

    The views are forwarded one after the other, as the official code does: BatchNorm normalises each by its own
    statistics.
    """

    def __init__(self, pi1: float, scale: bool = True, num_views: int = 2, **common: Any) -> None:
        super().__init__(**common)
        self.num_views = num_views
        self.loss = GeneralizedJensenShannon(pi1, num_views=num_views, scale=scale, validate=False)

    @property
    def view_counts(self) -> dict[str, int]:
        """As many student views as the loss compares."""
        return {"student": self.num_views}

    def step(self, ctx: Context, batch: Batch) -> dict[str, Tensor]:
        """Loss of the predictions on all views against the given labels."""
        logits = [self.networks[0](view) for view in batch.views["student"]]
        return {"loss": self.loss(logits, batch.targets), "logits": logits[0]}
