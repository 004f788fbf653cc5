"""Exercises and figures of lessons 05 and 06."""

import numpy as np
import pytest

from ltlib.lesson import adversarial_plots
from ltlib.lesson.exercises import WrongAnswer, check


def softmax(z):
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


def ce(z, y):
    return -np.log(softmax(z)[np.arange(len(y)), y]).mean()


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
        getattr(check, name)(answer)


def test_example_shows_the_change_stretched_to_its_size():
    x = np.full((3, 4, 4), 0.5)
    x_adv = x.copy()
    x_adv[0, 1, 2] += 2 / 255
    picture = adversarial_plots.adversarial_example(
        x, x_adv, "AB", before=np.array([0.9, 0.1]), after=np.array([0.2, 0.8]), label=0, steps=5
    )
    assert picture.text == ("A A, taken for A (90%); changed by at most 2.0/255 in 5 steps it is taken for B (80%).")
    change = np.asarray(picture.figure.axes[1].images[0].get_array())
    assert change[1, 2].tolist() == [1.0, 0.5, 0.5]
    assert (change[0] == 0.5).all()
    same = adversarial_plots.adversarial_example(x, x, "AB", np.array([0.9, 0.1]), np.array([0.9, 0.1]), 0, 1)
    assert "at most 0.0/255" in same.text


def test_curves_against_epsilon_are_in_units_of_one_level():
    picture = adversarial_plots.against_epsilon([0, 8 / 255], {"FGSM": [0.9, 0.4], "PGD": [0.9, 0.1]}, "letters")
    lines = picture.figure.axes[0].lines
    assert lines[0].get_xdata() == pytest.approx([0, 8])
    assert [line.get_ydata()[-1] for line in lines] == [0.4, 0.1]
    assert "FGSM from 90% to 40%" in picture.text


def test_climbs_show_the_loss_by_step():
    picture = adversarial_plots.climbs({"PGD": [0.1, 0.4, 2.0]}, "ten steps")
    assert list(picture.figure.axes[0].lines[0].get_ydata()) == [0.1, 0.4, 2.0]
    assert "PGD from 0.10 to 2.00" in picture.text


def test_slices_tell_the_share_that_is_wrong():
    margins = np.ones((10, 10))
    margins[:, :3] = -1
    picture = adversarial_plots.slices({"net": margins, "flat": np.ones((10, 10))}, reach=0.1, epsilon=0.05)
    assert "net: wrong on 30% of the plane; flat: wrong on 0%" in picture.text
    (square,) = picture.figure.axes[0].patches
    assert (square.get_x(), square.get_width()) == pytest.approx((-0.05 * 255, 0.1 * 255))


def test_boundaries_draw_points_balls_and_notes():
    points, labels = np.random.default_rng(0).random((24, 2)), np.arange(24) % 2
    share = np.tile(np.linspace(0, 1, 20), (20, 1))
    panels = dict.fromkeys(("a", "b", "c", "d"), share)
    picture = adversarial_plots.boundaries(panels, points, labels, 0.05, {"a": "clean 90%"})
    axes = picture.figure.axes
    assert len(axes) == 4
    assert "a: clean 90%" in picture.text
    assert [len(line.get_xdata()) for line in axes[0].lines] == [12, 12]
    assert len(axes[0].patches) == 12


def test_plane_marks_every_seed_and_the_mean():
    picture = adversarial_plots.plane({"AT": [(0.8, 0.4), (0.9, 0.6)]}, "letters", "APGD")
    small, large = picture.figure.axes[0].lines
    assert small.get_xdata().tolist() == [0.8, 0.9]
    assert (large.get_xdata()[0], large.get_ydata()[0]) == pytest.approx((0.85, 0.5))
    assert "AT: clean 85.0%, robust 50.0%" in picture.text


def test_curves_have_a_line_at_chance():
    picture = adversarial_plots.curves({"AT": ([1, 2], [0.1, 0.5])}, "letters", chance=0.1)
    first, chance = picture.figure.axes[0].lines
    assert list(first.get_ydata()) == [0.1, 0.5]
    assert set(chance.get_ydata()) == {0.1}
    assert "AT ends at 50%" in picture.text
