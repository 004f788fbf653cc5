"""Exercises and figures of lesson 05."""

import nbformat
import numpy as np
import pytest

from ltlib import paths
from ltlib.experiments.attack import ATTACKS
from ltlib.lesson import figures
from ltlib.lesson.exercises import EXERCISES, WrongAnswer


@pytest.mark.parametrize(
    ("name", "answer", "hint"),
    [
        ("fgsm_step", lambda x, g, e: x + e * np.sign(g), "outside"),
        ("fgsm_step", lambda x, g, e: x - e * np.sign(g), "smaller"),
        ("fgsm_step", lambda x, g, e: np.clip(x + e * g, 0, 1), "only the sign"),
        ("fgsm_step", lambda x, g, e: x[0], "shape of x"),
        ("into_ball", lambda a, x, e: np.clip(a, x - e, x + e), r"Clip to \[0, 1\]"),
        ("into_ball", lambda a, x, e: np.clip(a, -e, e), "around the clean image"),
        ("into_ball", lambda a, x, e: np.clip(a, 0, 1), "ball is missing"),
        ("into_ball", lambda a, x, e: np.clip(x + e * np.sign(a - x), 0, 1), "stay where they are"),
        ("robust_accuracy", lambda c, w: np.logical_or.reduce(list(w.values())).mean(), "weaker attack"),
        ("robust_accuracy", lambda c, w: np.logical_and.reduce(list(w.values())).mean(), "wrong without any attack"),
        ("robust_accuracy", lambda c, w: min(v.mean() for v in w.values()), "break different images"),
        ("robust_accuracy", lambda c, w: np.logical_and.reduce([c, *w.values()])[c].mean(), "Divide by all"),
    ],
)
def test_typical_mistakes_get_a_hint(name, answer, hint):
    with pytest.raises(WrongAnswer, match=hint):
        EXERCISES[name](answer)


def test_example_shows_the_change_stretched_to_its_size():
    x = np.full((3, 4, 4), 0.5)
    x_adv = x.copy()
    x_adv[0, 1, 2] += 2 / 255
    picture = figures.adversarial_examples.adversarial_example(
        x, x_adv, "AB", before=np.array([0.9, 0.1]), after=np.array([0.2, 0.8]), label=0, steps=5
    )
    assert picture.text == ("A A, taken for A (90%); changed by at most 2.0/255 in 5 steps it is taken for B (80%).")
    change = np.asarray(picture.figure.axes[1].images[0].get_array())
    assert change[1, 2].tolist() == [1.0, 0.5, 0.5]
    assert (change[0] == 0.5).all()
    same = figures.adversarial_examples.adversarial_example(
        x, x, "AB", np.array([0.9, 0.1]), np.array([0.9, 0.1]), 0, 1
    )
    assert "at most 0.0/255" in same.text


def test_curves_against_epsilon_are_in_units_of_one_level():
    picture = figures.adversarial_examples.against_epsilon(
        [0, 8 / 255], {"FGSM": [0.9, 0.4], "PGD": [0.9, 0.1]}, "letters"
    )
    lines = picture.figure.axes[0].lines
    assert lines[0].get_xdata() == pytest.approx([0, 8])
    assert [line.get_ydata()[-1] for line in lines] == [0.4, 0.1]
    assert "FGSM from 90% to 40%" in picture.text


def test_climbs_show_the_loss_by_step():
    picture = figures.adversarial_examples.climbs({"PGD": [0.1, 0.4, 2.0]}, "ten steps")
    assert list(picture.figure.axes[0].lines[0].get_ydata()) == [0.1, 0.4, 2.0]
    assert "PGD from 0.10 to 2.00" in picture.text


def test_slices_tell_the_share_that_is_wrong():
    margins = np.ones((10, 10))
    margins[:, :3] = -1
    picture = figures.adversarial_examples.slices({"net": margins, "flat": np.ones((10, 10))}, reach=0.1, epsilon=0.05)
    assert "net: wrong on 30% of the plane; flat: wrong on 0%" in picture.text
    (square,) = picture.figure.axes[0].patches
    assert (square.get_x(), square.get_width()) == pytest.approx((-0.05 * 255, 0.1 * 255))


def test_margins_along_a_line_count_their_steps():
    change = np.linspace(0, 3, 6)
    lines = {"net": 1 - change, "steps": np.repeat([1.0, 0.5, -1.0], 2)}
    picture = figures.adversarial_examples.along_a_line(change, lines)
    assert "net from 1.00 to -2.00 through 6 values; steps from 1.00 to -1.00 through 3 values" in picture.text
    assert [list(line.get_ydata()) for line in picture.figure.axes[0].lines[:2]][1] == [1, 1, 0.5, 0.5, -1, -1]


def test_the_lesson_names_every_attack_of_the_command_line():
    cells = nbformat.read(paths.project() / "notebooks" / "05_adversarial_examples.ipynb", as_version=4).cells
    (text,) = (cell.source for cell in cells if "`--attack` chooses" in cell.source)
    assert all(f"`{name}`" in text for name in ATTACKS)
