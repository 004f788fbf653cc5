"""Figures show the numbers they are given, and say them in words."""

import numpy as np
import pytest
from matplotlib import pyplot

from ltlib.data.longtail import shot_groups
from ltlib.evaluation.evaluate import report_card
from ltlib.lesson import figures

COUNTS = np.array([300, 150, 60, 30, 10, 5])


@pytest.fixture
def case():
    random = np.random.default_rng(0)
    labels = random.integers(0, 6, 300)
    logits = random.normal(size=(300, 6)).astype(np.float32)
    logits[np.arange(300), labels] += 1.5
    return logits, labels, report_card(logits, labels, COUNTS)


def bars(axes):
    return [patch.get_height() for container in axes.containers for patch in container]


def test_class_counts_draws_every_count():
    picture = figures.class_counts(COUNTS, shot_groups(COUNTS), "threshold")
    (axes,) = picture.figure.axes
    assert sorted(bars(axes)) == sorted(COUNTS)
    assert "'threshold'" in axes.get_title()


def test_groups_draws_and_says_the_accuracies(case):
    card = case[2]
    picture = figures.groups({"ours": card}, "threshold")
    group = card["groups"]["threshold"]
    expected = [card["accuracy"], *(group[n]["accuracy"] for n in ("many", "medium", "few"))]
    assert bars(picture.figure.axes[0]) == pytest.approx(expected)
    assert f"few {group['few']['accuracy']:.0%}" in picture.text


def test_empty_group_is_named_not_drawn_as_zero():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 60)
    card = report_card(random.normal(size=(60, 3)).astype(np.float32), labels, np.array([300, 200, 150]))
    picture = figures.groups({"ours": card}, "threshold")
    assert [text.get_text() for text in picture.figure.axes[0].texts][1:].count("none") == 2
    assert "few" not in picture.text


def test_reliability_bars_and_error(case):
    logits, labels, card = case
    picture = figures.reliability({"ours": (logits, labels)}, bins=15)
    accuracy, gap = (np.array([p.get_height() for p in c]) for c in picture.figure.axes[0].containers)
    assert f"ECE {card['ece']:.1%}" in picture.figure.axes[0].get_title()
    assert f"{card['ece']:.1%}" in picture.text
    assert len(accuracy) == len(gap) == 15
    assert np.abs(gap).max() == pytest.approx(card["mce"])


def test_confusion_rows_sum_to_one(case):
    picture = figures.confusion({"ours": case[2]}, list("ABCDEF"))
    mesh = picture.figure.axes[0].collections[0].get_array()
    assert np.asarray(mesh).reshape(6, 6).sum(axis=1) == pytest.approx(np.ones(6))


def test_learning_curves_and_per_class(case):
    history = [{"epoch": e, "loss": 1 / e} | ({"test_accuracy": e / 10} if e % 2 == 0 else {}) for e in range(1, 5)]
    left, right = figures.learning_curves({"ours": history}).figure.axes
    assert left.lines[0].get_ydata() == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    assert right.lines[0].get_ydata() == pytest.approx([0.2, 0.4])
    axes = figures.per_class({"ours": case[2]}, list("ABCDEF")).figure.axes[0]
    assert axes.lines[0].get_ydata() == pytest.approx(case[2]["per_class_accuracy"])


def test_a_picture_shows_a_png_with_words_and_leaves_pyplot_alone(case):
    data, metadata = figures.per_class({"ours": case[2]}, list("ABCDEF"))._repr_mimebundle_()
    assert data["image/png"].startswith("iVBOR")
    assert metadata["image/png"]["alt"] == data["text/plain"]
    assert pyplot.get_fignums() == []


def test_answers_are_coloured_by_right_and_wrong():
    images = np.zeros((3, 3, 8, 8), np.uint8)
    logits = np.log(np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]], dtype=np.float32))
    picture = figures.answers(images, np.array([0, 0, 1]), logits, ["$cat", "dog"], "a title", columns=2)
    titles = [(ax.get_title(), ax.title.get_color()) for ax in picture.figure.axes]
    right, wrong = titles[0][1], titles[1][1]
    assert [title for title, _ in titles] == [r"\$cat 90%", "✗ dog 80%", "dog 60%"]
    assert titles[2][1] == right != wrong
    assert "$cat: dog 80%" in picture.text
