"""Exercises and figures of lesson 08, and what its text says of the stored studies."""

import itertools
import json
import re
from dataclasses import replace

import nbformat
import numpy as np
import pytest

from ltlib import paths
from ltlib.evaluation.spread import interval, paired
from ltlib.lesson import figures
from ltlib.lesson.exercises import EXERCISES, WrongAnswer
from ltlib.results import papers, records, views
from ltlib.results.papers import Gain
from ltlib.results.table import table as table_of


def around(mean, half):
    return mean - half, mean + half


def sd(values):
    return np.std(values, ddof=1)


def of_mean(values, t):
    return around(np.mean(values), t * sd(values) / len(values) ** 0.5)


@pytest.mark.parametrize(
    ("name", "answer", "hint"),
    [
        ("interval_of_mean", lambda v, t: np.mean(v), "two numbers"),
        ("interval_of_mean", lambda v, t: around(np.mean(v), t * sd(v)), "range of single seeds"),
        ("interval_of_mean", lambda v, t: around(np.mean(v), sd(v)), "no interval for the mean"),
        ("interval_of_mean", lambda v, t: around(np.mean(v), sd(v) / len(v) ** 0.5), "quantile t is missing"),
        ("interval_of_mean", lambda v, t: around(np.mean(v), t * np.std(v) / len(v) ** 0.5), "n - 1"),
        ("interval_of_mean", lambda v, t: around(np.mean(v), t * sd(v) / len(v)), "not by n"),
        ("interval_of_mean", lambda v, t: around(np.mean(v), t * sd(v) / (len(v) - 1) ** 0.5), "outside it is"),
        ("interval_of_mean", lambda v, t: around(np.mean(v), t * sd(v) / 3**0.5), "for four it is not"),
        ("interval_of_mean", lambda v, t: (0.0, 1.0), "you return 0.000 to 1.000"),
        (
            "interval_of_gain",
            lambda a, b, t: around(np.mean(b) - np.mean(a), t * sd(np.subtract(a, b)) / 3**0.5),
            "sign",
        ),
        (
            "interval_of_gain",
            lambda a, b, t: around(np.mean(a) - np.mean(b), t * np.hypot(sd(a), sd(b)) / 3**0.5),
            "share their seeds",
        ),
        (
            "interval_of_gain",
            lambda a, b, t: tuple(np.subtract(of_mean(a, t), of_mean(b, t))),
            "do not subtract: first take",
        ),
        (
            "interval_of_gain",
            lambda a, b, t: tuple(np.subtract(of_mean(a, t), of_mean(b, t)[::-1])),
            "too far apart",
        ),
        ("interval_of_gain", lambda a, b, t: (0.0, 1.0), "you return 0.000 to 1.000"),
        ("share", lambda batch, rank, n: batch[: len(batch) // n], "hold every image"),
        ("share", lambda batch, rank, n: batch[:3] if rank == 0 else batch[3:], "a fair split"),
        ("share", lambda batch, rank, n: batch[1 - rank :: n], "every second one"),
        ("share", lambda batch, rank, n: batch[rank::2], "for three it is not"),
        ("gpu_hours", lambda i, f, k, s: i * (2 * k + 3) * f / s, "3600 seconds"),
        ("gpu_hours", lambda i, f, k, s: i * (k + 3) * f / s / 3600, "a forward and a backward pass"),
        ("gpu_hours", lambda i, f, k, s: i * 2 * k * f / s / 3600, "the network learns"),
        ("gpu_hours", lambda i, f, k, s: i * 3 * f / s / 3600, "attack is missing"),
        ("honest_accuracy", lambda history: max(line["test_accuracy"] for line in history), "Which images"),
        ("honest_accuracy", lambda history: max(line["validation_accuracy"] for line in history), "that chose it"),
    ],
)
def test_typical_mistakes_get_a_hint(name, answer, hint):
    with pytest.raises(WrongAnswer, match=f"(?i){hint}"):
        EXERCISES[name](answer)


def test_a_row_shows_every_seed_the_mean_and_the_interval():
    picture = figures.results.over_seeds({"one": [0.5, 0.6, 0.7], "alone": [0.4]}, "a title")
    low, high = interval([0.5, 0.6, 0.7])[2:4]
    assert f"one: 60.0% ({low:.1%} to {high:.1%}); alone: 40.0%, one seed" in picture.text
    dots, mean, span, alone, its_mean = picture.figure.axes[1].lines
    assert dots.get_xdata().tolist() == [0.5, 0.6, 0.7]
    assert mean.get_xdata() == pytest.approx([0.6])
    assert span.get_xdata() == pytest.approx([low, high])
    assert alone.get_xdata().tolist() == its_mean.get_xdata().tolist() == [0.4]


@pytest.mark.parametrize("rows", [0, 1, 22])
def test_figures_that_a_control_exchanges_have_one_layout(rows):
    label = "a method with a name as long as names are in practice"
    made = [figures.results.over_seeds({f"{label} {i}": [0.1, 0.2] for i in range(n)}, "title") for n in (rows, 5)]
    sizes = [(*picture.figure.get_size_inches(), len(picture.figure.axes)) for picture in made]
    assert sizes[0] == sizes[1]
    assert ("Not measured" in made[0].text) == (rows == 0)


def test_orders_are_averaged_in_their_range():
    picture = figures.results.wrong_orders([0.001, 0.005, 0.03, 0.2], [0.4, 0.6, 0.1, 0.0], [0, 0.01, 0.05])
    assert [bar.get_height() for bar in picture.figure.axes[0].patches] == pytest.approx([0.5, 0.1, 0.0])
    assert "0 to 1 points apart: 50% of the comparisons of 2 pairs" in picture.text
    assert "over 5 points apart: 0% of the comparisons of 1 pairs" in picture.text


def test_the_epochs_chosen_are_marked_where_they_are():
    history = [
        {"epoch": epoch, "test_accuracy": test, "validation_accuracy": held_out}
        for epoch, test, held_out in ((1, 0.2, 0.9), (2, 0.6, 0.3), (3, 0.5, 0.4))
    ]
    picture = figures.results.chosen_epochs({"a": history})
    marks = {line.get_label(): (line.get_xdata()[0], line.get_ydata()[0]) for line in picture.figure.axes[0].lines[1:]}
    assert marks == {"last": (3, 0.5), "best on test": (2, 0.6), "chosen on held-out images": (1, 0.2)}
    without = [{name: value for name, value in line.items() if name != "validation_accuracy"} for line in history]
    assert "held-out" not in figures.results.chosen_epochs({"a": without}).text


def test_gains_stand_beside_each_other():
    gain = Gain("s", "m", interval([0.1, 0.2]), 0.12, "table", "yes")
    picture = figures.results.gains([gain, replace(gain, study="other", ours=interval([0.1]))], "Gain")
    assert "m (s): ours +15.0 (-48.5 to +78.5), theirs +12.0; m (other): ours +10.0, theirs +12.0" in picture.text
    assert [tick.get_text() for tick in picture.figure.axes[0].get_yticklabels()] == ["m\ns", "m\nother"]


def test_coverage_draws_every_kind():
    picture = figures.results.coverage([2, 3], {"t": [0.95, 0.94], "z": [0.7, 0.8]})
    assert "t: 95% with 2 seeds, 94% with 3; z: 70% with 2 seeds, 80% with 3" in picture.text


@pytest.fixture(scope="module")
def lesson():
    cells = nbformat.read(paths.project() / "notebooks" / "08_evidence_and_scale.ipynb", as_version=4).cells
    return re.sub(r"\s+", " ", "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown"))


def accuracies(study):
    return {row.label: row.values for row in table_of(records.read(study))}


def test_what_the_text_says_of_all_pairs(lesson):
    pairs = list(itertools.combinations(accuracies("reslt_glyphs"), 2))
    assert f"has {len(pairs)} pairs of rows" in lesson
    assert round(0.05 * len(pairs)) == 8
    assert f"some eight of the {len(pairs)}" in lesson


def test_what_the_text_says_of_pairs(lesson):
    found = accuracies("mislas_cifar10_exact")
    gain = paired(found["MiSLAS"], found["cRT + mixup"])
    assert f"by {100 * gain.low:.1f} to {100 * gain.high:.1f} points" in lesson
    pooled = np.sqrt((np.var(found["MiSLAS"], ddof=1) + np.var(found["cRT + mixup"], ddof=1)) / 3)
    half = 2.776445 * pooled  # Student's t with four degrees of freedom
    assert f"from {100 * (gain.mean - half):.1f} to {100 * (gain.mean + half):.1f} points" in lesson
    stage1 = {
        label: {r.seed: r.hyperparameters["stage1"] for r in found}
        for label, found in records.by_label(records.read("mislas_cifar10_exact")).items()
        if label in ("MiSLAS", "cRT + mixup")
    }
    assert stage1["MiSLAS"] == stage1["cRT + mixup"]


def test_what_the_text_says_of_chosen_epochs(lesson):
    worth = [
        record.best_epochs["test_accuracy"]["test_accuracy"] - record.metrics["accuracy"]
        for study in ("mislas_cifar10_exact", "reslt_cifar10_exact", "reslt_glyphs", "adversarial_glyphs")
        for record in records.read(study)
    ]
    assert "never below zero" in lesson
    assert min(worth) > -1e-6  # float32 against float64
    assert "single runs gain more than a point" in lesson
    assert sum(value > 0.01 for value in worth) >= 2


def test_what_the_text_says_of_looks_at_the_test_images(lesson):
    steps = []
    for study in ("adversarial_glyphs", "ladder_cifar10_jpeg", "ladder_glyphs", "reslt_cifar10_exact", "reslt_glyphs"):
        epochs = [record.curve["epoch"] for record in records.read(study) if record.curve]
        steps += [np.diff(seen).min() if len(seen) > 1 else 0 for seen in epochs]
    assert set(steps) == {0, 5, 10}
    assert sum(step > 0 for step in steps) > len(steps) / 2
    assert "every five or ten epochs, in some only at the end" in lesson


def test_what_the_text_says_of_all_baselines(lesson):
    letters = {row["label"]: row for row in views.summary(records.read("ladder_glyphs"))}
    eight = ("Balanced Softmax", "logit adjustment, loss", "logit adjustment, post hoc", "CE-DRW", "LDAM-DRW")
    eight = (*eight, "cRT", "LWS", "MiSLAS")
    assert "eight methods end eight to nine points above cross-entropy" in lesson
    for label in eight:
        assert round(100 * (letters[label]["accuracy"] - letters["cross-entropy"]["accuracy"])) in (8, 9), label
        assert 0.01 < letters[label]["± accuracy"] < 0.04, label
    photographs = {row["label"]: row for row in views.summary(records.read("ladder_cifar10_jpeg"))}
    before, after = photographs["cross-entropy"], photographs["tau-norm"]
    assert "Tau-normalisation leaves the accuracy there as it was" in lesson
    assert abs(after["accuracy"] - before["accuracy"]) < after["± accuracy"]
    assert after["ECE"] < before["ECE"] / 3
    assert max(photographs.values(), key=lambda row: row["few"])["label"] == "MiSLAS"
    assert min(photographs.values(), key=lambda row: row["ECE"])["label"] == "MiSLAS"
    assert max(photographs.values(), key=lambda row: row["accuracy"])["label"] == "ResLT"


def test_what_the_text_says_of_the_papers(lesson):
    rows = papers.gains(records.read("mislas_cifar10_exact"))
    table = {row.label: row for row in rows if row.source.endswith("Table 4")}
    for label, text in {
        "MiSLAS": "MiSLAS adds {:.1f} points to cross-entropy, and {:.1f} points in its paper",
        "cRT + mixup": "cRT with mixup it is {:.1f} points here and {:.1f} points there",
    }.items():
        assert text.format(100 * table[label].ours.mean, 100 * table[label].theirs) in lesson
    mixup = table["mixup"]
    assert mixup.ours.mean < 0 < mixup.theirs < mixup.ours.high
    inside = [row.ours.low < row.theirs < row.ours.high for row in rows]
    assert (sum(inside), len(inside)) == (6, 7)
    assert "Six of the seven published gains" in lesson


def test_the_numbers_in_the_text_are_those_of_the_stored_benchmark(lesson):
    found = json.loads((paths.project() / "data/benchmarks/cpu-2-cores-avx512-bf16.json").read_text())
    resnet, _, small, wide, *_ = found["rows"]
    assert "three times as fast as the plain recipe" in lesson
    assert round(resnet["ratio"]) == 3
    assert f"the LBGAT step {small['ratio']:.1f} to {wide['ratio']:.1f} times" in lesson
    assert f"WRN-34-10: {100 * wide['share_of_limit']:.0f} %" in lesson
    assert "ResNet-32 gets a third of it" in lesson
    assert 0.3 < resnet["share_of_limit"] < 0.37
    assert f"Measured: {found['growth'][3]['relative'][-1]:.1f}." in lesson


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


def test_hours_follow_speed_and_devices():
    operations = {"a": 3.6e17, "b": 7.2e15, "c": 1.08e15}
    picture = figures.full_scale.hours(operations, 1e14, 1)
    assert picture.text.endswith("assuming 100 TFLOP/s per device, 1 device: a 1.0 h; b 1 min; c 11 s.")
    faster = figures.full_scale.hours(operations, 2e14, 4)
    dots = [line.get_xdata()[0] for line in faster.figure.axes[0].lines if line.get_marker() == "o"]
    assert dots == pytest.approx([1 / 8, 0.02 / 8, 0.003 / 8])
    assert faster.figure.axes[0].get_xlim() == picture.figure.axes[0].get_xlim()
