"""The exercise of lesson 00: a warm-up that shows how exercises work."""

from __future__ import annotations

import math

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
