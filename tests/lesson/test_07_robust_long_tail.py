"""Exercises, formulas and figures of lesson 07."""

import json
import math
import re
import statistics

import nbformat
import numpy as np
import pytest
import torch
from torch import nn

from ltlib import methods, paths
from ltlib.data.loader import Batch
from ltlib.evaluation.spread import paired
from ltlib.lesson import figures
from ltlib.lesson.exercises import EXERCISES, WrongAnswer
from ltlib.models import Network
from ltlib.results import records, views


def log_softmax(z):
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def guided(robust, natural, labels, counts, sign=1, guide=1, student=1, squares=np.mean):
    def balanced(z, on):
        return -log_softmax(z + on * sign * np.log(counts))[np.arange(len(labels)), labels].mean()

    return squares((robust - natural) ** 2) + balanced(natural, guide) + balanced(robust, student)


@pytest.mark.parametrize(
    ("name", "answer", "hint"),
    [
        ("adversarial_shift", lambda m, s, e, o: s**2 * math.log(o) / (2 * m), "without attack"),
        ("adversarial_shift", lambda m, s, e, o: s**2 * math.log(o) / (2 * (m + e)), "not further apart"),
        ("adversarial_shift", lambda m, s, e, o: s * math.log(o) / (2 * (m - e)), "by its square"),
        ("adversarial_shift", lambda m, s, e, o: s**2 * o / (2 * (m - e)), "logarithm"),
        ("adversarial_shift", lambda m, s, e, o: s**2 * math.log(o) / (m - e), "Mind the 2"),
        ("adversarial_shift", lambda m, s, e, o: s**2 * math.log(100) / (2 * (m - e)), "odds of 1"),
        ("balanced_guided_loss", lambda r, t, y, n: guided(r, t, y, n, guide=0, student=0), "Nothing is re-balanced"),
        ("balanced_guided_loss", lambda r, t, y, n: guided(r, t, y, n, student=0), "the robust one is not"),
        ("balanced_guided_loss", lambda r, t, y, n: guided(r, t, y, n, guide=0), "its guide is not"),
        ("balanced_guided_loss", lambda r, t, y, n: guided(r, t, y, n, sign=-1), "not subtracted"),
        ("balanced_guided_loss", lambda r, t, y, n: guided(r, t, y, n, squares=lambda d: 0), "guidance is missing"),
        (
            "balanced_guided_loss",
            lambda r, t, y, n: guided(r, t, y, n, squares=lambda d: d.sum(1).mean()),
            "the classes",
        ),
    ],
)
def test_typical_mistakes_get_a_hint(name, answer, hint):
    with pytest.raises(WrongAnswer, match=f"(?i){hint}"):
        EXERCISES[name](answer)


def test_the_balanced_guided_loss_is_that_of_the_package():
    """The exercise against LBGAT.terms, on a network that returns given logits."""
    torch.manual_seed(0)
    counts = torch.tensor([100, 10, 1])
    network = Network((0.5,) * 3, (0.25,) * 3, nn.Flatten(), nn.Linear(12, 3))
    method = methods.make("lbgat", network, counts, natural="resnet8", natural_tau=1, tau=1, label_weight=1)
    robust, natural, labels = torch.randn(6, 3), torch.randn(6, 3), torch.randint(0, 3, (6,))
    method.natural = nn.Module()
    method.natural.forward = lambda x: natural
    batch = Batch(torch.rand(6, 3, 2, 2), labels)
    right = method.terms(batch, batch.x, lambda x: robust)
    own = EXERCISES["balanced_guided_loss"].solution(robust.numpy(), natural.numpy(), labels.numpy(), counts.numpy())
    assert own == pytest.approx(right.item(), rel=1e-5)


def test_two_classes_cross_where_the_formula_says():
    """The solid curves meet at the boundary of cross-entropy, the dotted ones at that of adversarial training."""
    mu, sigma, epsilon, odds = 0.12, 0.08, 0.05, 100.0
    shift = EXERCISES["adversarial_shift"].solution
    places = {"plain": (-shift(mu, sigma, 0, odds), 0.5), "robust": (-shift(mu, sigma, epsilon, odds), 0.25)}
    picture = figures.robust_long_tail.two_classes(mu, sigma, epsilon, odds, places | {"balanced": (0.0, 0.9)})
    (ax,) = picture.figure.axes
    rare, rare_attacked, frequent, frequent_attacked, *boundaries = ax.lines
    for one, other, boundary in ((rare, frequent, boundaries[0]), (rare_attacked, frequent_attacked, boundaries[1])):
        place = boundary.get_xdata()[0]
        heights = [np.interp(place, line.get_xdata(), np.log(line.get_ydata())) for line in (one, other)]
        assert heights[0] == pytest.approx(heights[1], abs=0.02)
    assert "robust at -0.211, 25% of the rare survive" in picture.text


def test_groups_against_epsilon_has_a_panel_a_network():
    lines = {"many": [1.0, 0.5], "few": [0.4, 0.0]}
    picture = figures.robust_long_tail.groups_against_epsilon([0, 2 / 255], {"a": lines, "b": lines}, "PGD-10")
    first, second = picture.figure.axes
    assert (first.get_title(), second.get_title()) == ("a", "b")
    assert first.lines[0].get_xdata().tolist() == [0.0, 2.0]
    assert first.lines[1].get_ydata().tolist() == [0.4, 0.0]
    assert "b, few: from 40% to 0%" in picture.text


def test_against_scale_is_logarithmic_and_names_the_range():
    picture = figures.robust_long_tail.against_scale([0.1, 1, 10], {"PGD": [0.5, 0.2, 0.6]}, "one network")
    (ax,) = picture.figure.axes
    assert ax.get_xscale() == "log"
    assert "PGD 20% to 60%, at the ends 50% and 60%" in picture.text


