"""Intervals over seeds, against SciPy's tests and a simulation."""

import numpy as np
import pytest
from scipy import stats

from ltlib.errors import InputError
from ltlib.evaluation.spread import interval, paired

ACCURACIES = [0.803, 0.756, 0.755, 0.79]


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_the_interval_is_that_of_scipys_t_test(n, level):
    values = ACCURACIES[:n]
    found = interval(values, level)
    expected = stats.ttest_1samp(values, 0).confidence_interval(level)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.mean, found.sd, found.n) == (pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)), n)


def test_three_values_by_hand():
    # mean 0.72, s = 0.02, t = 4.302653 with two degrees of freedom
    assert interval([0.70, 0.72, 0.74]).high == pytest.approx(0.72 + 4.302653 * 0.02 / 3**0.5)


def test_one_value_has_no_spread():
    assert interval([0.5]) == (0.5, None, None, None, 1)


def test_of_many_intervals_a_share_of_95_percent_holds_the_mean():
    draws = np.random.default_rng(0).normal(3, 2, (4000, 3))
    held = [found.low <= 3 <= found.high for found in map(interval, draws)]
    assert np.mean(held) == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / 4000) ** 0.5)


def test_pairs_are_scipys_paired_test():
    ours, theirs = [0.491, 0.467, 0.542], [0.475, 0.455, 0.518]
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    found = paired(ours, theirs)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(np.mean(ours) - np.mean(theirs))


@pytest.mark.parametrize(
    ("values", "holds"),
    [([0.5], None), ([-1, 0, 1], True), ([0, 0], True), ([1, 1.1, 1.2], False), ([-1, -1.1, -1.2], False)],
)
def test_whether_an_interval_holds_zero(values, holds):
    assert interval(values).holds_zero is holds


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interval([]), "at least one value"),
        (lambda: interval([0.5, 0.6], 95), "between 0 and 1, such as 0.95; got 95"),
        (lambda: paired([0.5], [0.5, 0.6]), "got 1 and 2"),
    ],
)
def test_bad_input_is_one_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()
