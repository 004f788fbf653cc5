"""Exercises and figures of lesson 06."""

import numpy as np
import pytest

from ltlib.lesson import figures
from ltlib.lesson.exercises import EXERCISES, WrongAnswer


def softmax(z):
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


def ce(z, y):
    return -np.log(softmax(z)[np.arange(len(y)), y]).mean()


@pytest.mark.parametrize(
    ("name", "answer", "hint"),
    [
        ("guided_loss", lambda r, t, y: ((r - t) ** 2).sum(1).mean() + ce(t, y), "the images and the classes"),
        ("guided_loss", lambda r, t, y: ((r - t) ** 2).mean() + ce(r, y), "labels teach the natural"),
        ("guided_loss", lambda r, t, y: ((r - t) ** 2).mean(), "cross-entropy is missing"),
        ("guided_loss", lambda r, t, y: ce(t, y), "squares is missing"),
        ("divergence", lambda p, q: (np.exp(p) * (np.log(np.exp(p)) - q)).sum(1), "stay with the logarithms"),
        ("divergence", lambda p, q: (np.exp(p) * (q - p)).sum(1), "never negative"),
        ("divergence", lambda p, q: (np.exp(q) * (q - np.maximum(p, -2000))).sum(1), r"KL\(q \|\| p\)"),
        ("divergence", lambda p, q: (np.exp(p) * (p - q)).sum(), "One value for each image"),
    ],
)
def test_typical_mistakes_get_a_hint(name, answer, hint):
    with pytest.raises(WrongAnswer, match=hint):
        EXERCISES[name](answer)


def test_boundaries_draw_points_balls_and_notes():
    points, labels = np.random.default_rng(0).random((24, 2)), np.arange(24) % 2
    share = np.tile(np.linspace(0, 1, 20), (20, 1))
    panels = dict.fromkeys(("a", "b", "c", "d"), share)
    picture = figures.lbgat.boundaries(panels, points, labels, 0.05, {"a": "clean 90%"})
    axes = picture.figure.axes
    assert len(axes) == 4
    assert "a: clean 90%" in picture.text
    assert [len(line.get_xdata()) for line in axes[0].lines] == [12, 12]
    assert len(axes[0].patches) == 12


def test_plane_marks_every_seed_and_the_mean():
    picture = figures.lbgat.plane({"AT": [(0.8, 0.4), (0.9, 0.6)]}, "letters", "APGD")
    small, large = picture.figure.axes[0].lines
    assert small.get_xdata().tolist() == [0.8, 0.9]
    assert (large.get_xdata()[0], large.get_ydata()[0]) == pytest.approx((0.85, 0.5))
    assert "AT: clean 85.0%, robust 50.0%" in picture.text


def test_curves_have_a_line_at_chance():
    picture = figures.lbgat.curves({"AT": ([1, 2], [0.1, 0.5])}, "letters", chance=0.1)
    first, chance = picture.figure.axes[0].lines
    assert list(first.get_ydata()) == [0.1, 0.5]
    assert set(chance.get_ydata()) == {0.1}
    assert "AT ends at 50%" in picture.text


def test_a_variant_of_a_method_is_dashed_and_its_seeds_are_not():
    histories = dict.fromkeys(("AT, seed 0", "AT, seed 1", "AT, rate 0.1, seed 0", "TRADES, seed 0"), ([1], [0.1]))
    *runs, chance = figures.lbgat.curves(histories, "letters", chance=0.1).figure.axes[0].lines
    assert [line.get_linestyle() for line in runs] == ["-", "-", "--", "-"]
    assert len({line.get_color() for line in runs}) == 2
    assert chance.get_linestyle() == ":"


def test_each_method_has_a_panel_with_its_runs_before_those_of_all():
    runs = {"AT": [(0.8, 0.4), (0.9, 0.6)], "LBGAT0": [(0.5, 0.1)], "LBGAT0 + CE": [(0.9, 0.2)]}
    picture = figures.lbgat.per_method(runs, "letters", "APGD")
    first, second = picture.figure.axes
    every, seeds, mean = first.lines
    assert every.get_xydata().tolist() == [[0.8, 0.4], [0.9, 0.6], [0.5, 0.1], [0.9, 0.2]]
    assert seeds.get_xydata().tolist() == [[0.8, 0.4], [0.9, 0.6]]
    assert mean.get_xydata()[0].tolist() == pytest.approx([0.85, 0.5])
    assert [text.get_text() for text in second.get_legend().get_texts()] == ["LBGAT0 (1)", "LBGAT0 + CE (1)"]
    assert "AT: clean 85.0%, robust 50.0%" in picture.text
