"""The noise definitions, but for the instance-dependent one: small functions that say whose definition they follow.

Each takes the (N,) int64 true labels, the rate η, the number of classes K and a generator, and returns new (N,)
int64 labels. All draw from ``numpy.random.RandomState``, whose streams NumPy has frozen; integers are asked for
with a fixed width, never with the platform's own.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nrd.label_noise.cifar100 import next_in_superclass

Labels = NDArray[np.int64]

# CIFAR-10: truck → automobile, bird → airplane, deer → horse, cat ↔ dog (Patrini et al. 2017).
CIFAR10_FLIPS = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}


def count_of(rate: float, total: int) -> int:
    """Return ⌈η·n⌉, with η·n first freed of its float error.

    >>> math.ceil(0.07 * 100), count_of(0.07, 100)
    (8, 7)
    """
    return math.ceil(round(rate * total, 6))


def none(labels: Labels, rate: float, num_classes: int, rng: np.random.RandomState) -> Labels:
    """Return the labels as they are."""
    return labels.copy()


def symmetric(labels: Labels, rate: float, num_classes: int, rng: np.random.RandomState) -> Labels:
    """Give a random permutation's first ⌈ηN⌉ samples a label uniform over all K classes, the true one included.

    The definition of GJS (Englesson & Azizpour 2021), ELR and DivideMix, and the one that the NRD paper's Table 1
    fits. The actual rate is η(K−1)/K. Draws in the order of the GJS code (the permutation, then 32-bit labels), so
    that a seed gives the labels which that code, run on the whole training set, draws from it.
    """
    noisy = labels.copy()
    chosen = rng.permutation(len(labels))[: count_of(rate, len(labels))]
    noisy[chosen] = rng.randint(num_classes, size=len(chosen), dtype=np.int32)
    return noisy


def by_transition_matrix(labels: Labels, matrix: ArrayLike, rng: np.random.RandomState) -> Labels:
    """Draw each label independently from its true class's row of a (K, K) transition matrix.

    The way of Patrini et al. (2017) and Co-teaching (Han et al. 2018): one multinomial draw per sample, in the
    order of the samples, so that a seed gives the labels that their code draws from it. The actual rate therefore
    scatters around η.
    """
    rows = np.asarray(matrix, dtype=np.float64)
    return np.array([rng.multinomial(1, rows[label]).argmax() for label in labels], dtype=np.int64)


def _flip_matrix(successor: ArrayLike, rate: float) -> NDArray[np.float64]:
    """Return the matrix that sends class i to ``successor[i]`` with probability η."""
    target = np.asarray(successor)
    matrix = np.eye(len(target)) * (1 - rate)
    matrix[np.arange(len(target)), target] += rate
    return matrix


def symmetric_exclusive(labels: Labels, rate: float, num_classes: int, rng: np.random.RandomState) -> Labels:
    """Move each label with probability η to one of the K−1 other classes, never to its own.

    The symmetric noise of Co-teaching (Han et al. 2018), PES and SCE reproductions; the expected rate is η.
    """
    matrix = np.full((num_classes, num_classes), rate / (num_classes - 1))
    np.fill_diagonal(matrix, 1 - rate)
    return by_transition_matrix(labels, matrix, rng)


def pair(labels: Labels, rate: float, num_classes: int, rng: np.random.RandomState) -> Labels:
    """Move each label y with probability η to y+1 mod K: the pair flip of Co-teaching (Han et al. 2018)."""
    successor = (np.arange(num_classes) + 1) % num_classes
    return by_transition_matrix(labels, _flip_matrix(successor, rate), rng)


def asymmetric_cifar10_sequential(labels: Labels, rate: float, num_classes: int, rng: np.random.RandomState) -> Labels:
    """Visit classes 0…9, each flipping ⌈η·n⌉ of the n samples that carry its label *at that moment*.

    The definition of the GJS code and of ELR: cats turned dogs may be turned back, so that at η = 20 %
    about 800 of the 5000 cats but 1000 of the dogs end mislabeled. On CIFAR-10 the actual rate is 9.6 % at η = 20 %
    and 18.4 % at η = 40 %. Shuffles every class, flipping or not, as the GJS code does: a seed gives its labels.
    """
    noisy = labels.copy()
    for source in range(num_classes):
        members = np.flatnonzero(noisy == source)
        rng.shuffle(members)
        if source in CIFAR10_FLIPS:
            noisy[members[: count_of(rate, len(members))]] = CIFAR10_FLIPS[source]
    return noisy


def asymmetric_cifar10_independent(labels: Labels, rate: float, num_classes: int, rng: np.random.RandomState) -> Labels:
    """Flip exactly round(η·n) of the n *true* members of each of the five source classes.

    The NRD paper's text, read literally. The actual rate is η/2, since half the classes are sources.
    """
    noisy = labels.copy()
    for source, target in sorted(CIFAR10_FLIPS.items()):
        members = rng.permutation(np.flatnonzero(labels == source))
        noisy[members[: round(rate * len(members))]] = target
    return noisy


def asymmetric_cifar100_superclass(labels: Labels, rate: float, num_classes: int, rng: np.random.RandomState) -> Labels:
    """Move ⌈ηN⌉ samples of the whole set to the next fine class of their true superclass, cyclically.

    The definition of the NRD paper and the GJS code, in the order of the official superclass list; a seed gives
    the labels that the GJS code draws from it.
    """
    noisy = labels.copy()
    chosen = rng.permutation(len(labels))[: count_of(rate, len(labels))]
    noisy[chosen] = np.asarray(next_in_superclass())[labels[chosen]]
    return noisy


def asymmetric_cifar100_block5(labels: Labels, rate: float, num_classes: int, rng: np.random.RandomState) -> Labels:
    """Move each label with probability η to the next of its block of five consecutive fine ids, cyclically.

    The definition of ELR (Liu et al. 2020) and Active-Passive Losses (Ma et al. 2020), where the blocks of the
    alphabetical list stand for superclasses, which they are not.
    """
    ids = np.arange(num_classes)
    return by_transition_matrix(labels, _flip_matrix(ids // 5 * 5 + (ids + 1) % 5, rate), rng)
