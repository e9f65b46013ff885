"""Instance-dependent noise against Xia et al. (2020), derived again here."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from nrd.label_noise import corrupt
from nrd.label_noise.instance import flip_rates, label_probabilities


def random_images(count, shape=(3, 4, 4), high=256, seed=0):
    return np.random.RandomState(seed).randint(high, size=(count, *shape)).astype(np.uint8)


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.2, 0.5, 0.95])
def test_rates_follow_the_truncated_normal(rate):
    rates = flip_rates(20_000, rate, np.random.RandomState(1))
    law = stats.truncnorm((0 - rate) / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1)
    assert rates.min() >= 0
    assert rates.max() <= 1
    assert stats.kstest(rates, law.cdf).pvalue > 0.01


def derive(images, labels, rates, classes, seed):
    """Algorithm 2, one sample at a time, from one draw of all projections."""
    projections = np.random.RandomState(seed).standard_normal((classes, images[0].size, classes))
    rows = []
    for image, label, rate in zip(images, labels, rates, strict=True):
        logits = [float(np.dot(image.ravel().astype(float), projections[label, :, k])) for k in range(classes)]
        logits[label] = -np.inf
        row = rate * special.softmax(logits)
        row[label] += 1 - rate
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("high", [2, 256])  # pixels 0 and 1 leave the softmax soft, 0…255 make it hard
@pytest.mark.parametrize("classes", [2, 7])
def test_probabilities_are_those_of_the_paper(high, classes):
    images, labels = random_images(60, high=high), np.arange(60) % classes
    rates = np.linspace(0, 1, 60)
    found = label_probabilities(images, labels, rates, classes, np.random.RandomState(5))
    np.testing.assert_allclose(found, derive(images, labels, rates, classes, 5), rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_allclose(found[np.arange(60), labels], 1 - rates)


def test_more_images_than_are_converted_at_a_time():
    images, labels = random_images(5000, shape=(1, 2, 2), high=2), np.zeros(5000, dtype=np.int64)
    rates = np.full(5000, 0.5)
    found = label_probabilities(images, labels, rates, 3, np.random.RandomState(5))
    rows = [0, 2047, 2048, 4999]
    np.testing.assert_allclose(found[rows], derive(images[rows], labels[rows], rates[rows], 3, 5))


def test_labels_are_drawn_with_these_probabilities():
    """Many copies of one soft image: the labels' shares are the mean rate times that image's softmax."""
    count, classes, rate, seed = 40_000, 4, 0.4, 2
    images = np.repeat(random_images(1, shape=(1, 2, 2), high=2), count, axis=0)
    labels = np.full(count, 1)
    given = corrupt(labels, "instance-dependent", rate, classes, seed, images=images).labels
    # The projections come after the rates, drawn from the same generator.
    rng = np.random.RandomState(seed)
    flip_rates(count, rate, rng)
    projection = rng.standard_normal((classes, 4, classes))[1]
    logits = images[0].ravel().astype(float) @ projection
    logits[1] = -np.inf
    expected = stats.truncnorm(-4, 6, loc=0.4, scale=0.1).mean() * special.softmax(logits)
    expected[1] = 1 - expected.sum()
    assert expected.min() > 0.005  # a soft example, or the test would say little
    assert stats.chisquare(np.bincount(given, minlength=classes), expected * count).pvalue > 0.001


def test_the_image_decides_which_class_it_is_mistaken_for():
    # 30 images of one class, each with a few white pixels on black, 100 copies of each.
    sparse = (np.random.RandomState(0).random_sample((30, 3, 4, 4)) < 0.1).astype(np.uint8) * 255
    images = np.repeat(sparse, 100, axis=0)
    labels = np.zeros(3000, dtype=np.int64)
    given = corrupt(labels, "instance-dependent", 0.5, 10, 1, images=images).labels.reshape(30, 100)
    wrong = [set(row[row != 0].tolist()) for row in given]
    assert all(len(classes) == 1 for classes in wrong)  # copies agree
    assert len(set.union(*wrong)) > 3  # images of one class do not


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (None, "needs the images"),
        (random_images(3).astype(np.float32), r"uint8 array of shape \(3, C, H, W\), not float32 of shape \(3, "),
        (random_images(2), r"expected 3 images as a uint8 array of shape .*, not uint8 of shape \(2, "),
        (np.zeros(3, np.uint8), r"\(3, C, H, W\), not uint8 of shape \(3,\)"),
        (list(random_images(3)), r"expected 3 images as a uint8 array of shape \(3, C, H, W\), not a list"),
        (torch.zeros(3, 1, 2, 2, dtype=torch.uint8), "uint8 array of shape .*, not a torch.Tensor"),
    ],
)
def test_errors(images, message):
    with pytest.raises((ValueError, TypeError), match=message):
        corrupt([0, 1, 2], "instance-dependent", 0.4, 3, 0, images=images)
