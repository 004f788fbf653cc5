"""Exercises and figures of lesson 04."""

import nbformat
import numpy as np
import pytest

from ltlib import paths
from ltlib.lesson import figures
from ltlib.lesson.exercises import EXERCISES, WrongAnswer
from ltlib.results import records


@pytest.mark.parametrize(
    ("name", "answer", "hint"),
    [
        ("nested_sets", lambda n: np.stack([n > 100, (n >= 20) & (n <= 100), n < 20]), "sets are apart"),
        ("nested_sets", lambda n: np.stack([n > 0, n < 100, n < 20]), "exactly 100"),
        ("nested_sets", lambda n: np.stack([n > 0, n <= 100, n <= 20]), "exactly 20"),
        ("nested_sets", lambda n: np.stack([n > 0, n <= 100, n < 20], axis=1), "shape"),
        ("joint_loss", lambda v, m: ((v * m).sum(1) / m.sum(1)).sum(), "each branch, added up"),
        ("joint_loss", lambda v, m: ((v * m).sum(1) / m.sum(1)).mean(), "mean of the branches' means"),
        ("joint_loss", lambda v, m: (v * m).mean(), "not of all pairs"),
        ("joint_loss", lambda v, m: (v * m).sum() / v.shape[1], "not of images"),
        ("joint_loss", lambda v, m: v.mean(), "must not count"),
        ("folded", lambda w, b, a, c: (w * a.sum(0), w @ c.sum(0) + b), "once for each branch"),
        ("folded", lambda w, b, a, c: (w * a.sum(0), len(a) * b), "shifts are missing"),
        ("folded", lambda w, b, a, c: (len(a) * w, w @ c.sum(0) + len(a) * b), "scales are missing"),
        ("folded", lambda w, b, a, c: (w.T, b), "shapes must be"),
        ("folded", lambda w, b, a, c: 1.0, "two things"),
    ],
)
def test_typical_mistakes_get_a_hint(name, answer, hint):
    with pytest.raises(WrongAnswer, match=hint):
        EXERCISES[name](answer)


def test_sets_are_drawn_where_they_are():
    sets = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1]], dtype=bool)
    picture = figures.reslt.class_sets(np.array([200, 50, 5]), {"nested": sets})
    bars = [(bar.get_x() + bar.get_width() / 2, bar.get_y() + 0.4) for bar in picture.figure.axes[0].patches]
    assert np.round(bars, 6).tolist() == [[0, 0], [1, 0], [2, 0], [1, 1], [2, 1], [2, 2]]
    assert "nested: 3, 2, 1 classes" in picture.text


def test_mean_logits_of_a_group_against_the_others():
    sums = {"H": np.array([1.0, 3.0, 2.0]), "H+M": np.array([0.0, 1.0, 6.0])}
    picture = figures.reslt.mean_logits(sums, "few", np.array([2]), (-1, 7))
    assert "H +0.0, H+M +5.5" in picture.text
    assert [line.get_ydata().tolist() for line in picture.figure.axes[0].lines[:2]] == [[1, 3, 2], [0, 1, 6]]


def test_group_accuracy_draws_every_value():
    picture = figures.reslt.group_accuracy({"net": {"H": {"all": 0.5, "few": 0.1}, "H+M": {"all": 0.6, "few": 0.3}}})
    heights = sorted(round(bar.get_height(), 6) for bar in picture.figure.axes[0].patches)
    assert heights == [0.1, 0.3, 0.5, 0.6]
    assert "net, H+M: all 60.0%, few 30.0%" in picture.text


def test_gradient_shares_add_up_to_one():
    picture = figures.reslt.gradient_shares({"start": {"H": 2.0, "M": 1.0, "T": 1.0, "fused": 0.0}})
    widths = [bar.get_width() for bar in picture.figure.axes[0].patches]
    assert widths == pytest.approx([0.5, 0.25, 0.25, 0.0])
    assert "start: H 50.0%, M 25.0%" in picture.text


def test_the_text_names_the_images_that_the_runs_had():
    text = (paths.project() / "notebooks/04_reslt.ipynb").read_text()
    counts = {tuple(record.data["counts"]) for record in records.read("reslt_cifar10_exact")}
    (counts,) = counts
    assert f"{sum(counts):,} " in text
    assert f", {max(counts)} of them in the largest class" in text


def test_the_lesson_trains_as_many_networks_as_it_says():
    cells = nbformat.read(paths.project() / "notebooks/04_reslt.ipynb", as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    bars = [output for output in outputs if "0 s left" in output.get("data", {}).get("text/plain", "")]
    assert "three trainings of a small network" in text
    assert len(bars) == 3


def test_a_mean_of_three_plain_networks_finds_no_more_of_the_tail_than_one_of_them():
    cells = nbformat.read(paths.project() / "notebooks/04_reslt.ipynb", as_version=4).cells
    (source,) = (cell.source for cell in cells if cell.id == "reslt-21-seeds")
    names = {"np": np, "figures": figures}
    exec(source, names)
    *single, mean = names["cards"].values()
    assert np.allclose(names["mean"].sum(axis=1), 1)
    assert mean["accuracy"] == pytest.approx(max(card["accuracy"] for card in single), abs=0.005)
    few = [card["groups"]["threshold"]["few"]["accuracy"] for card in (*single, mean)]
    assert len(few) == 4
    assert few[-1] <= max(few[:-1])
