"""Exercises and figures of lesson 09."""

import json

import numpy as np
import pytest

from ltlib import paths
from ltlib.lesson import figures
from ltlib.lesson.exercises import EXERCISES, WrongAnswer


@pytest.mark.parametrize(
    ("name", "answer", "hint"),
    [
        ("share", lambda batch, rank, n: batch[: len(batch) // n], "hold every image"),
        ("share", lambda batch, rank, n: batch[:3] if rank == 0 else batch[3:], "a fair split"),
        ("share", lambda batch, rank, n: batch[1 - rank :: n], "every second one"),
        ("share", lambda batch, rank, n: batch[rank::2], "for three it is not"),
        ("gpu_hours", lambda i, f, k, s: i * (2 * k + 3) * f / s, "3600 seconds"),
        ("gpu_hours", lambda i, f, k, s: i * (k + 3) * f / s / 3600, "a forward and a backward pass"),
        ("gpu_hours", lambda i, f, k, s: i * 2 * k * f / s / 3600, "the network learns"),
        ("gpu_hours", lambda i, f, k, s: i * 3 * f / s / 3600, "attack is missing"),
    ],
)
def test_typical_mistakes_get_a_hint(name, answer, hint):
    with pytest.raises(WrongAnswer, match=f"(?i){hint}"):
        EXERCISES[name](answer)


def test_the_numbers_in_the_text_are_those_of_the_stored_benchmark():
    found = json.loads((paths.project() / "data/benchmarks/cpu-2-cores-avx512-bf16.json").read_text())
    text = (paths.project() / "notebooks/09_full_scale.ipynb").read_text()
    resnet, _, small, wide, *_ = found["rows"]
    assert "three times as fast as the plain recipe" in text
    assert round(resnet["ratio"]) == 3
    assert f"the LBGAT step {small['ratio']:.1f} to {wide['ratio']:.1f} times" in text
    assert f"WRN-34-10: {100 * wide['share_of_limit']:.0f} %" in text
    assert "ResNet-32 gets a third of it" in text
    assert 0.3 < resnet["share_of_limit"] < 0.37
    assert f"Measured: {found['growth'][3]['relative'][-1]:.1f}." in text


ROWS = [
    {"what": "train", "ltlib": 30.0, "plain": 10.0, "ratio": 3.0, "limit": 60.0, "share_of_limit": 0.5},
    {"what": "attack", "ltlib": 2.0, "plain": 1.0, "ratio": 2.0, "limit": 8.0, "share_of_limit": 0.25},
]


def test_speed_shows_ratio_and_limit_of_every_row():
    picture = figures.full_scale.speed(ROWS, "a machine")
    assert "train: 3.00 times, 50% of the limit; attack: 2.00 times, 25% of the limit" in picture.text
    (ax,) = picture.figure.axes
    assert [bar.get_width() for bar in ax.patches] == [3.0, 2.0]
    limits = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "|"]
    assert limits == [6.0, 8.0]


def test_growth_draws_the_measured_points_and_the_fitted_line():
    line = {
        "quantity": "steps",
        "of": "a step",
        "values": [2, 10],
        "relative": [1.0, 2.0],
        "slope": 0.25,
        "fixed": 0.75,
    }
    picture = figures.full_scale.growth([line, line])
    assert "a step: 2.00 times as long at 10 steps as at 2" in picture.text
    points, fitted = picture.figure.axes[1].lines
    assert points.get_xdata().tolist() == [1.0, 5.0]
    assert np.allclose(np.interp([1.0, 5.0], fitted.get_xdata(), fitted.get_ydata()), [1.0, 2.0])
