"""Test sets of other class frequencies, against closed forms."""

import numpy as np
import pytest
from scipy.stats import norm

from ltlib.__main__ import main
from ltlib.errors import InputError
from ltlib.evaluation.calibration import probabilities
from ltlib.evaluation.prior import (
    adjust,
    estimate_prior,
    image_weights,
    prior_rows,
    read_prior,
    shaped_prior,
    under_prior,
)
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment

HALF = np.array([0.5, 0.5])


def gaussians(n=4000, learnt=HALF):
    """x | y = 0, 1 is N(-1, 1), N(1, 1), by evenly spaced quantiles; logits of a model that is right for ``learnt``."""
    z = norm.ppf((np.arange(n) + 0.5) / n)
    x, y = np.concatenate([z - 1, z + 1]), np.repeat([0, 1], n)
    return np.stack([norm.logpdf(x, -1), norm.logpdf(x, 1)], 1) + np.log(learnt), y


def test_shapes_of_a_test_set():
    counts = np.array([5, 500, 50])
    assert shaped_prior(counts, "uniform", 100).tolist() == [1 / 3] * 3
    forward = shaped_prior(counts, "forward", 100)
    assert forward == pytest.approx(np.array([0.01, 1, 0.1]) / 1.11)
    assert shaped_prior(counts, "backward", 100) == pytest.approx(np.array([1, 0.01, 0.1]) / 1.11)
    assert shaped_prior(counts, "forward", 1) == pytest.approx([1 / 3] * 3)
    with pytest.raises(InputError, match="shape 'sideways' is not known"):
        shaped_prior(counts, "sideways")
    for factor in (0.5, np.nan, np.inf):
        with pytest.raises(InputError, match="a number from 1"):
            shaped_prior(counts, "forward", factor)


def test_weights_give_classes_their_frequencies():
    labels = np.array([0, 0, 0, 1])
    assert image_weights(labels, np.array([0.4, 0.6])) == pytest.approx([0.4 / 3] * 3 + [0.6])
    with pytest.raises(InputError, match="Class 2 has no test image"):
        image_weights(labels, np.array([0.4, 0.5, 0.1]))
    assert image_weights(labels, np.array([0.4, 0.6, 0.0])).sum() == pytest.approx(1)


@pytest.mark.parametrize("learnt", [HALF, np.array([0.9, 0.1])])
def test_adjusted_logits_are_the_posterior_of_the_new_prior(learnt):
    logits, _ = gaussians(50, learnt)
    prior = np.array([0.2, 0.8])
    joint = np.exp(gaussians(50)[0]) / 0.5 * prior
    expected = joint / joint.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities(adjust(logits, learnt, prior)), expected, atol=1e-12)
    never = adjust(logits, learnt, np.array([1.0, 0.0]))
    assert (never.argmax(axis=1) == 0).all()
    assert np.isfinite(never).all()


def test_accuracy_with_the_known_prior_is_that_of_bayes():
    """The boundary is at log(pi_0 / pi_1) / 2, so the accuracy is pi_0 Phi(b + 1) + pi_1 Phi(1 - b)."""
    prior = np.array([0.9, 0.1])
    logits, y = gaussians()
    b = np.log(9) / 2
    found = under_prior(logits, y, prior, HALF)
    assert found["as it is"] == pytest.approx(norm.cdf(1), abs=1e-3)
    assert found["known prior"] == pytest.approx(0.9 * norm.cdf(b + 1) + 0.1 * norm.cdf(1 - b), abs=1e-3)
    assert found["estimated prior"] == pytest.approx(found["known prior"], abs=2e-3)
    assert found["error of the estimate"] < 1e-3


