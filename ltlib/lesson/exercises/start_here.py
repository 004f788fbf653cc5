"""The exercise of lesson 00: a warm-up that shows how exercises work."""

from __future__ import annotations

import math

import numpy as np

from ltlib.lesson.exercises.exercise import WrongAnswer, exercise


def _verify_factor_from_counts(answer) -> None:
    value = answer([500, 107, 5])
    if math.isclose(value, 5 / 500):
        raise WrongAnswer("For counts [500, 107, 5] you return 0.01, which is n_min / n_max: turn the fraction over.")
    if not math.isclose(value, 100):
        raise WrongAnswer(f"For counts [500, 107, 5] the factor is 500 / 5 = 100; you return {value}.")
    value = answer([8, 30, 3])
    if not math.isclose(value, 10):
        raise WrongAnswer(
            f"For counts [8, 30, 3], which are not sorted, the factor is 30 / 3 = 10; you return {value}. "
            f"Look for the largest and the smallest count, not for the first and the last."
        )


@exercise(_verify_factor_from_counts)
def factor_from_counts(counts):
    """IF = n_max / n_min of a list of class counts, in any order."""
    return max(counts) / min(counts)


def _verify_tail_accuracy(answer) -> None:
    labels = np.array([0, 0, 0, 0, 8, 8, 9, 9])
    predicted = np.array([0, 0, 0, 9, 0, 0, 0, 9])
    given = float(answer(predicted, labels, [8, 9]))
    if math.isclose(given, 0.25):
        return
    why = ""
    if math.isclose(given, 0.5):
        why = "You look at the images that are predicted as 8 or 9. Accuracy is about the images that are."
    raise WrongAnswer(
        f"assert tail_accuracy(...) == 0.25 fails: of the four images of classes 8 and 9 one is right, and you return "
        f"{given:g}. {why}"
    )


def _faulty_tail_accuracy(predicted, labels, tail):
    """Accuracy on the images of the classes in tail; predicted (N,), labels (N,). It has one bug: find it."""
    chosen = np.isin(predicted, tail)
    return np.mean(predicted[chosen] == labels[chosen])


@exercise(_verify_tail_accuracy, _faulty_tail_accuracy)
def tail_accuracy(predicted, labels, tail):
    """Accuracy on the images of the classes in tail; predicted (N,), labels (N,)."""
    chosen = np.isin(labels, tail)
    return np.mean(predicted[chosen] == labels[chosen])
