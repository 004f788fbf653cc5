"""Conformal sets: for each image a set of classes that holds the true one with a chosen probability, for any model.

Split conformal prediction needs images that were not trained on, and no assumption but that they and the test images
are exchangeable (Vovk et al. 2005; Angelopoulos and Bates 2021, arXiv 2107.07511). One threshold for all images covers
the average image, and on a long tail the average hides that rare classes are covered less. A threshold for each class
(class-conditional, or Mondrian, conformal prediction) covers every class, with larger sets where images are few.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ltlib.errors import InputError, check_choice
from ltlib.evaluation.valid import check_labels, check_probabilities

SCORES = ("probability", "adaptive")


def scores(p: np.ndarray, kind: str = "probability") -> np.ndarray:
    """How strange each class would be for each image, (N, K): small for the class that is expected.

    Args:
        p: probabilities (N, K).
        kind: ``probability``, 1 - p_k (Sadinle et al. 2019), which gives the smallest sets; or ``adaptive``, the sum of
            the probabilities down to class k (Romano et al. 2020, without randomisation), whose sets grow where the
            model is unsure.

    Raises:
        InputError: a row is no distribution, or the kind is not known.
    """
    check_choice("kind", kind, SCORES)
    check_probabilities(p)
    if kind == "probability":
        return 1 - p
    order = np.argsort(-p, axis=1, kind="stable")
    found = np.empty_like(p, dtype=np.float64)
    np.put_along_axis(found, order, np.take_along_axis(p, order, axis=1).cumsum(axis=1), axis=1)
    return found


def threshold(true_scores: np.ndarray, alpha: float) -> float:
    """The score up to which classes enter a set, from the scores (n,) of the true classes of held-out images.

    The ceil((n + 1)(1 - alpha))-th smallest of them: a new image's true class is in its set with a probability of at
    least 1 - alpha, and of at most 1 - alpha + 1 / (n + 1) where scores do not repeat. Infinite, and every class in
    every set, if n is below 1 / alpha - 1: then so few images promise nothing less.

    Raises:
        InputError: alpha is not between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise InputError(
            f"alpha must be between 0 and 1, such as 0.1 for sets that miss one image in ten; got {alpha}."
        )
    rank = math.ceil((len(true_scores) + 1) * (1 - alpha) - 1e-9)
    return float(np.sort(true_scores)[rank - 1]) if rank <= len(true_scores) else math.inf


class Thresholds(NamedTuple):
    """What the sets are made with.

    Attributes:
        kind: of the scores.
        of_class: (K,), the same number for every class if there is one threshold.
    """

    kind: str
    of_class: np.ndarray

    def sets(self, p: np.ndarray) -> np.ndarray:
        """The sets of images with probabilities p (N, K): (N, K) bool, class k in the set of image i."""
        return scores(p, self.kind) <= self.of_class


def fit(
    p: np.ndarray, y: np.ndarray, alpha: float = 0.1, *, by_class: bool = True, kind: str = "probability"
) -> Thresholds:
    """Thresholds from held-out images.

    Args:
        p, y: probabilities (N, K) and true classes (N,) of images that were neither trained nor chosen on.
        alpha: share of the images whose set may miss the true class.
        by_class: one threshold for each class, which covers each of them; or one for all.
        kind: see :func:`scores`.

    Raises:
        InputError: a value is not allowed.
    """
    check_probabilities(p, y)
    true = scores(p, kind)[np.arange(len(y)), y]
    if by_class:
        return Thresholds(kind, np.array([threshold(true[y == c], alpha) for c in range(p.shape[1])]))
    return Thresholds(kind, np.full(p.shape[1], threshold(true, alpha)))


class Coverage(NamedTuple):
    """What sets do on test images; the arrays are (K,), NaN for a class without test images."""

    overall: float  #: share of the images whose set holds the true class
    of_class: np.ndarray  #: the same for the images of each class
    size: float  #: mean number of classes in a set
    size_of_class: np.ndarray  #: the same for the images of each class


def coverage(sets: np.ndarray, y: np.ndarray) -> Coverage:
    """Coverage and size of the sets (N, K) of images of the classes y (N,).

    Raises:
        InputError: a label is no class, or there are not as many labels as sets.
    """
    images, classes = sets.shape
    check_labels(y, images, classes)
    hit, size = sets[np.arange(images), y], sets.sum(axis=1)
    total = np.bincount(y, minlength=classes)

    def by_class(values: np.ndarray) -> np.ndarray:
        sums = np.bincount(y, weights=values, minlength=classes)
        return np.divide(sums, total, out=np.full(classes, np.nan), where=total > 0)

    return Coverage(float(hit.mean()), by_class(hit), float(size.mean()), by_class(size))


def conformal_rows(p: np.ndarray, y: np.ndarray, alpha: float = 0.1, seed: int = 0) -> list[dict[str, object]]:
    """One threshold against one for each class, fitted on half of a test set and measured on the other.

    Args:
        p, y: probabilities (N, K) and true classes (N,) of the test set.
        alpha: share of the images whose set may miss the true class.
        seed: of the halves.

    Returns:
        A row for each, ready for a table: ``coverage``, ``worst class``, the smallest coverage of a class, and
        ``size``, classes in a set.

    Raises:
        InputError: a value is not allowed.
    """
    check_probabilities(p, y)
    first, second = halves(y, seed)
    rows = []
    for name, by_class in (("one threshold", False), ("one for each class", True)):
        found = coverage(fit(p[first], y[first], alpha, by_class=by_class).sets(p[second]), y[second])
        worst = float(np.nanmin(found.of_class))
        rows.append({"sets": name, "coverage": found.overall, "worst class": worst, "size": found.size})
    return rows


def halves(y: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Indices of two random halves of a test set, each class divided equally: one to fit on, one to measure on."""
    random = np.random.default_rng(seed)
    first, second = [], []
    for c in np.unique(y):
        members = random.permutation(np.flatnonzero(y == c))
        middle = (len(members) + int(random.integers(2))) // 2  # the odd image goes to either half
        first.append(members[:middle])
        second.append(members[middle:])
    return np.sort(np.concatenate(first)), np.sort(np.concatenate(second))