def test_em_finds_the_maximum_of_the_likelihood():
    """Two kinds of images, (a, 1 - a) and (1 - a, a), a share f of the first: pi_0 = (f - (1 - a)) / (2 a - 1)."""
    a, f = 0.8, 0.65
    p = np.array([[a, 1 - a]] * 65 + [[1 - a, a]] * 35)
    found = estimate_prior(p, HALF)
    assert found.prior == pytest.approx([(f - 0.2) / 0.6, 1 - (f - 0.2) / 0.6], abs=1e-6)
    assert (np.diff(found.likelihood) >= -1e-12).all()
    assert 2 < found.steps < 1000
    by_weights = estimate_prior(np.array([[a, 1 - a], [1 - a, a]]), HALF, np.array([65.0, 35.0]))
    assert by_weights.prior == pytest.approx(found.prior, abs=1e-9)


def test_em_knows_what_the_model_has_learnt():
    learnt = np.array([0.9, 0.1])
    logits, y = gaussians(learnt=learnt)
    prior = np.array([0.3, 0.7])
    found = estimate_prior(probabilities(logits), learnt, image_weights(y, prior)).prior
    assert found == pytest.approx(prior, abs=2e-3)
    wrong = estimate_prior(probabilities(logits), HALF, image_weights(y, prior)).prior
    assert np.abs(wrong - prior).max() > 0.1


def test_em_is_misled_by_over_confidence():
    """Calibration is what it rests on: logits three times as large, and the estimate is off by much more."""
    logits, y = gaussians()
    prior = np.array([0.8, 0.2])
    errors = [under_prior(scale * logits, y, prior, HALF)["error of the estimate"] for scale in (1, 3)]
    assert errors[0] < 2e-3
    assert errors[1] > 0.03


def test_priors_as_a_command_line_names_them():
    counts = np.array([100, 10, 1])
    assert read_prior("backward:100", counts) == pytest.approx(np.array([0.01, 0.1, 1]) / 1.11)
    assert read_prior("forward", counts) == pytest.approx(shaped_prior(counts, "forward", 10))
    for text, message in (("forward:x", "must be a number"), ("none", "not known"), ("uniform:0.1", "from 1")):
        with pytest.raises(InputError, match=message):
            read_prior(text, counts)


def test_a_run_is_evaluated_under_other_priors_from_the_command_line(capsys):
    run = execute(Experiment(method="cross_entropy", profile="smoke"), quiet=True)
    capsys.readouterr()
    assert main(["evaluate", run.id, "--prior", "uniform", "backward:50", "--coverage", "0.8"]) == 0
    out = capsys.readouterr().out
    stored = run.predictions()
    (uniform, backward) = prior_rows(stored["logits"], stored["labels"], stored["counts"], ["uniform", "backward:50"])
    assert uniform["as it is"] == pytest.approx(run.info["metrics"]["balanced_accuracy"])
    assert f"{100 * backward['known prior']:.1f}" in out
    assert "one for each class" in out
    for flags, message in ((["--learnt", "both"], "learnt 'both'"), (["--coverage", "2"], "between 0 and 1")):
        assert main(["evaluate", run.id, *flags]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: adjust(np.zeros((2, 2)), HALF, np.array([0.5, 0.4])), "prior must hold the frequencies"),
        (lambda: adjust(np.zeros((2, 2)), np.array([1.0, 0.0]), HALF), "above 0 for every class"),
        (lambda: adjust(np.zeros((2, 3)), HALF, HALF), "Expected priors of 3 classes"),
        (lambda: adjust(np.array([[0, np.nan]]), HALF, HALF), "NaN or infinite"),
        (lambda: estimate_prior(np.array([[0.5, 0.6]]), HALF), "no distribution"),
        (lambda: estimate_prior(np.array([[0.5, 0.5]]), np.array([1.0, 0.0])), "2 frequencies above 0"),
        (lambda: estimate_prior(np.array([[0.5, 0.5]]), HALF, np.array([-1.0])), "finite numbers"),
        (lambda: image_weights(np.array([0, 5]), HALF), "Label 5 is no class"),
    ],
)
def test_bad_input_gets_one_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()
