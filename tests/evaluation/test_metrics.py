"""Metrics against hand-computed cases, and against torchmetrics where it has no known fault."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

from ltlib.errors import InputError
from ltlib.evaluation import calibration
from ltlib.evaluation.accuracy import confusion_matrix, group_accuracy, per_class_accuracy
from ltlib.evaluation.evaluate import accuracy, per_class, report_card
from ltlib.evaluation.temperature import fit_temperature


def random_case(n=700, classes=6, seed=0, scale=2.0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, n)
    logits = (scale * random.normal(size=(n, classes))).astype(np.float32)
    logits[np.arange(n), labels] += 1.5
    return logits, labels


def two_class(confidence, correct):
    """Probabilities (N, 2) with the given top-1 confidences (all above one half) and outcomes."""
    p = np.array([[c, 1 - c] for c in confidence])
    return p, np.where(correct, 0, 1)


def test_papers_vector():
    """confidences .95 .85 .55 .35 in four bins; ECE .35, MCE .65."""
    confidence, correct = np.array([0.95, 0.85, 0.55, 0.35]), np.array([1, 1, 0, 1])
    bins = calibration.equal_width_bins(confidence, correct)
    assert bins.expected_error() == pytest.approx(0.35)
    assert bins.gap.max() == pytest.approx(0.65)


def test_bins_are_right_closed_and_hold_zero_and_one():
    edges = np.linspace(0, 1, 16)
    bins = calibration.equal_width_bins(np.array([0.0, edges[1], edges[3], 1.0]), np.ones(4))
    assert bins.count.nonzero()[0].tolist() == [0, 2, 14]
    assert bins.count[0] == 2


def test_confidence_of_exactly_one_counts_in_the_last_bin():
    """torchmetrics puts it into a bin of its own (0.525 here); by hand: |(0.95 + 1)/2 - 1/2| = 0.475."""
    p, y = two_class([1.0, 0.95], [True, False])
    assert calibration.ece(p, y) == pytest.approx(0.475)


def test_empty_bins_add_nothing():
    p, y = two_class([0.8, 0.8], [True, True])
    assert calibration.ece(p, y) == calibration.mce(p, y) == pytest.approx(0.2)


def test_adaptive_bins_hold_equal_numbers():
    confidence = np.random.default_rng(0).random(1003) ** 5
    bins = calibration.equal_mass_bins(confidence, confidence > 0.5, bins=10)
    assert set(bins.count) <= {100, 101}
    # Two bins of two: (.55, .65) both right, (.9, .95) one right.
    p, y = two_class([0.9, 0.55, 0.95, 0.65], [True, True, False, True])
    assert calibration.adaptive_ece(p, y, bins=2) == pytest.approx((abs(1 - 0.6) + abs(0.5 - 0.925)) / 2)


def test_classwise_ece_by_hand():
    p = np.array([[0.7, 0.3], [0.7, 0.3]])
    y = np.array([0, 1])
    assert calibration.classwise_ece(p, y) == pytest.approx(0.2)


@pytest.mark.parametrize("seed", range(4))
def test_ece_and_mce_agree_with_torchmetrics(seed):
    logits, labels = random_case(seed=seed)
    p = calibration.probabilities(logits)
    for norm, ours in (("l1", calibration.ece), ("max", calibration.mce)):
        theirs = multiclass_calibration_error(torch.tensor(p), torch.tensor(labels), 6, n_bins=15, norm=norm)
        assert ours(p, labels) == pytest.approx(theirs.item(), abs=1e-6)


def test_nll_and_brier_agree_with_other_formulas():
    logits, labels = random_case()
    p = calibration.probabilities(logits)
    z, y = torch.tensor(logits), torch.tensor(labels)
    assert calibration.nll(logits, labels) == pytest.approx(torch.nn.functional.cross_entropy(z, y).item(), rel=1e-5)
    # sum_k (p_k - t_k)^2 = 1 - 2 p_y + sum_k p_k^2
    expected = (1 - 2 * p[np.arange(len(labels)), labels] + (p**2).sum(1)).mean()
    assert calibration.brier(p, labels) == pytest.approx(expected)


def test_nll_stays_finite_where_the_probability_underflows():
    assert calibration.nll(np.array([[0.0, 2000.0]], dtype=np.float32), np.array([0])) == pytest.approx(2000)


def test_signed_gap_tells_over_from_under_confidence():
    assert calibration.confidence_gap(*two_class([0.9, 0.9], [True, False])) == pytest.approx(0.4)
    assert calibration.confidence_gap(*two_class([0.6, 0.6], [True, True])) == pytest.approx(-0.4)


def test_accuracies_agree_with_torchmetrics():
    logits, labels = random_case()
    z, y = torch.tensor(logits), torch.tensor(labels)
    card = report_card(logits, labels, np.array([300, 200, 90, 50, 10, 5]))
    assert card["accuracy"] == pytest.approx(multiclass_accuracy(z, y, 6, average="micro").item())
    assert card["balanced_accuracy"] == pytest.approx(multiclass_accuracy(z, y, 6, average="macro").item())
    assert card["per_class_accuracy"] == pytest.approx(multiclass_accuracy(z, y, 6, average=None).tolist())


def test_confusion_has_true_classes_in_rows():
    matrix = confusion_matrix(np.array([1, 1, 0]), np.array([0, 1, 0]), 2)
    assert matrix.tolist() == [[1, 1], [0, 1]]


def test_absent_class_and_empty_group_are_undefined_not_zero():
    matrix = confusion_matrix(np.array([0, 0]), np.array([0, 1]), 3)
    by_class = per_class_accuracy(matrix)
    assert by_class[:2].tolist() == [1, 0]
    assert np.isnan(by_class[2])
    groups = {"many": np.array([0, 1]), "medium": np.array([2]), "few": np.array([], dtype=int)}
    assert group_accuracy(matrix, groups) == {"many": 0.5, "medium": None, "few": None}


def test_report_card_groups_measure_only_their_images():
    logits, labels = random_case()
    counts = np.array([300, 200, 90, 50, 10, 5])
    card = report_card(logits, labels, counts)
    few = card["groups"]["threshold"]["few"]
    inside = labels >= 4
    p = calibration.probabilities(logits[inside])
    assert few["test_images"] == inside.sum()
    assert few["ece"] == pytest.approx(calibration.ece(p, labels[inside]))
    assert few["accuracy"] == pytest.approx((logits[inside].argmax(1) == labels[inside]).mean())
    weighted = sum(g["accuracy"] * g["test_images"] for g in card["groups"]["threshold"].values())
    assert weighted / len(labels) == pytest.approx(card["accuracy"])


def test_report_card_names_both_rules_where_the_papers_define_one():
    logits, labels = random_case(classes=10)
    card = report_card(logits, labels, np.arange(1000, 0, -100))
    assert set(card["groups"]) == {"threshold", "papers"}
    assert card["groups"]["papers"]["medium"]["classes"] == 4
    assert card["groups"]["threshold"]["few"]["accuracy"] is None


def test_report_card_is_json():
    import json

    logits, labels = random_case()
    labels[labels == 5] = 0  # an absent class must not put NaN into the file
    card = report_card(logits, labels, np.full(6, 30))
    assert json.loads(json.dumps(card, allow_nan=False)) == card


def test_report_card_refuses_what_it_cannot_measure():
    logits, labels = random_case()
    with pytest.raises(InputError, match=r"Expected logits of shape \(700, 5\)"):
        report_card(logits, labels, np.ones(5))
    logits[3, 2] = np.nan
    with pytest.raises(InputError, match="NaN or infinite"):
        report_card(logits, labels, np.ones(6))


def uniform(n=4, classes=3):
    return np.full((n, classes), 1 / classes), np.zeros(n, dtype=int)


OF_PROBABILITIES = [
    calibration.ece,
    calibration.mce,
    calibration.adaptive_ece,
    calibration.classwise_ece,
    calibration.confidence_gap,
    calibration.brier,
    calibration.confidence_and_correct,
]
OF_LOGITS = [
    calibration.nll,
    lambda z, y: calibration.probabilities(z),
    lambda z, y: report_card(z, y, np.ones(3)),
    lambda z, y: fit_temperature(z, y),
    lambda z, y: accuracy(torch.from_numpy(z), torch.from_numpy(y)),
    lambda z, y: per_class(torch.from_numpy(z), torch.from_numpy(y)),
]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("metric", [*OF_PROBABILITIES, *OF_LOGITS])
def test_no_metric_hides_a_value_that_is_not_finite(metric, bad):
    p, y = uniform()
    metric(p, y)
    p[2, 1] = bad
    with pytest.raises(InputError, match="NaN or infinite"):
        metric(p, y)


@pytest.mark.parametrize("metric", OF_PROBABILITIES)
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.5, 0.5, 0.5], r"Row 1 of the probabilities is no distribution \(sum 1.5"),
        ([0.3, 0.3, 0.3], r"sum 0.9"),
        ([1.2, -0.1, -0.1], r"smallest -0.1"),
    ],
)
def test_what_is_no_distribution_is_no_probability(metric, row, message):
    p, y = uniform()
    p[1] = row
    with pytest.raises(InputError, match=message):
        metric(p, y)


@pytest.mark.parametrize("metric", [*OF_PROBABILITIES, *OF_LOGITS[:1], *OF_LOGITS[2:4]])
@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, -1, 0, 0], [0, 1, 2]])
def test_labels_that_are_no_classes_are_refused(metric, labels):
    p, _ = uniform()
    with pytest.raises(InputError):
        metric(p, np.array(labels))


def test_bins_and_matrix_refuse_what_they_cannot_count():
    for bins in (calibration.equal_width_bins, calibration.equal_mass_bins):
        for confidence in ([0.5, np.nan], [0.5, 1.5], [-0.1, 0.2]):
            with pytest.raises(InputError, match="must be from 0 to 1"):
                bins(np.array(confidence), np.array([True, False]))
        with pytest.raises(InputError, match="one outcome each"):
            bins(np.array([0.5, 0.5]), np.array([True]))
    with pytest.raises(InputError, match="Label 2 is no class"):
        confusion_matrix(np.array([0, 1]), np.array([0, 2]), 2)
    with pytest.raises(InputError, match="Label 3 is no class"):
        confusion_matrix(np.array([0, 3]), np.array([0, 1]), 2)
    with pytest.raises(InputError, match="whole numbers"):
        confusion_matrix(np.array([0.0, 1.0]), np.array([0, 1]), 2)


def test_float32_probabilities_of_many_classes_are_distributions():
    z = torch.randn(50, 8142, generator=torch.Generator().manual_seed(0)) * 5
    p = z.softmax(1).numpy()
    assert calibration.ece(p, np.zeros(50, dtype=int)) >= 0
