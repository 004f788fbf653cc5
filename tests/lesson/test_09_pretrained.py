"""Lesson 09: wrong answers get the intended hint, the figure shows its numbers, and the text says what is stored."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ltlib.lesson import figures
from ltlib.lesson.exercises import EXERCISES, WrongAnswer
from ltlib.results import records
from ltlib.results.views import summary

WRONG = {
    "class_means": [
        (lambda f, y, k: np.stack([f[y == c].sum(axis=0) for c in range(k)]), "These are sums"),
        (lambda f, y, k: np.stack([f[y == c].sum(axis=0) for c in range(k)]) / len(f), "divide by all six images"),
        (lambda f, y, k: np.repeat(f.mean(axis=0)[None], k, axis=0), "choose by label"),
        (lambda f, y, k: f.mean(axis=0), r"of shape \(3, 2\); yours have \(2,\)"),
        (lambda f, y, k: np.stack([f[y == c].max(axis=0) for c in range(k)]), "The means of the example"),
    ],
    "cosine_logits": [
        (lambda f, m, s: s * f @ m.T, r"assert cosine_logits\(5 \* features, ...\)"),
        (EXERCISES["cosine_logits"].faulty, "Which axis"),
        (lambda f, m, s: (f / np.linalg.norm(f, axis=1, keepdims=True)) @ m.T, "The logits of the example"),
        (lambda f, m, s: np.zeros(3), r"of shape \(2, 3\)"),
    ],
}


@pytest.mark.parametrize(("name", "answer", "hint"), [(n, a, h) for n, cases in WRONG.items() for a, h in cases])
def test_a_typical_mistake_is_named(name, answer, hint):
    with pytest.raises(WrongAnswer, match=hint):
        EXERCISES[name](answer)


def test_the_solutions_agree_with_torch():
    random = np.random.default_rng(0)
    features, means = random.normal(size=(7, 4)), random.normal(size=(3, 4))
    theirs = 25 * F.cosine_similarity(torch.from_numpy(features)[:, None], torch.from_numpy(means)[None], dim=2)
    np.testing.assert_allclose(EXERCISES["cosine_logits"].solution(features, means, 25), theirs)
    labels = np.array([0, 1, 2, 0, 1, 2, 0])
    for name in WRONG:
        EXERCISES[name](EXERCISES[name].solution)
    found = EXERCISES["class_means"].solution(features, labels, 3)
    np.testing.assert_allclose(found[0], features[[0, 3, 6]].mean(axis=0))


def test_the_figure_names_the_pair_that_is_most_alike():
    cosines = np.array([[1.0, 0.2, 0.7], [0.2, 1.0, -0.1], [0.7, -0.1, 1.0]])
    picture = figures.pretrained.similarity(cosines, ("cat", "ship", "dog"))
    assert "cat and dog are the most alike, 0.70. The lowest is -0.10." in picture.text
    shown = [text.get_text() for text in picture.figure.axes[0].texts]
    assert shown == [f"{value:.2f}" for value in cosines.ravel()]


def test_what_lesson_09_says_of_photographs():
    heads = {row["label"]: row for row in summary(records.read("heads_cifar10_500"))}
    scratch = summary(records.read("ladder_cifar10_jpeg"))
    assert all(row["n"] == 3 for row in heads.values())
    assert heads["nearest class mean"]["accuracy"] > max(row["accuracy"] for row in scratch)
    assert heads["LIFT's head"]["accuracy"] == max(row["accuracy"] for row in heads.values())
    assert heads["LIFT's head"]["few"] == max(row["few"] for row in heads.values())
    adjusted = heads["linear, adjusted post hoc"]
    assert adjusted["few"] > heads["linear, cross-entropy"]["few"] + 0.3


def test_what_lesson_09_says_of_letters():
    heads = {row["label"]: row for row in summary(records.read("heads_glyphs"))}
    scratch = {row["label"]: row for row in summary(records.read("ladder_glyphs"))}
    best = max(row["accuracy"] for row in heads.values())
    assert best == heads["LIFT's head"]["accuracy"]
    assert best < scratch["cross-entropy"]["accuracy"] - 0.15


def test_the_three_selections_are_three_sets_of_images():
    found = records.by_label(records.read("heads_cifar10_500"))["LIFT's head"]
    assert len({record.data["subset_sha256"] for record in found}) == 3
    assert {record.data["frozen"]["side"] for record in found} == {96}


def test_what_lesson_09_says_of_fine_tuning():
    """In each selection of images, training all weights is the worst on the rare classes and the best on the others."""
    found = records.by_label(records.read("finetune_cifar10_500"))
    groups = {
        label: {g: [one.metrics["groups"]["papers"][g]["accuracy"] for one in three] for g in ("many", "few")}
        for label, three in found.items()
    }
    everything = groups.pop("all weights")
    assert {len(three) for three in found.values()} == {3}
    for other in groups.values():
        assert all(a < b for a, b in zip(everything["few"], other["few"], strict=True))
        assert all(a > b for a, b in zip(everything["many"], other["many"], strict=True))
    rows = {row["label"]: row for row in summary(records.read("finetune_cifar10_500"))}
    assert rows["frozen"]["accuracy"] < min(row["accuracy"] for name, row in rows.items() if name != "frozen") - 0.05
    assert len({record.data["subset_sha256"] for record in found["frozen"]}) == 3
