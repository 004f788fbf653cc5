"""Temperature scaling against a fine grid, a case with a known answer, and what it must leave alone."""

import numpy as np
import pytest

from ltlib.errors import InputError
from ltlib.evaluation.calibration import ece, nll, probabilities
from ltlib.evaluation.temperature import RANGE, fit_temperature


def drawn_case(n=4000, classes=5, true_temperature=1.0, seed=0):
    """Labels drawn from softmax(z / true_temperature), so that the best temperature is known up to noise."""
    random = np.random.default_rng(seed)
    logits = (2 * random.normal(size=(n, classes))).astype(np.float32)
    cumulative = probabilities(logits / true_temperature).cumsum(axis=1)
    labels = (random.random((n, 1)) > cumulative[:, :-1]).sum(axis=1)
    return logits, labels


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_finds_the_temperature_that_made_the_labels(true_temperature):
    logits, labels = drawn_case(20_000, true_temperature=true_temperature)
    assert fit_temperature(logits, labels) == pytest.approx(true_temperature, rel=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_a_fine_grid(seed):
    logits, labels = drawn_case(300, true_temperature=2.0, seed=seed)
    grid = np.geomspace(0.5, 8, 4001)
    best = grid[np.argmin([nll(logits / t, labels) for t in grid])]
    assert fit_temperature(logits, labels) == pytest.approx(best, rel=1e-3)


def test_whole_weights_count_as_copies():
    logits, labels = drawn_case(60, seed=1)
    weights = np.arange(60) % 4
    copies = fit_temperature(logits.repeat(weights, axis=0), labels.repeat(weights))
    assert fit_temperature(logits, labels, weights) == pytest.approx(copies, rel=1e-6)
    assert copies != pytest.approx(fit_temperature(logits, labels), rel=1e-3)


def test_predictions_stay_and_errors_shrink():
    logits, labels = drawn_case(true_temperature=3.0)
    scaled = logits / fit_temperature(logits, labels)
    assert (scaled.argmax(axis=1) == logits.argmax(axis=1)).all()
    assert nll(scaled, labels) < nll(logits, labels)
    assert ece(probabilities(scaled), labels) < 0.2 * ece(probabilities(logits), labels)


def test_does_not_depend_on_shifts_and_scales_with_the_logits():
    logits, labels = drawn_case(500, true_temperature=2.0)
    logits = logits.astype(np.float64)
    fitted = fit_temperature(logits, labels)
    assert fit_temperature(logits + 7, labels) == pytest.approx(fitted, rel=1e-6)
    assert fit_temperature(3 * logits, labels) == pytest.approx(3 * fitted, rel=1e-6)


def test_ends_of_the_range():
    logits = np.array([[2.0, 0.0], [0.0, 1.0]])
    assert fit_temperature(logits, np.array([0, 1])) == pytest.approx(RANGE[0])  # always right
    assert fit_temperature(logits, np.array([1, 0])) == pytest.approx(RANGE[1])  # always wrong


@pytest.mark.parametrize(
    ("n", "labels", "weights", "message"),
    [
        (0, [], None, "at least one held-out image"),
        (2, [0], None, "2 rows of logits, 1 labels"),
        (2, [0, 1], [1.0], r"weights of shape \(1,\)"),
        (2, [0, 1], [0.0, 0.0], "not all 0"),
        (2, [0, 1], [2.0, -1.0], "not negative"),
        (2, [0, 1], [1.0, np.nan], "finite"),
    ],
)
def test_refuses(n, labels, weights, message):
    with pytest.raises(InputError, match=message):
        fit_temperature(np.zeros((n, 3)), np.array(labels, dtype=int), weights)
