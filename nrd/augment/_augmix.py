"""AugMix: chains of mild operations, mixed with each other and with the image."""

import torch
from torch import Tensor

from nrd.augment import _spaces
from nrd.augment._geometric import Interpolation
from nrd.augment._operations import NO_OPERATION, Draw, Operations
from nrd.augment._tensors import Fill, blocks, check_images, send, truncate

LONGEST_RANDOM_CHAIN = 3


class _Chains:
    """What both versions of AugMix share: drawing chains and applying them."""

    def __init__(self, width: int, depth: int, alpha: float, operations: Operations) -> None:
        if width < 1 or depth == 0 or alpha <= 0:
            raise ValueError(f"AugMix needs a width and an alpha above 0 and a depth other than 0: {width=} {depth=}")
        self.width, self.depth, self.alpha, self.operations = width, depth, alpha, operations

    def _draw_operations(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw operations ``(n, width, depth)`` and which of them belong to their (shorter) chain."""
        longest = self.depth if self.depth > 0 else LONGEST_RANDOM_CHAIN
        shape = (n, self.width, longest)
        operation = torch.randint(len(self.operations.names), shape, generator=generator)
        if self.depth > 0:
            return operation, torch.ones(shape, dtype=torch.bool)
        length = torch.randint(1, longest + 1, (n, self.width, 1), generator=generator)
        return operation, torch.arange(longest) < length

    def _draw_weights(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw the image's own share and its complement ``(n, 2)``, and the chains' shares ``(n, width)``."""

        def dirichlet(parts: int) -> Tensor:
            return torch._sample_dirichlet(torch.full((n, parts), self.alpha), generator=generator)

        return dirichlet(2), dirichlet(self.width)

    def _mix(self, images: Tensor, draw: Draw, result: Tensor) -> Tensor:
        """Write the weighted sum of float32 grey levels to the result, without its fractions if that is uint8."""
        start = torch.arange(len(images)).repeat_interleave(self.width)
        pool, last = self.operations.run(
            images, start, draw["operation"].flatten(0, 1), draw["magnitude"].flatten(0, 1)
        )
        last = send(last, images.device).view(-1, self.width)
        weights = send(draw["weights"], images.device)[..., None, None, None]
        for block in blocks(images):
            # Product and sum stay two kernels, so that the sum is rounded as in the definition.
            mixed = images[block].to(weights.dtype).mul_(weights[block, 0])
            for place in range(self.width):
                chain = pool.index_select(0, last[block, place]).to(weights.dtype)
                mixed.add_(chain.mul_(weights[block, place + 1]))
            result[block] = truncate(mixed) if result.dtype == torch.uint8 else mixed
        return result


class AugMix(_Chains):
    """AugMix as torchvision defines it, with operations drawn per image and Pillow's kernels.

    torchvision itself converts every image to a tensor first, so that its contrast, colour and bilinear sampling
    differ from Pillow's by a grey level or two, and more at the borders.

    Args:
        severity: magnitudes are drawn from the first ``severity`` of ten bins.
        width: number of chains.
        depth: operations per chain; -1 draws 1 to 3.
        alpha: parameter of both Dirichlet distributions.
        all_ops: whether brightness, color, contrast and sharpness are among the operations.
        interpolation: of the geometric operations; ``bilinear_fast`` saves a third of their time.
        fill: grey level or colour where they find no pixel.

    Raises:
        ValueError: for a severity outside 1–10, or a width, depth or alpha that makes no chain.

    Source: Hendrycks et al., "AugMix", 2020; ``torchvision.transforms.AugMix``.

    >>> policy = AugMix()
    >>> draw = policy.draw(4, 32, 32, torch.Generator().manual_seed(0))
    >>> {name: tuple(value.shape) for name, value in draw.items()}
    {'operation': (4, 3, 3), 'magnitude': (4, 3, 3), 'weights': (4, 4)}
    """

    def __init__(
        self,
        severity: int = 3,
        width: int = 3,
        depth: int = -1,
        alpha: float = 1.0,
        all_ops: bool = True,
        interpolation: Interpolation = "bilinear",
        fill: Fill = 0,
    ) -> None:
        if not 1 <= severity <= 10:
            raise ValueError(f"severity {severity} is not between 1 and 10")
        super().__init__(width, depth, alpha, Operations(tuple(_spaces.augmix(10, 1, 1, all_ops)), interpolation, fill))
        self.severity, self.all_ops = severity, all_ops

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Draw:
        """Draw chains and weights for ``n`` images.

        Returns:
            ``operation`` int64 ``(n, width, depth)`` with -1 past a chain's end, ``magnitude`` float64 of the same
            shape, ``weights`` float32 ``(n, 1 + width)`` of the image and its chains.
        """
        table = _spaces.Table(_spaces.augmix(10, height, width, self.all_ops))
        operation, used = self._draw_operations(n, generator)
        level = torch.randint(self.severity, operation.shape, generator=generator)
        negative = torch.randint(2, operation.shape, generator=generator).bool()
        own, shares = self._draw_weights(n, generator)
        return {
            "operation": operation.where(used, NO_OPERATION),
            "magnitude": table.magnitude(operation, level, negative),
            "weights": torch.cat([own[:, :1], shares * own[:, 1:]], 1),
        }

    def apply(self, images: Tensor, draw: Draw) -> Tensor:
        """Apply a draw to uint8 ``(N, C, H, W)`` images; the mixture is truncated to uint8."""
        check_images(images)
        return self._mix(images, draw, torch.empty_like(images))


# Operation, its highest value at level 10, whether that is cut to a whole number, whether a sign is drawn.
ORIGINAL = {
    "autocontrast": (0.0, True, False),
    "equalize": (0.0, True, False),
    "posterize": (4.0, True, False),
    "rotate": (30.0, True, True),
    "solarize": (256.0, True, False),
    "shear_x": (0.3, False, True),
    "shear_y": (0.3, False, True),
    "translate_x": (0.0, True, True),
    "translate_y": (0.0, True, True),
}
ORIGINAL_ENHANCEMENTS = dict.fromkeys(("color", "contrast", "brightness", "sharpness"), (1.8, False, False))


class AugMixOriginal(_Chains):
    """AugMix as its authors published it: continuous levels, and a mixture that is never rounded to grey levels.

    Levels are uniform between 0.1 and the severity; the nine operations leave out those of the corruption
    benchmark unless ``all_ops`` is set. The authors mix normalised images; since the weights sum to one that is
    the normalised mixture, which is what this returns the mixture for.

    Args:
        severity: highest level.
        width: number of chains.
        depth: operations per chain; -1 draws 1 to 3.
        alpha: parameter of the Dirichlet and beta distributions.
        all_ops: whether color, contrast, brightness and sharpness are among the operations.
        interpolation: of the geometric operations.

    Source: https://github.com/google-research/augmix, ``cifar.py`` and ``augmentations.py``.

    >>> policy = AugMixOriginal()
    >>> draw = policy.draw(2, 32, 32, torch.Generator().manual_seed(0))
    >>> policy.apply(torch.full((2, 3, 32, 32), 255, dtype=torch.uint8), draw).dtype
    torch.float32
    """

    def __init__(
        self,
        severity: float = 3,
        width: int = 3,
        depth: int = -1,
        alpha: float = 1.0,
        all_ops: bool = False,
        interpolation: Interpolation = "bilinear",
    ) -> None:
        self.space = {**ORIGINAL, **(ORIGINAL_ENHANCEMENTS if all_ops else {})}
        super().__init__(width, depth, alpha, Operations(tuple(self.space), interpolation))
        self.severity = severity

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Draw:
        """Draw chains and weights for ``n`` images; the same entries as :meth:`AugMix.draw`."""
        operation, used = self._draw_operations(n, generator)
        level = torch.rand(operation.shape, dtype=torch.float64, generator=generator) * (self.severity - 0.1) + 0.1
        negative = torch.randint(2, operation.shape, generator=generator).bool()
        own, shares = self._draw_weights(n, generator)
        return {
            "operation": operation.where(used, NO_OPERATION),
            "magnitude": self._magnitude(operation, level, negative, height, width),
            "weights": torch.cat([own[:, :1], shares * own[:, 1:]], 1),
        }

    def _magnitude(self, operation: Tensor, level: Tensor, negative: Tensor, height: int, width: int) -> Tensor:
        reach = {"translate_x": width / 3, "translate_y": height / 3}
        highest = torch.tensor([reach.get(name, high) for name, (high, _, _) in self.space.items()]).double()
        whole = torch.tensor([entry[1] for entry in self.space.values()])[operation]
        signed = torch.tensor([entry[2] for entry in self.space.values()])[operation]
        value = level * highest[operation] / 10
        value = value.trunc().where(whole, value)
        value = torch.where(negative & signed, -value, value)
        # Posterize and solarize count downwards; the enhancements start at 0.1.
        start = {"posterize": 4.0, "solarize": 256.0, **dict.fromkeys(ORIGINAL_ENHANCEMENTS, 0.1)}
        offset = torch.tensor([start.get(name, 0.0) for name in self.space], dtype=torch.float64)[operation]
        falls = torch.tensor([name in ("posterize", "solarize") for name in self.space])[operation]
        return offset + torch.where(falls, -value, value)

    def apply(self, images: Tensor, draw: Draw) -> Tensor:
        """Apply a draw to uint8 ``(N, C, H, W)`` images; returns the mixture as float32 between 0 and 255."""
        check_images(images)
        return self._mix(images, draw, torch.empty_like(images, dtype=torch.float32))
