"""Lesson 02: typical wrong answers get the intended hint, other right ways pass, figures show their numbers."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import t

from ltlib.data.excerpt import excerpt
from ltlib.evaluation.calibration import equal_mass_bins, nll, probabilities
from ltlib.evaluation.spread import paired
from ltlib.lesson import figures, photographs
from ltlib.lesson.exercises import EXERCISES, WrongAnswer, check
from ltlib.methods.baselines import BalancedSoftmax
from ltlib.results import records, trajectories
from ltlib.results.table import table

PNG = b"\x89PNG"


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
    assert all(vars(check)[name] == EXERCISES[name].tell for name in WRONG)


def heights(axes):
    return [float(y) for line in axes.lines for y in line.get_ydata()]


def test_spread_shows_every_run_and_the_mean():
    results = {"one": {"all": [0.2, 0.4], "few": [0.0, 0.1]}, "two": {"all": [0.5], "few": [0.9]}}
    picture = figures.spread(results, "accuracy", "A title")
    (axes,) = picture.figure.axes
    assert sorted(heights(axes)) == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.5, 0.9])
    assert [text.get_text() for text in axes.texts] == ["30%", "5%", "50%", "90%"]
    assert "one: all 30.0%, few 5.0%; two: all 50.0%, few 90.0%" in picture.text
    assert picture.png().startswith(PNG)


def test_spread_needs_no_legend_for_one_method():
    one, two = ({name: {"all": [0.5, 0.6]} for name in names} for names in (["a"], ["a", "b"]))
    assert not figures.spread(one, "", "").figure.legends
    assert [t.get_text() for t in figures.spread(two, "", "").figure.legends[0].get_texts()] == ["a", "b"]


def test_norms_run_from_head_to_tail_and_average_the_runs():
    counts = np.array([100, 10, 1])
    picture = figures.measuring.norms_against_counts({"method": np.array([[3.0, 2.0, 1.0], [5.0, 2.0, 0.0]])}, counts)
    (axes,) = picture.figure.axes
    assert heights(axes)[-3:] == [4.0, 2.0, 0.5]
    left, right = axes.get_xlim()
    assert left > right
    assert "method from 4.00 (largest class) to 0.50" in picture.text
    assert picture.png().startswith(PNG)


def test_temperature_curves_mark_each_minimum():
    temperatures = np.array([0.5, 1.0, 2.0, 4.0])
    curves = {"held out": np.array([3.0, 1.0, 2.0, 3.0]), "test": np.array([4.0, 3.0, 2.0, 3.0])}
    picture = figures.measuring.temperature_curves(temperatures, curves)
    (axes,) = picture.figure.axes
    marks = [(float(*line.get_xdata()), float(*line.get_ydata())) for line in axes.lines if len(line.get_xdata()) == 1]
    assert marks == [(1.0, 1.0), (2.0, 2.0)]
    assert "held out is smallest at T = 1.00; test is smallest at T = 2.00" in picture.text
    assert picture.png().startswith(PNG)


def test_held_out_accuracy_skips_epochs_that_were_not_measured():
    measured = {"epoch": 2, "validation_accuracy": 0.8, "test_accuracy": 0.6}
    other = {"epoch": 2, "validation_accuracy": 0.6, "test_accuracy": 0.2}
    picture = figures.measuring.held_out_accuracy({"method": [[{"epoch": 1}, measured], [{"epoch": 1}, other]]})
    (axes,) = picture.figure.axes
    assert heights(axes) == [0.8, 0.6, 0.6, 0.2]
    assert "method: held out 70.0%, test 40.0%" in picture.text
    assert picture.png().startswith(PNG)


def test_a_gain_is_drawn_seed_by_seed_with_both_intervals():
    values = {"old": [0.5, 0.6, 0.4], "new": [0.52, 0.61, 0.43]}
    gain = paired(values["new"], values["old"])
    picture = figures.measuring.paired_gain(values, {"pairs": gain}, "What it adds")
    left, right = picture.figure.axes
    assert [line.get_ydata().tolist() for line in left.lines] == [[0.5, 0.52], [0.6, 0.61], [0.4, 0.43]]
    assert right.lines[0].get_xdata().tolist() == [gain.low, gain.high]
    assert "Each seed: +2.0, +1.0, +3.0; pairs: +2.0, from -0.5 to +4.5" in picture.text


def test_what_the_lesson_says_of_intervals_of_three_seeds():
    """One in five of the intervals with 1.96 misses the mean, and four in ten of those with the standard error."""
    assert 2 * t.sf(1.96, 2) == pytest.approx(1 / 5, abs=0.02)
    assert 2 * t.sf(1, 2) == pytest.approx(4 / 10, abs=0.03)


def full():
    """The full training with cross-entropy whose results the lesson shows."""
    return next(record for record in records.read("cifar10_lt_paper") if record.label == "cross-entropy")


def test_what_the_lesson_says_of_the_photographs():
    shown, answers = excerpt(), photographs.answers("cifar10_lt_paper", "cross-entropy")
    taken = {}
    for name in ("horse", "ship", "truck"):
        predicted = answers.predicted[shown.images.labels == shown.class_names.index(name)][:15]
        taken[name] = [shown.class_names[p] for p in predicted]
    assert sum(names.count(name) for name, names in taken.items()) == 25
    assert set(taken["ship"]) == {"ship", "airplane", "automobile"}
    assert {"deer", "cat", "dog", "airplane"} <= set(taken["horse"])
    record = full()
    assert record.data["counts"][-3:] == [139, 83, 50]
    ship, truck = (record.metrics["confusion"][k] for k in (8, 9))
    assert (ship[8], ship[0]) == (412, 472)
    assert (truck[9], truck[1]) == (430, 354)


def test_what_the_lesson_says_of_a_whole_training():
    record = full()
    course = trajectories.read(record.file.parent, record.id)
    accuracy, confidence = (course[f"class_{kind}"].astype(float) for kind in ("accuracy", "confidence"))
    at = {int(epoch): place for place, epoch in enumerate(course["epochs"])}
    many, medium, few = (accuracy[:, of].mean(axis=1) for of in (slice(3), slice(3, 7), slice(7, 10)))
    assert (round(many[at[10]], 3), round(few[at[10]], 3)) == (0.772, 0.064)
    early = few[at[60] : at[160]]
    assert np.abs(np.diff(early)).max() > 0.2  # "up and down by tens of points"
    assert many[at[165]] > many[at[160]] + 0.05
    assert medium[at[165]] > medium[at[160]] + 0.05
    assert few[at[165]] == pytest.approx(few[at[160]], abs=0.01)
    assert np.abs(accuracy[at[165] :].mean(axis=1) - accuracy[-1].mean()).max() < 0.015  # "little changes"
    assert (confidence.mean(axis=1) > accuracy.mean(axis=1)).all()
    assert (round(confidence[-1].mean(), 3), round(accuracy[-1].mean(), 3), round(few[-1], 3)) == (0.927, 0.712, 0.47)
    assert confidence[-1, 7:].mean() > confidence[-1].mean() - 0.05  # "as sure of them as of the others"


def test_there_are_as_many_pairs_as_the_lesson_says():
    rows = [row for row in table(records.measured(["mislas_cifar10_exact"])) if row.n > 1]
    assert len(rows) == 10
    assert len(list(itertools.combinations(rows, 2))) == 45
