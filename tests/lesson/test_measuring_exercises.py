"""Exercises of lesson 02: typical wrong answers get the intended hint, other right ways pass."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ltlib.evaluation.calibration import equal_mass_bins, nll, probabilities
from ltlib.lesson.exercises import EXERCISES, WrongAnswer, check
from ltlib.methods.baselines import BalancedSoftmax


def gaps(confidence, correct, order, bins):
    parts = np.array_split(order, bins)
    return np.array([len(i) / len(order) * (correct[i].mean() - confidence[i].mean()) for i in parts])


def equally_wide(confidence, correct, bins):
    which = np.ceil(confidence * bins).astype(int) - 1
    return sum(abs((correct - confidence)[which == b].sum()) for b in range(bins)) / len(confidence)


def choose(logits, labels, candidates, score):
    return min(candidates, key=lambda t: score(logits / t, labels))


def naive_nll(z, y):
    e = np.exp(z)
    return -np.log(e[np.arange(len(y)), y] / e.sum(axis=1)).mean()


def naive_balanced(z, y, n):
    e = n * np.exp(z)
    return -np.log(e[np.arange(len(y)), y] / e.sum(axis=1)).mean()


WRONG = {
    "adaptive_ece": [
        (lambda c, ok, b: np.abs(gaps(c, ok, np.arange(len(c)), b)).sum(), "sort them first"),
        (lambda c, ok, b: b * np.abs(gaps(c, ok, np.argsort(c), b)).sum(), "share of the images"),
        (lambda c, ok, b: gaps(c, ok, np.argsort(c), b).sum(), "absolute value"),
        (equally_wide, "equally wide"),
        (lambda c, ok, b: np.abs(gaps(c, ok, np.argsort(c), b)).max(), r"bins hold .5 .6 .7 and"),
        (
            lambda c, ok, b: np.mean([abs((ok - c)[i].mean()) for i in np.array_split(np.argsort(c), b)]),
            "its gap counts 3/5",
        ),
    ],
    "best_temperature": [
        (lambda z, y, ts: choose(z, y, ts, lambda z, y: -nll(z, y)), "look for the smallest"),
        (lambda z, y, ts: 1 / choose(z, y, [1 / t for t in ts], lambda z, y: nll(z, y)), "best factor|softmax"),
        (lambda z, y, ts: min(ts, key=lambda t: nll(z * t, y)), "temperature divides"),
        (lambda z, y, ts: 1.5, "Average -log p_y"),
        (lambda z, y, ts: 3.0, "one of the candidates"),
        (lambda z, y, ts: choose(z, y, ts, naive_nll), "exp overflows"),
    ],
    "balanced_softmax_loss": [
        (lambda z, y, n: nll(z, y), "plain cross-entropy"),
        (lambda z, y, n: nll(z - np.log(n), y), "they multiply"),
        (lambda z, y, n: nll(z + n, y), "add the counts to the logits"),
        (lambda z, y, n: len(y) * nll(z + np.log(n), y), "return the mean"),
        (lambda z, y, n: np.zeros(len(y)), "one number"),
        (lambda z, y, n: 7.0, "The loss of the example"),
        (naive_balanced, "exp overflows"),
    ],
}


@pytest.mark.parametrize(("name", "answer", "hint"), [(n, a, h) for n in WRONG for a, h in WRONG[n]])
def test_wrong_answers_get_their_hint(name, answer, hint):
    with pytest.raises(WrongAnswer, match=hint):
        EXERCISES[name](answer)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("adaptive_ece", lambda c, ok, b: equal_mass_bins(c, ok, b).expected_error()),
        ("best_temperature", lambda z, y, ts: choose(z, y, ts, nll)),
        (
            "balanced_softmax_loss",
            lambda z, y, n: F.cross_entropy(torch.tensor(z + np.log(n)), torch.tensor(y)).item(),
        ),
    ],
)
def test_other_right_ways_pass(name, answer, capsys):
    EXERCISES[name](answer)
    assert capsys.readouterr().out == f"{name}: correct.\n"


def test_the_solutions_agree_with_the_package():
    random = np.random.default_rng(0)
    z, y, n = random.normal(size=(60, 4)), random.integers(0, 4, 60), np.array([50, 20, 7, 2])
    p = probabilities(z)
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == y
    mine = EXERCISES["adaptive_ece"].solution(confidence, correct, 15)
    assert mine == pytest.approx(equal_mass_bins(confidence, correct, 15).expected_error())
    method = BalancedSoftmax(torch.nn.Identity(), torch.tensor(n))
    theirs = method.loss(_Batch(torch.tensor(z), torch.tensor(y))).item()
    assert EXERCISES["balanced_softmax_loss"].solution(z, y, n) == pytest.approx(theirs, rel=1e-5)


class _Batch:
    def __init__(self, x, y):
        self.x, self.y = x, y


def test_the_checkers_are_those_of_the_lesson():
    assert all(vars(check)[name] is EXERCISES[name] for name in WRONG)
