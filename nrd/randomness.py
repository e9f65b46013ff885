"""Random generators keyed by what is drawn, never by how much was drawn before.

A run draws its initial weights, its batch order and the parameters of its views from generators keyed on
(seed, epoch, stream). A resumed run therefore draws what an undisturbed one would have drawn, whatever the
chunk size. Generators live on the CPU, so that a draw is the same whichever device trains.
"""

import hashlib

import torch


def derive_seed(*key: int | str) -> int:
    """Return a 63-bit seed that depends on every part of the key and on their order.

    >>> derive_seed(1, 0, "order") == derive_seed(1, 0, "order")
    True
    >>> derive_seed(1, 0, "order") == derive_seed(1, 1, "order")
    False
    """
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*key: int | str) -> torch.Generator:
    """Return a CPU generator seeded from the key, for example ``generator(seed, epoch, "student")``."""
    return torch.Generator().manual_seed(derive_seed(*key))
