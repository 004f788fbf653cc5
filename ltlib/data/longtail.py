"""How a balanced data set becomes long-tailed, and how its classes are grouped for reporting.

Class 0 is the head, class K-1 the tail. This file knows labels and counts; it never touches an image.
"""

from __future__ import annotations

import hashlib

import numpy as np

from ltlib.errors import InputError, check_choice

KINDS = ("exponential", "step")
RULES = ("threshold", "papers")

# SHA-256 of the training indices that the field's recipe selects from CIFAR-10 (official order, seed 0,
# exponential): see `checksum`. Compare your own subset with these to know that you train on the same images.
CIFAR10_LT_SHA256 = {
    10: "a17d69f192b1cf6df09676b6c424e2ad5e7d7863ccc4b9ba70ef128885973218",
    20: "fed8b23a7a778a4094b8c5301522600105c4441811d1ef239ae7fc72c42f7fe5",
    50: "d7edcfaf02772bee1e2310a33be8b6c46232f043641158348b9de3ec731e26ac",
    100: "4bf45bff8878d2786e47dccd702f96ff33b2b11d8c7da3b5015f10937290f866",
    200: "a88004a1d13610934f4f0b642dab5e5df26f0d0ef20408bd092f25ab81103334",
}

# First class of "medium" and of "few" when classes are sorted by descending count: the fixed index ranges
# in the code of MiSLAS, the same for every imbalance factor. ResLT reports CIFAR-10 as 3/3/4 instead of 3/4/3.
PAPER_GROUPS = {10: (3, 7), 100: (36, 71), 365: (131, 288), 1000: (390, 835), 8142: (842, 4543)}


