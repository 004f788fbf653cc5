"""The figures of lesson 02 show the numbers they are given, and say them in words."""

import numpy as np
import pytest

from ltlib.lesson import plots

PNG = b"\x89PNG"


def heights(axes):
    return [float(y) for line in axes.lines for y in line.get_ydata()]


def test_spread_shows_every_run_and_the_mean():
    results = {"one": {"all": [0.2, 0.4], "few": [0.0, 0.1]}, "two": {"all": [0.5], "few": [0.9]}}
    picture = plots.spread(results, "accuracy", "A title")
    (axes,) = picture.figure.axes
    assert sorted(heights(axes)) == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.5, 0.9])
    assert [text.get_text() for text in axes.texts] == ["30%", "5%", "50%", "90%"]
    assert "one: all 30.0%, few 5.0%; two: all 50.0%, few 90.0%" in picture.text
    assert picture.png().startswith(PNG)


def test_spread_needs_no_legend_for_one_method():
    one, two = ({name: {"all": [0.5, 0.6]} for name in names} for names in (["a"], ["a", "b"]))
    assert not plots.spread(one, "", "").figure.legends
    assert [t.get_text() for t in plots.spread(two, "", "").figure.legends[0].get_texts()] == ["a", "b"]


def test_norms_run_from_head_to_tail_and_average_the_runs():
    counts = np.array([100, 10, 1])
    picture = plots.norms_against_counts({"method": np.array([[3.0, 2.0, 1.0], [5.0, 2.0, 0.0]])}, counts)
    (axes,) = picture.figure.axes
    assert heights(axes)[-3:] == [4.0, 2.0, 0.5]
    left, right = axes.get_xlim()
    assert left > right
    assert "method from 4.00 (largest class) to 0.50" in picture.text
    assert picture.png().startswith(PNG)


def test_temperature_curves_mark_each_minimum():
    temperatures = np.array([0.5, 1.0, 2.0, 4.0])
    curves = {"held out": np.array([3.0, 1.0, 2.0, 3.0]), "test": np.array([4.0, 3.0, 2.0, 3.0])}
    picture = plots.temperature_curves(temperatures, curves)
    (axes,) = picture.figure.axes
    marks = [(float(*line.get_xdata()), float(*line.get_ydata())) for line in axes.lines if len(line.get_xdata()) == 1]
    assert marks == [(1.0, 1.0), (2.0, 2.0)]
    assert "held out is smallest at T = 1.00; test is smallest at T = 2.00" in picture.text
    assert picture.png().startswith(PNG)


def test_held_out_accuracy_skips_epochs_that_were_not_measured():
    measured = {"epoch": 2, "validation_accuracy": 0.8, "test_accuracy": 0.6}
    other = {"epoch": 2, "validation_accuracy": 0.6, "test_accuracy": 0.2}
    picture = plots.held_out_accuracy({"method": [[{"epoch": 1}, measured], [{"epoch": 1}, other]]})
    (axes,) = picture.figure.axes
    assert heights(axes) == [0.8, 0.6, 0.6, 0.2]
    assert "method: validation 70.0%, test 40.0%" in picture.text
    assert picture.png().startswith(PNG)
