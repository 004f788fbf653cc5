"""A claim is tested over common seeds, and its sentence says what the seeds say."""

from __future__ import annotations

import math
import statistics

import pytest
from scipy import stats

from ltlib.errors import InputError
from ltlib.results import claim, records


@pytest.fixture(scope="module")
def letters():
    return records.read("ladder_glyphs")


def values(letters, label, of):
    return [of(r.metrics) for r in sorted((r for r in letters if r.label == label), key=lambda r: r.seed)]


def test_a_supported_claim_has_its_paired_interval(letters):
    [made] = claim.verdicts(claim.read("mislas > cross_entropy on accuracy, glyphs if100"), letters)
    ours, theirs = (values(letters, label, lambda m: m["accuracy"]) for label in ("MiSLAS", "cross-entropy"))
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    mean, half = statistics.fmean(differences), 4.302653 * statistics.stdev(differences) / math.sqrt(3)
    assert made.supported
    assert made.difference[:1] + made.difference[2:4] == pytest.approx((mean, mean - half, mean + half), abs=1e-6)
    assert made.sentence == (
        f"On glyphs (IF 100, resnet8, 40 epochs), MiSLAS has higher accuracy than cross-entropy ({100 * mean:+.1f} "
        f"points, 95 % interval {100 * (mean - half):+.1f} points to {100 * (mean + half):+.1f} points, 3 seeds)."
    )


def test_of_an_error_the_lower_value_is_better(letters):
    [made] = claim.verdicts(claim.read("MiSLAS > cRT on ece"), letters)
    assert made.supported
    assert made.difference.high < 0
    [turned] = claim.verdicts(claim.read("cRT > MiSLAS on ece"), letters)
    assert not turned.supported
    assert turned.seeds_needed is None
    assert "the opposite holds" in turned.sentence


def test_what_three_seeds_do_not_separate_is_not_claimed(letters):
    [made] = claim.verdicts(claim.read("cRT > MiSLAS on accuracy"), letters)
    assert made.supported is False
    assert made.difference.low < 0 < made.difference.high
    assert "do not separate" in made.sentence
    lines = claim.as_lines([made])
    assert f"{made.seeds_needed} seeds" in lines[-1]


@pytest.mark.parametrize(("difference", "sd"), [(0.01, 0.01), (0.01, 0.03), (0.05, 0.01), (0.001, 0.02)])
def test_the_needed_seeds_are_the_fewest_whose_interval_leaves_out_zero(difference, sd):
    def half(n):
        return stats.t.interval(0.95, n - 1, scale=sd / math.sqrt(n))[1]

    n = claim.seeds_needed(difference, sd)
    if n is None:
        assert half(claim.MOST_SEEDS) >= difference
    else:
        assert half(n) < difference
        assert n == 2 or half(n - 1) >= difference


def test_one_seed_supports_nothing(letters):
    first = [r for r in letters if r.seed == 0]
    [made] = claim.verdicts(claim.read("mislas > cross_entropy on accuracy"), first)
    assert made.supported is None
    assert "One seed supports no claim" in made.sentence


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mislas better than crt", "A claim reads"),
        ("mislas < crt on ece", "> means better also if that is the smaller number"),
        ("mislas > crt on beauty", "metric 'beauty' is not known"),
        ("mislsa > crt on ece", "No result on these data is called 'mislsa'. Did you mean 'mislas'"),
        ("mislas > crt on ece, cifar", "No result has dataset 'cifar'"),
        ("mislas > crt on ece, glyphs if7", "No result on these data"),
    ],
)
def test_a_claim_that_cannot_be_read_or_tested_says_why(letters, text, message):
    with pytest.raises(InputError, match=message):
        claim.verdicts(claim.read(text), letters)