def class_counts(num_classes: int, n_max: int, imbalance_factor: float, kind: str = "exponential") -> np.ndarray:
    """Training images of each class, from head to tail.

    ``exponential``: n_i = int(n_max * mu^(i/(K-1))); ``step``: n_max for the first half of the classes and
    int(n_max * mu) for the rest; mu = 1/IF, truncated towards zero as in the code of LDAM-DRW
    (Cao et al. 2019), MiSLAS and ResLT.

    Args:
        num_classes: K, at least 2.
        n_max: images of the largest class, at least 1.
        imbalance_factor: IF = n_max / n_min, at least 1.
        kind: ``"exponential"`` or ``"step"``.

    Returns:
        int64 array of shape (K,).

    Raises:
        InputError: an argument is out of range, or the smallest class would be empty.

    >>> class_counts(10, 5000, 100).tolist()
    [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    """
    check_choice("imbalance type", kind, KINDS)
    if num_classes < 2:
        raise InputError(f"A long tail needs at least 2 classes; got num_classes={num_classes}.")
    if n_max < 1:
        raise InputError(f"The largest class needs at least 1 image; got n_max={n_max}.")
    if not imbalance_factor >= 1:
        raise InputError(f"imbalance_factor is n_max / n_min and must be at least 1; got {imbalance_factor}.")
    if imbalance_factor > n_max:
        raise InputError(
            f"imbalance_factor {imbalance_factor:g} would leave the smallest class empty: the largest class has "
            f"{n_max} images, so at most {n_max} is possible; lower it or raise n_max."
        )
    mu = 1.0 / imbalance_factor
    if kind == "exponential":
        # n_i = n_max * mu^(i/(K-1)), i = 0..K-1
        counts = [int(n_max * mu ** (i / (num_classes - 1))) for i in range(num_classes)]
    else:
        counts = [n_max if i < num_classes // 2 else int(n_max * mu) for i in range(num_classes)]
    # At IF = n_max rounding may put 0.999... where the formula says 1.
    return np.maximum(np.array(counts, dtype=np.int64), 1)


def largest_n_max(available: np.ndarray, imbalance_factor: float, kind: str = "exponential") -> int:
    """The largest ``n_max`` for which every class still has the images that :func:`class_counts` asks for.

    For a balanced data set this is simply the images of a class.

    Raises:
        InputError: no ``n_max`` leaves every class at least one image.
    """
    # What fits is monotone in n_max, so bisect between "always too small to fail" and the largest class.
    fits, too_many = int(np.ceil(imbalance_factor)) - 1, int(available.max()) + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if (class_counts(len(available), middle, imbalance_factor, kind) <= available).all():
            fits = middle
        else:
            too_many = middle
    if fits < imbalance_factor:
        raise InputError(
            f"imbalance_factor {imbalance_factor:g} is larger than these data allow (the classes hold "
            f"{available.min()} to {available.max()} images): lower it, or use imbalance_type='natural'."
        )
    return fits


def longtail_indices(labels: np.ndarray, counts: np.ndarray, seed: int = 0) -> np.ndarray:
    """Select ``counts[c]`` images of each class c: exactly the recipe of the field's CIFAR-LT code.

    One legacy NumPy ``RandomState(seed)`` serves the whole pass; for each class in label order the ascending
    list of its positions is shuffled and the first n_c are kept (``imbalance_cifar.py`` of LDAM-DRW, used
    unchanged by MiSLAS and ResLT with seed 0).

    Args:
        labels: shape (N,), integers 0..K-1.
        counts: shape (K,), images wanted of each class.
        seed: of the random state; 0 is what all published results use.

    Returns:
        int64 indices of shape (sum(counts),), class after class.

    Raises:
        InputError: a class has fewer images than wanted.
    """
    labels, counts = np.asarray(labels), np.asarray(counts)
    random = np.random.RandomState(seed)
    chosen = []
    for c, n in enumerate(counts):
        positions = np.flatnonzero(labels == c)
        if len(positions) < n:
            raise InputError(
                f"Class {c} has {len(positions)} images but {n} are wanted: lower n_max or imbalance_factor, "
                f"or keep the data as they are with imbalance_type='natural'."
            )
        random.shuffle(positions)
        chosen.append(positions[:n])
    return np.concatenate(chosen).astype(np.int64)


def checksum(indices: np.ndarray) -> str:
    """SHA-256 (hex) of a list of indices, written as little-endian 64-bit integers in their order."""
    return hashlib.sha256(np.asarray(indices).astype("<i8").tobytes()).hexdigest()


def holdout(labels: np.ndarray, fraction: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Split positions into (train, validation), taking ``fraction`` of each class for validation.

    A class keeps at least one training image, so the rarest classes might have no validation image at all.

    Raises:
        InputError: no class has one.
    """
    random = np.random.RandomState(seed)
    train, validation = [], []
    for c in range(int(labels.max()) + 1):
        positions = random.permutation(np.flatnonzero(labels == c))
        n = min(round(fraction * len(positions)), max(len(positions) - 1, 0))
        validation.append(positions[:n])
        train.append(positions[n:])
    if not sum(map(len, validation)):
        largest = int(np.bincount(labels).max())
        raise InputError(
            f"validation={fraction:g} holds out no image: the largest class has {largest} training images; raise "
            f"validation (up to 0.5), or leave it at 0."
        )
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(validation))


def default_rule(num_classes: int) -> str:
    """The group rule of tables and figures where none is named: ``papers`` where it is defined for this number of
    classes, otherwise ``threshold``."""
    return "papers" if num_classes in PAPER_GROUPS else "threshold"


def shot_groups(counts: np.ndarray, rule: str = "threshold") -> dict[str, np.ndarray]:
    """Class indices of the groups many, medium and few under one of the field's two conventions.

    ``threshold`` (Liu et al. 2019): many > 100 training images, medium 20 to 100, few < 20.
    ``papers`` (code of MiSLAS): fixed index ranges after sorting classes by descending count, the same for
    every imbalance factor: 3/4/3 of 10 classes, 36/35/29 of 100, 390/445/165 of 1000 (ImageNet-LT),
    131/157/77 of 365 (Places-LT), 842/3701/3599 of 8142 (iNaturalist 2018).

    The two disagree, so a table must always name its rule. A group may be empty.

    Raises:
        InputError: the rule is unknown, or ``papers`` does not define this number of classes.
    """
    check_choice("group rule", rule, RULES)
    counts = np.asarray(counts)
    if rule == "threshold":
        masks = {"many": counts > 100, "medium": (counts >= 20) & (counts <= 100), "few": counts < 20}
        return {name: np.flatnonzero(mask) for name, mask in masks.items()}
    if len(counts) not in PAPER_GROUPS:
        raise InputError(
            f"The papers define many/medium/few for {', '.join(map(str, PAPER_GROUPS))} classes, "
            f"not for {len(counts)}: use rule='threshold'."
        )
    by_count = np.argsort(-counts, kind="stable")
    medium, few = PAPER_GROUPS[len(counts)]
    return {"many": by_count[:medium], "medium": by_count[medium:few], "few": by_count[few:]}
