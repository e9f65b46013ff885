"""Pre-activation ResNets of basic blocks (He et al. 2016, "Identity Mappings in Deep Residual Networks")."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class PreActBlock(nn.Module):
    """BN → ReLU → 3×3 conv → BN → ReLU → 3×3 conv, plus a shortcut.

    Where the shape changes, the shortcut is a 1×1 convolution of the *pre-activated* input; elsewhere it is the raw
    input.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the first convolution and of the shortcut.

    >>> import torch
    >>> PreActBlock(4, 8, stride=2)(torch.zeros(1, 4, 6, 6)).shape
    torch.Size([1, 8, 3, 3])
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.shortcut = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, ⌈H/stride⌉, ⌈W/stride⌉)."""
        activated = F.relu(self.norm1(x), inplace=True)
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        out = self.conv1(activated)
        return self.conv2(F.relu(self.norm2(out), inplace=True)) + shortcut


class PreActResNet(nn.Module):
    """Pre-activation ResNet: 3×3 stem, stages of basic blocks, global average pool, linear layer.

    The stem is as wide as the first stage; every later stage starts with stride 2. Any input size works.

    Weights start as PyTorch's own defaults (convolutions and the linear layer uniform within ±1/√fan_in, BatchNorm
    1 and 0): the paper is silent, and the code of GJS, whose network and settings it takes, leaves the defaults.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        widths: channels of each stage.
        blocks: number of blocks of each stage.
        stem_stride: stride of the stem; 2 quarters the work of everything after it.
        final_norm: whether a BN → ReLU follows the last block. Without it (the layout that most CIFAR code has)
            the pool sees the raw sum of the last block.

    Raises:
        ValueError: where ``widths`` and ``blocks`` are empty or differ in length, or a stage has no block.

    >>> import torch
    >>> PreActResNet(num_classes=3, widths=(4, 8), blocks=(1, 2))(torch.zeros(2, 3, 9, 7)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        *,
        widths: Sequence[int],
        blocks: Sequence[int],
        stem_stride: int = 1,
        final_norm: bool = True,
    ) -> None:
        super().__init__()
        if len(widths) != len(blocks) or not blocks or min(blocks) < 1:
            raise ValueError(f"widths and blocks need one entry per stage, at least 1, not {widths} and {blocks}")
        self.stem = nn.Conv2d(in_channels, widths[0], 3, stride=stem_stride, padding=1, bias=False)
        self.stages = nn.Sequential()
        channels = widths[0]
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            strides = [1 if stage == 0 else 2] + [1] * (count - 1)
            inputs = [channels] + [width] * (count - 1)
            self.stages.append(nn.Sequential(*(PreActBlock(i, width, s) for i, s in zip(inputs, strides, strict=True))))
            channels = width
        self.norm = nn.BatchNorm2d(channels) if final_norm else None
        self.head = nn.Linear(channels, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the pooled features (B, widths[-1]) of images (B, C, H, W)."""
        out = self.stages(self.stem(x))
        if self.norm is not None:
            out = F.relu(self.norm(out), inplace=True)
        return out.mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, num_classes) of images (B, C, H, W)."""
        return self.head(self.features(x))
