"""A run's data as tensors on its device: images stay uint8 until a view turns them into floats."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nrd.data.arrays import Arrays, stratified_indices
from nrd.data.labels import Labels
from nrd.data.sources import SPLIT_SEED
from nrd.layout import Layout
from nrd.spec import RunSpec, SpecError


@dataclass(frozen=True)
class Part:
    """Images ``(N, C, H, W)`` uint8, true and given labels ``(N,)`` int64, on one device."""

    images: Tensor
    true: Tensor
    given: Tensor

    def __len__(self) -> int:
        return len(self.true)


@dataclass(frozen=True)
class DeviceData:
    """Training part, held-out noisy validation part (may be empty) and clean test part."""

    train: Part
    validation: Part
    test: Part


def to_device(spec: RunSpec, arrays: Arrays, labels: Labels, device: torch.device) -> DeviceData:
    """Split the training images as the spec says and move everything to the device.

    The validation part is stratified by true class and the same for every seed and noise; its given labels are noisy.

    Raises:
        SpecError: labels and images are not about the same samples, or fewer samples are left than one batch.
    """
    if not (arrays.train_labels.shape == labels.true.shape and (arrays.train_labels == labels.true).all()):
        path = Layout().labels(spec.labels_name)
        raise SpecError(
            f"{path}: its true labels are not those of dataset {spec.dataset.name}; delete it and run `nrd labels`"
        )
    wanted = (spec.dataset.channels, spec.dataset.image_size, spec.dataset.image_size)
    for images in (arrays.train_images, arrays.test_images):
        if images.shape[1:] != wanted:
            file = f"params/datasets/{spec.dataset.name}.yaml"
            raise SpecError(f"{file}: channels, image_size: the images have {images.shape[1:]}, expected {wanted}")
    size = len(labels.true)
    held_out = torch.zeros(size, dtype=torch.bool)
    held_out[stratified_indices(arrays.train_labels, round(spec.validation * size), SPLIT_SEED)] = True
    if (left := int((~held_out).sum())) < spec.optimization.batch_size:
        raise SpecError(
            f"{spec.name}: batch_size {spec.optimization.batch_size} is more than the {left} training samples"
        )
    images, true, given = (torch.from_numpy(a) for a in (arrays.train_images, labels.true, labels.given))

    def part(mask: Tensor) -> Part:
        return Part(*(tensor[mask].to(device) for tensor in (images, true, given)))

    test_labels = torch.from_numpy(arrays.test_labels).to(device)
    test = Part(torch.from_numpy(arrays.test_images).to(device), test_labels, test_labels)
    return DeviceData(part(~held_out), part(held_out), test)
