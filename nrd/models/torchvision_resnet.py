"""ResNets from torchvision, from scratch, with a stem for small images on request."""

from torch import nn


def torchvision_resnet(name: str, num_classes: int, in_channels: int = 3, *, cifar_stem: bool = False) -> nn.Module:
    """Return an untrained torchvision ResNet, initialised as torchvision does.

    Args:
        name: torchvision's name, such as ``resnet50``.
        num_classes: number of logits.
        in_channels: channels of the images.
        cifar_stem: a 3×3 stride-1 stem without max pooling, as is usual at 32×32, in place of the 7×7 stride-2 stem
            with pooling made for 224×224.

    Raises:
        ImportError: without torchvision.
    """
    # Imported here because it takes seconds, and because a run of another network needs no torchvision.
    try:
        from torchvision import models
    except ModuleNotFoundError as error:
        raise ImportError(f"{name} needs torchvision: pip install 'nrd[workflow]'") from error

    model = models.get_model(name, weights=None, num_classes=num_classes)
    if cifar_stem:
        model.conv1 = nn.Conv2d(in_channels, model.conv1.out_channels, 3, padding=1, bias=False)
        model.maxpool = nn.Identity()
    elif in_channels != 3:
        model.conv1 = nn.Conv2d(in_channels, model.conv1.out_channels, 7, stride=2, padding=3, bias=False)
    if cifar_stem or in_channels != 3:
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    return model
