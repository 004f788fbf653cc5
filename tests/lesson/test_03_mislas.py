"""Exercises and figures of lesson 03."""

import math

import numpy as np
import pytest

from ltlib import paths
from ltlib.lesson import figures
from ltlib.lesson.exercises import EXERCISES, WrongAnswer
from ltlib.results import records


@pytest.mark.parametrize(
    ("name", "answer", "hint"),
    [
        ("concave_smoothing", lambda n, h, t: t + (h - t) * (n - n.min()) / np.ptp(n), "linear shape"),
        (
            "concave_smoothing",
            lambda n, h, t: t + (h - t) * np.sin(np.pi / 2 * (n.max() - n) / np.ptp(n)),
            "exchanged",
        ),
        ("concave_smoothing", lambda n, h, t: t + h * np.sin(np.pi / 2 * (n - n.min()) / np.ptp(n)), "head - tail"),
        ("logit_gap", lambda e, k: math.log((k - 1) * (1 - e) / e), "paper's form"),
        ("logit_gap", lambda e, k: (1 - e + e / k) / (e / k), "its logarithm"),
        ("logit_gap", lambda e, k: -math.log((1 - e + e / k) / (e / k)), "sign"),
        ("scaled_logits", lambda f, w, b, s: s * (f @ w.T) + b, "bias too"),
        ("scaled_logits", lambda f, w, b, s: f @ w.T + b, "scale is missing"),
        ("scaled_logits", lambda f, w, b, s: (s * (f @ w.T + b)).T, "shape"),
    ],
)
def test_typical_mistakes_get_a_hint(name, answer, hint):
    with pytest.raises(WrongAnswer, match=hint):
        EXERCISES[name](answer)


def test_confidence_is_measured_on_the_images_predicted_as_a_class():
    # Two images predicted 0 with confidence .9 (one right), one predicted 1 with .8 (right).
    logits = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]], dtype=np.float32))
    picture = figures.mislas.confidence_by_class({"net": (logits, np.array([0, 1, 1]))})
    sure, right = picture.figure.axes[0].lines
    assert sure.get_ydata() == pytest.approx([0.9, 0.8], abs=1e-6)
    assert right.get_ydata() == pytest.approx([0.5, 1.0])
    assert "net +20.0%" in picture.text


def test_ladder_shows_every_seed_and_the_mean():
    picture = figures.ablation({"a": {"accuracy": [0.2, 0.4]}, "b": {"accuracy": [0.5, 0.7]}})
    (ax,) = picture.figure.axes
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([0.3, 0.6])
    assert sorted(x for line in ax.lines for x in line.get_xdata()) == [0.2, 0.4, 0.5, 0.7]
    assert "a: accuracy 30.0%" in picture.text


def test_gap_descent_marks_finite_optima_only():
    gaps = {"plain": np.array([1.0, 2.0]), "smooth": np.array([1.0, 1.5])}
    picture = figures.mislas.gap_descent(gaps, {"plain": math.inf, "smooth": 1.5})
    dashed = [line for line in picture.figure.axes[0].lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in dashed] == [1.5]


def test_the_text_names_the_images_that_the_runs_had():
    text = (paths.project() / "notebooks/03_mislas.ipynb").read_text()
    counts = {tuple(record.data["counts"]) for record in records.read("mislas_cifar10_exact")}
    (counts,) = counts
    assert f"{sum(counts):,} " in text
    assert f", {max(counts)} of them in the largest class" in text
