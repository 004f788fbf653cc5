"""The exercises of lesson 08 on evidence."""

from __future__ import annotations

import math

import numpy as np

from ltlib.lesson.exercises.exercise import WrongAnswer, exercise

Number = float | np.floating
T = 4.303  # the 97.5 % quantile of Student's t with two degrees of freedom


def _verify_interval_of_mean(answer) -> None:
    values = [0.70, 0.72, 0.77]
    given = _two_numbers(answer(values, T))
    mean, sd = np.mean(values), np.std(values, ddof=1)
    right = _around(mean, T * sd / np.sqrt(3))
    if np.allclose(given, right):
        longer = [*values, 0.75]
        if not np.allclose(_two_numbers(answer(longer, 3.182)), _of_mean(longer, 3.182)):
            raise WrongAnswer("For three values it is right, for four it is not: n is the number of values.")
        return
    for wrong, hint in (
        (_around(mean, T * sd), "This is the range of single seeds. The mean of n is known better: divide by sqrt(n)."),
        (_around(mean, sd), "Mean ± standard deviation is no interval for the mean: it needs t and sqrt(n)."),
        (_around(mean, sd / np.sqrt(3)), "The quantile t is missing."),
        (_around(mean, T * np.std(values) / np.sqrt(3)), "The deviations are from the mean of the same values: n - 1."),
        (_around(mean, T * sd / 3), "Divide by sqrt(n), not by n."),
        (_around(mean, T * sd / np.sqrt(2)), "n - 1 belongs into the standard deviation; outside it is sqrt(n)."),
    ):
        if np.allclose(given, wrong):
            raise WrongAnswer(f"{_told(right, given)} {hint}")
    raise WrongAnswer(_told(right, given))


@exercise(_verify_interval_of_mean)
def interval_of_mean(values, t):
    """Student's interval (low, high) for the mean: mean ± t s / sqrt(n), s with n - 1 in its denominator.

    values are one number per seed; t is the quantile for n - 1 degrees of freedom.
    """
    half = t * np.std(values, ddof=1) / np.sqrt(len(values))
    return np.mean(values) - half, np.mean(values) + half


def _verify_interval_of_gain(answer) -> None:
    ours, theirs = [0.75, 0.71, 0.79], [0.73, 0.66, 0.75]
    given = _two_numbers(answer(ours, theirs, T))
    right = _of_mean(np.subtract(ours, theirs), T)
    if np.allclose(given, right):
        return
    gain = np.mean(ours) - np.mean(theirs)
    apart = np.sqrt((np.var(ours, ddof=1) + np.var(theirs, ddof=1)) / 3)
    own, other = _of_mean(ours, T), _of_mean(theirs, T)
    for wrong, hint in (
        ((-right[1], -right[0]), "A gain is ours - theirs: turn the sign."),
        (_around(gain, T * apart), "Here both methods share their seeds: take the difference of each seed first."),
        ((own[0] - other[0], own[1] - other[1]), "Bounds of two intervals do not subtract: first take differences."),
        ((own[0] - other[1], own[1] - other[0]), "Bounds of two intervals are too far apart: first take differences."),
    ):
        if np.allclose(given, wrong):
            raise WrongAnswer(f"{_told(right, given)} {hint}")
    raise WrongAnswer(_told(right, given))


@exercise(_verify_interval_of_gain)
def interval_of_gain(ours, theirs, t):
    """The interval (low, high) for the mean gain of ours over theirs, one value per seed and the same seeds in both."""
    gains = np.subtract(ours, theirs)
    half = t * np.std(gains, ddof=1) / np.sqrt(len(gains))
    return np.mean(gains) - half, np.mean(gains) + half


HISTORY = [
    {"epoch": 1, "test_accuracy": 0.60, "validation_accuracy": 0.71},
    {"epoch": 2, "test_accuracy": 0.66, "validation_accuracy": 0.70},
    {"epoch": 3, "test_accuracy": 0.62, "validation_accuracy": 0.74},
]


def _verify_honest_accuracy(answer) -> None:
    given = float(answer(HISTORY))
    if math.isclose(given, 0.62):
        return
    why = ""
    if math.isclose(given, 0.66):
        why = "That is epoch 2. Which images have chosen it?"
    if math.isclose(given, 0.74):
        why = "That is the right epoch, but this accuracy was measured on the images that chose it."
    raise WrongAnswer(
        f"assert honest_accuracy(history) == 0.62 fails: on held-out images epoch 3 is the best, and you return "
        f"{given:g}. {why}"
    )


def _faulty_honest_accuracy(history):
    """The test accuracy of the epoch that was chosen on held-out images. It has one bug: find it.

    history: one dictionary per epoch with test_accuracy and validation_accuracy.
    """
    chosen = max(history, key=lambda line: line["test_accuracy"])
    return chosen["test_accuracy"]


@exercise(_verify_honest_accuracy, _faulty_honest_accuracy)
def honest_accuracy(history):
    """The test accuracy of the epoch that was chosen on held-out images.

    history: one dictionary per epoch with test_accuracy and validation_accuracy.
    """
    chosen = max(history, key=lambda line: line["validation_accuracy"])
    return chosen["test_accuracy"]


def _two_numbers(given) -> np.ndarray:
    given = np.asarray(given, dtype=float)
    if given.shape != (2,):
        raise WrongAnswer(f"Return two numbers, low and high; yours have the shape {given.shape}.")
    return given


def _around(mean: Number, half: Number) -> tuple[float, float]:
    return float(mean - half), float(mean + half)


def _of_mean(values, t: float) -> tuple[float, float]:
    return _around(np.mean(values), t * np.std(values, ddof=1) / np.sqrt(len(values)))


def _told(right, given) -> str:
    return f"The example gives {right[0]:.3f} to {right[1]:.3f}; you return {given[0]:.3f} to {given[1]:.3f}."
