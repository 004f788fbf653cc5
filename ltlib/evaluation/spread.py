"""What several seeds say of a number: mean, standard deviation, and an interval for the mean they are drawn from.

The spread is that of training alone. The test images are the same for every seed, so how far the accuracy on other
images would lie is not in it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from scipy.stats import t as student_t

from ltlib.errors import InputError


class Interval(NamedTuple):
    """n numbers in five. With one number there is no spread: ``sd``, ``low`` and ``high`` are None."""

    mean: float
    sd: float | None  #: with n - 1 in the denominator
    low: float | None
    high: float | None
    n: int

    @property
    def holds_zero(self) -> bool | None:
        """Whether 0 is among the values that the interval allows; None with one number."""
        return None if self.low is None or self.high is None else self.low <= 0 <= self.high


def interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Student's interval for the mean of a normal distribution of which ``values`` are draws (Student 1908).

    mean ± t sd / sqrt(n), t the (1 + level) / 2 quantile with n - 1 degrees of freedom: of all such intervals a share
    of ``level`` holds the true mean, however few values there are.

    Args:
        values: at least one.
        level: between 0 and 1.

    Raises:
        InputError: there is no value, or the level is out of range.

    >>> [round(number, 3) for number in interval([0.70, 0.72, 0.74])[:4]]
    [0.72, 0.02, 0.67, 0.77]
    """
    if not len(values):
        raise InputError("An interval needs at least one value; got none.")
    if not 0 < level < 1:
        raise InputError(f"level must be between 0 and 1, such as 0.95; got {level!r}.")
    n, mean = len(values), statistics.fmean(values)
    if n == 1:
        return Interval(mean, None, None, None, 1)
    sd = statistics.stdev(values)
    half = student_t.ppf((1 + level) / 2, n - 1) * sd / math.sqrt(n)
    return Interval(mean, sd, float(mean - half), float(mean + half), n)


def paired(ours: Sequence[float], theirs: Sequence[float], level: float = 0.95) -> Interval:
    """The interval of the difference ours - theirs, taken seed by seed.

    What a seed does to both methods alike (its first weights, its order of images, a stage 1 that both start from)
    is in neither difference, so that the interval is narrower than that of two independent groups.

    Args:
        ours, theirs: one value a seed, the seeds in the same order.
        level: between 0 and 1.

    Raises:
        InputError: the lengths differ, there is no value, or the level is out of range.
    """
    if len(ours) != len(theirs):
        raise InputError(f"Pairs need as many values on both sides; got {len(ours)} and {len(theirs)}.")
    return interval([a - b for a, b in zip(ours, theirs, strict=True)], level)
