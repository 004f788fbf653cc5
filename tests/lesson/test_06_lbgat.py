"""Exercises and figures of lesson 06."""

import re

import nbformat
import numpy as np
import pytest

from ltlib import models, paths
from ltlib.evaluation.spread import paired
from ltlib.lesson import figures
from ltlib.lesson.exercises import EXERCISES, WrongAnswer
from ltlib.results import records


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


@pytest.fixture(scope="module")
def lesson():
    return nbformat.read(paths.project() / "notebooks" / "06_lbgat.ipynb", as_version=4).cells


@pytest.fixture(scope="module")
def text(lesson):
    return re.sub(r"\s+", " ", "\n".join(cell.source for cell in lesson if cell.cell_type == "markdown"))


@pytest.fixture(scope="module")
def runs():
    """Label -> one pair of clean and robust accuracy per seed."""
    found = {}
    for study in ("adversarial_glyphs", "weight_decay_glyphs"):
        for record in sorted(records.read(study), key=lambda record: record.seed):
            for report in record.robust:
                if report.attack == "apgd":
                    found.setdefault(record.label, []).append((report.clean_accuracy, report.robust_accuracy))
    return found


def test_no_difference_by_weight_decay_is_secured(lesson, text, runs):
    assert "Every one of them contains zero" in text
    (table,) = [o.text for c in lesson for o in c.get("outputs", []) if o.get("text", "").startswith("in points")]
    pairs = [("LBGAT0 + CE", "TRADES 6"), ("LBGAT0 + CE, weight decay 5e-4", "TRADES 6, weight decay 5e-4")]
    pairs += [(f"{label}, weight decay 5e-4", label) for label in ("TRADES 6", "LBGAT0 + CE")]
    for (one, other), line in zip(pairs, table.splitlines()[2:], strict=True):
        for measure in (0, 1):
            ours, theirs = ([run[measure] for run in runs[label]] for label in (one, other))
            found = paired(ours, theirs)
            assert found.low < 0 < found.high
            assert f"{100 * found.mean:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})" in line


def test_what_the_text_says_of_the_forty_letters(text, runs):
    guided, means = runs["LBGAT0 + CE"], {label: np.mean(pairs, axis=0) for label, pairs in runs.items()}
    three = [label for label, pairs in runs.items() if len(pairs) == 3 and "decay" not in label]
    assert "the highest mean clean accuracy" in text
    assert max(three, key=lambda label: means[label][0]) == "LBGAT0 + CE"
    assert max(three, key=lambda label: means[label][1]) == "LBGAT0 + CE"
    assert "above every single run of AT and TRADES" in text
    assert means["LBGAT0 + CE"][0] > max(clean for label in ("AT", "TRADES 6") for clean, _ in runs[label])
    assert "varies less over the seeds than AT and TRADES 6" in text
    for label in ("AT", "TRADES 6"):
        assert (np.std(guided, axis=0) < np.std(runs[label], axis=0)).all()


def test_what_the_text_says_of_sizes(text):
    def size(name):
        network = models.make(name, 10, (0.0,) * 3, (1.0,) * 3)
        return sum(p.numel() for p in network.parameters())

    assert "less than a hundredth of the parameters" in text
    assert size("wrn10_2") < size("wrn34_10") / 100