@pytest.fixture(scope="module")
def lesson():
    return nbformat.read(paths.project() / "notebooks" / "07_robust_long_tail.ipynb", as_version=4).cells


WHOLE = {
    "clean": "accuracy",
    "few": "accuracy few",
    "worst": "worst class",
    "ECE": "ECE",
    "PGD-20": "PGD-20 accuracy",
    "PGD few": "PGD-20 accuracy few",
    "APGD": "APGD accuracy",
    "PGD ECE": "PGD-20 ECE",
}  # the heads of the printed columns


def raw(record):
    """The columns of the report card, from the plain JSON."""
    found = {
        "accuracy": record["metrics"]["accuracy"],
        "accuracy few": record["metrics"]["groups"]["threshold"]["few"]["accuracy"],
        "worst class": min(record["metrics"]["per_class_accuracy"]),
        "ECE": record["metrics"]["ece"],
    }
    for report in record["robust"]:
        (name, *_) = report["attacks"]
        assert math.isclose(report["epsilon"], 8 / 255, rel_tol=1e-6)
        found[f"{name.removesuffix('-CE')} accuracy"] = report["robust_accuracy"]
        if name == "PGD-20":
            found["PGD-20 accuracy few"] = report["adversarial"]["groups"]["threshold"]["few"]["accuracy"]
            found["PGD-20 ECE"] = report["adversarial"]["ece"]
    return found


def test_the_report_card_is_that_of_the_stored_runs(lesson):
    texts = [output.get("text", "") for cell in lesson for output in cell.get("outputs", [])]
    (text,) = (text for text in texts if text.startswith("method  ") and "PGD ECE" in text)
    header, _, *lines = (re.split(r"\s{2,}", line.strip()) for line in text.splitlines())
    assert max(map(len, text.splitlines())) <= 100, "a row fits into one line of a notebook"
    rows: dict[str, list[dict]] = {}
    for file in (records.studies() / "robust_longtail_glyphs").glob("*.json"):
        record = json.loads(file.read_text())
        rows.setdefault(record["label"], []).append(raw(record))
    assert {line[0] for line in lines} == set(rows)
    for label, n, *cells in lines:
        assert int(n) == len(rows[label])
        for name, cell in zip(map(WHOLE.get, header[2:]), cells, strict=True):
            values = [row[name] for row in rows[label] if name in row]
            assert cell == (f"{statistics.fmean(values):.1%}" if values else "-"), (label, name)


def test_the_claims_rest_on_three_seeds_each(lesson):
    texts = [o.text for c in lesson for o in c.get("outputs", []) if ", points more than" in o.get("text", "")]
    (one_against_many,) = (text for text in texts if "\nagainst" in text)
    compared = [re.split(r"\s{2,}", line)[0] for line in one_against_many.splitlines()[3:]]
    for label, other in re.findall(r"^(.*), points more than ?(.*)$", "\n".join(texts), flags=re.MULTILINE):
        compared += [label, other] if other else [label]
    assert len(compared) == 8
    study = records.by_label(records.read("robust_longtail_glyphs"))
    for label in compared:
        assert [record.seed for record in study[label]] == [0, 1, 2]


def test_what_the_text_says_of_at_bsl_is_stored(lesson):
    text = re.sub(r"\s+", " ", "\n".join(cell.source for cell in lesson if cell.cell_type == "markdown"))
    cards = views.by_seed(records.read("robust_longtail_glyphs"), tuple(WHOLE.values()))

    def mean(label, measure):
        return statistics.fmean(card[measure] for card in cards[label])

    assert "The simplest remedy improves every column" in text
    for measure in WHOLE.values():
        lower_is_better = -1 if "ECE" in measure else 1
        assert lower_is_better * (mean("AT-BSL", measure) - mean("AT", measure)) > 0, measure
    (row, *_) = records.by_label(records.read("robust_longtail_glyphs"))["AT-BSL, cosine classifier"]
    changes = {name: row.hyperparameters[name] for name in ("cosine", "margin", "tau")}
    assert changes == {"cosine": 10, "margin": 0.1, "tau": 1.2}
    assert "`cosine=10, margin=0.1, tau=1.2`" in text
    assert "only its cosine classifier" not in text


def test_what_the_text_says_of_at_bsl_over_seeds_is_stored(lesson):
    text = re.sub(r"\s+", " ", "\n".join(cell.source for cell in lesson if cell.cell_type == "markdown"))
    measures = ("accuracy", "PGD-20 accuracy", "PGD-20 accuracy few")
    cards = views.by_seed(records.read("robust_longtail_glyphs"), measures)

    def gain(label, other, measure):
        return paired([card[measure] for card in cards[label]], [card[measure] for card in cards[other]])

    assert [gain("AT-BSL", "AT", measure).holds_zero for measure in measures] == [True, True, False]
    assert gain("AT-BSL, cosine classifier", "AT-BSL", "PGD-20 accuracy").holds_zero
    assert "Three seeds do not secure that" in text


def test_what_the_text_says_of_epochs_and_groups_is_stored(lesson):
    study = records.by_label(records.read("robust_longtail_glyphs"))
    text = "\n".join(cell.source for cell in lesson if cell.cell_type == "markdown")
    epochs = {record.recipe["epochs"] for members in study.values() for record in members}
    assert {int(e) for e in re.findall(r"trained for (\d+) epochs", text)} == epochs
    natural = [label for label, members in study.items() if "epsilon" not in members[0].hyperparameters]
    assert "first three rows" in text
    assert len(natural) == 3
    assert "at most 20" not in text
