"""Networks for noisy-label experiments, by name.

>>> import torch
>>> model = create_model("preact_resnet_tiny", num_classes=10, in_channels=1)
>>> model(torch.zeros(2, 1, 8, 8)).shape
torch.Size([2, 10])
"""

from nrd.models.counting import count_macs, count_parameters
from nrd.models.preact_resnet import PreActBlock, PreActResNet
from nrd.models.registry import MODELS, create_model

__all__ = ["MODELS", "PreActBlock", "PreActResNet", "count_macs", "count_parameters", "create_model"]
