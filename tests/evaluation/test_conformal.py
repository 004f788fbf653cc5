"""Conformal sets, by hand and by the theorem that they rest on."""

import math

import numpy as np
import pytest

from ltlib.errors import InputError
from ltlib.evaluation.conformal import Thresholds, conformal_rows, coverage, fit, halves, scores, threshold


def test_scores_by_hand():
    p = np.array([[0.2, 0.5, 0.3]])
    np.testing.assert_allclose(scores(p), [[0.8, 0.5, 0.7]])
    np.testing.assert_allclose(scores(p, "adaptive"), [[1.0, 0.5, 0.8]])


@pytest.mark.parametrize(
    ("n", "alpha", "rank"), [(9, 0.1, 9), (19, 0.1, 18), (8, 0.1, None), (99, 0.05, 95), (1, 0.5, 1), (0, 0.1, None)]
)
def test_the_threshold_is_an_order_statistic(n, alpha, rank):
    values = np.random.default_rng(0).permutation(np.arange(1, n + 1)) / 100
    assert threshold(values, alpha) == (math.inf if rank is None else rank / 100)


@pytest.mark.parametrize("alpha", [0.1, 0.25, 0.4])
def test_a_new_image_is_covered_with_the_promised_probability(alpha):
    """Of n + 1 exchangeable scores each may be the new one: exactly ceil((n + 1)(1 - alpha)) of them are covered."""
    values = np.random.default_rng(1).random(24)
    covered = [values[i] <= threshold(np.delete(values, i), alpha) for i in range(24)]
    assert sum(covered) == math.ceil(24 * (1 - alpha) - 1e-9)


def long_tail(n_frequent=2000, n_rare=2000, seed=0):
    """Two classes of which the second is hard: its true probability is usually below one half."""
    random = np.random.default_rng(seed)
    y = np.repeat([0, 1], [n_frequent, n_rare])
    true = np.concatenate([random.beta(9, 1, n_frequent), random.beta(2, 3, n_rare)])
    p = np.where(y[:, None] == [0, 1], true[:, None], 1 - true[:, None])
    return p, y


@pytest.mark.parametrize("kind", ["probability", "adaptive"])
def test_thresholds_by_class_cover_the_tail_and_one_threshold_does_not(kind):
    p, y = long_tail(n_frequent=3600, n_rare=400)
    fitted, (test_p, test_y) = {}, long_tail(seed=1)
    for by_class in (False, True):
        fitted[by_class] = coverage(fit(p, y, 0.1, by_class=by_class, kind=kind).sets(test_p), test_y)
    assert (fitted[True].of_class > 0.86).all()
    if kind == "probability":  # the scores of the other kind repeat: the last class always has 1
        assert fitted[True].of_class == pytest.approx([0.9, 0.9], abs=0.04)
        assert fitted[False].of_class[1] < 0.6
        assert fitted[True].size_of_class[1] > fitted[False].size_of_class[1]


def test_too_few_images_of_a_class_put_it_into_every_set():
    p, y = long_tail(100, 5)
    found = fit(p, y, 0.1)
    assert math.isinf(found.of_class[1])
    assert not math.isinf(found.of_class[0])
    assert found.sets(p)[:, 1].all()


def test_coverage_by_hand():
    sets = np.array([[1, 0, 0], [0, 1, 1], [1, 1, 0], [0, 0, 0]], dtype=bool)
    found = coverage(sets, np.array([0, 0, 1, 1]))
    assert (found.overall, found.size) == (0.5, 1.25)
    assert found.of_class[:2].tolist() == [0.5, 0.5]
    assert found.size_of_class[:2].tolist() == [1.5, 1.0]
    assert np.isnan(found.of_class[2])


def test_rows_compare_both_on_the_other_half():
    p, y = long_tail(1800, 200)
    one, each = conformal_rows(p, y, 0.1)
    first, second = halves(y)
    found = coverage(fit(p[first], y[first], 0.1).sets(p[second]), y[second])
    assert (each["coverage"], each["worst class"]) == (found.overall, found.of_class.min())
    assert one["worst class"] < 0.7 < each["worst class"]


def test_halves_divide_every_class():
    y = np.repeat([0, 1, 2], [10, 7, 1])
    first, second = halves(y, seed=3)
    assert sorted([*first, *second]) == list(range(18))
    a, b = (np.bincount(y[half], minlength=3) for half in (first, second))
    assert (np.abs(a - b) <= 1).all()
    assert not np.array_equal(halves(y, seed=4)[0], first)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: threshold(np.ones(3), 0), "between 0 and 1"),
        (lambda: threshold(np.ones(3), np.nan), "between 0 and 1"),
        (lambda: scores(np.array([[0.5, 0.6]])), "no distribution"),
        (lambda: scores(np.array([[0.5, 0.5]]), "aps"), "kind 'aps' is not known"),
        (lambda: fit(np.array([[0.5, 0.5]]), np.array([2])), "Label 2 is no class"),
        (lambda: coverage(np.ones((2, 2), bool), np.array([0])), "one label for each of 2 images"),
        (lambda: Thresholds("probability", np.ones(2)).sets(np.array([[np.nan, 1]])), "NaN or infinite"),
    ],
)
def test_bad_input_gets_one_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()
