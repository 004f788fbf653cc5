"""Test sets with other class frequencies than the training set, or than the balanced test sets of the papers.

All of it is computed from stored logits, without training. A test set with the frequencies pi is simulated by weights:
an image of class k counts pi_k / n_k, with n_k test images of the class. No image is left out, so nothing is drawn.

Saerens, Latinne and Decaestecker 2002, "Adjusting the outputs of a classifier to new a priori probabilities", for the
adjustment and its EM; the forward and backward long tails are those of SADE (Zhang et al. 2022, arXiv 2107.09249).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ltlib.errors import InputError, check_choice
from ltlib.evaluation.calibration import probabilities
from ltlib.evaluation.valid import check_labels, check_logits, check_probabilities

SHAPES = ("uniform", "forward", "backward")
LEARNT = ("train", "uniform")


def shaped_prior(counts: np.ndarray, shape: str, factor: float = 10.0) -> np.ndarray:
    """Frequencies of the classes in a test set, (K,), with sum 1.

    Args:
        counts: (K,) training images of each class; they say which class is frequent.
        shape: ``uniform``; ``forward``, the exponential profile with the training set's most frequent class first; or
            ``backward``, the same profile with its rarest class first.
        factor: largest frequency over the smallest, at least 1.

    Raises:
        InputError: a value is not allowed.
    """
    check_choice("shape", shape, SHAPES)
    if not 1 <= factor < np.inf:
        raise InputError(f"factor is the largest frequency over the smallest, a number from 1; got {factor}.")
    classes = len(counts)
    if shape == "uniform" or classes == 1:
        return np.full(classes, 1 / classes)
    # pi of rank r is proportional to factor^(-r / (K - 1))
    profile = factor ** (-np.arange(classes) / (classes - 1))
    order = np.argsort(-np.asarray(counts), kind="stable")
    prior = np.empty(classes)
    prior[order if shape == "forward" else order[::-1]] = profile
    return prior / prior.sum()


def image_weights(labels: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """How much each image counts, (N,) with sum 1, so that classes have the frequencies of ``prior`` (K,).

    Raises:
        InputError: a class that should occur has no image, or the prior is no distribution.
    """
    prior = _checked(prior, "prior")
    check_labels(labels, len(labels), len(prior))
    present = np.bincount(labels, minlength=len(prior))
    if ((present == 0) & (prior > 0)).any():
        missing = int(((present == 0) & (prior > 0)).argmax())
        raise InputError(f"Class {missing} has no test image, so no test set with this prior can be made of them.")
    weights = prior[labels] / present[labels]
    return weights / weights.sum()


def adjust(logits: np.ndarray, learnt: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Logits for a test set of another prior: z_k + log(pi_k / q_k), Saerens et al., equation 2.4, in logarithms.

    Args:
        logits: (N, K).
        learnt: q (K,), the frequencies at which the model's probabilities are right: those of the training set for
            plain cross-entropy, uniform for a method that balances.
        prior: pi (K,), of the test set. A class with frequency 0 is never predicted.

    Raises:
        InputError: a value is not finite, or a prior is no distribution; ``learnt`` must be above 0 throughout.
    """
    check_logits(logits)
    learnt, prior = _checked(learnt, "learnt"), _checked(prior, "prior")
    if not (len(learnt) == len(prior) == logits.shape[1]):
        raise InputError(f"Expected priors of {logits.shape[1]} classes; got {len(learnt)} and {len(prior)}.")
    if not (learnt > 0).all():
        raise InputError("The prior a model has learnt must be above 0 for every class: it could not know the others.")
    shift = np.full(len(prior), -1e9)  # finite: logits that are not would be refused by every metric
    np.log(prior / learnt, out=shift, where=prior > 0)
    return logits + shift


class Estimate(NamedTuple):
    """A prior that was estimated.

    Attributes:
        prior: (K,).
        steps: of EM until it stood still.
        likelihood: mean log-likelihood of the images at each step, up to a constant; it never falls.
    """

    prior: np.ndarray
    steps: int
    likelihood: list[float]


def estimate_prior(
    p: np.ndarray, learnt: np.ndarray, weights: np.ndarray | None = None, *, steps: int = 1000, tolerance: float = 1e-8
) -> Estimate:
    """The test set's prior without its labels, by EM (Saerens et al., equation 2.9).

    E: r_ik = p_ik pi_k / q_k, normalised over k. M: pi_k = mean over images of r_ik. The result is the maximum of the
    likelihood if p is calibrated for q; where it is not, neither is the estimate right.

    Args:
        p: (N, K) probabilities of the model.
        learnt: q (K,), see :func:`adjust`.
        weights: (N,), how much each image counts; equally by default.
        steps: at most so many.
        tolerance: the largest change of a frequency at which EM stops.

    Raises:
        InputError: p or ``learnt`` holds no distribution, or the weights are not usable.
    """
    check_probabilities(p)
    learnt = _checked(learnt, "learnt")
    if len(learnt) != p.shape[1] or not (learnt > 0).all():
        raise InputError(f"learnt must hold {p.shape[1]} frequencies above 0; got {learnt.tolist()}.")
    weights = np.full(len(p), 1 / len(p)) if weights is None else np.asarray(weights, dtype=np.float64)
    if weights.shape != (len(p),) or not (np.isfinite(weights).all() and weights.min() >= 0 and weights.sum() > 0):
        raise InputError(f"The weights must be {len(p)} finite numbers, not negative and not all 0.")
    weights = weights / weights.sum()
    ratio, prior, likelihood = p / learnt, learnt, []
    for _ in range(steps):
        joint = ratio * prior
        total = joint.sum(axis=1, keepdims=True)
        likelihood.append(float(weights @ np.log(total[:, 0])))
        following = weights @ (joint / total)
        moved = np.abs(following - prior).max()
        prior = following
        if moved < tolerance:
            break
    return Estimate(prior, len(likelihood), likelihood)


def under_prior(logits: np.ndarray, labels: np.ndarray, prior: np.ndarray, learnt: np.ndarray) -> dict[str, float]:
    """Accuracy on a test set with the frequencies of ``prior``, three ways.

    Args:
        logits, labels: (N, K) and (N,) of the balanced test set.
        prior: (K,), of the test set.
        learnt: (K,), see :func:`adjust`.

    Returns:
        ``as it is``; ``known prior``, adjusted to ``prior``; ``estimated prior``, adjusted to what EM finds without
        labels; and ``error of the estimate``, half the sum of its absolute differences from ``prior``.

    Raises:
        InputError: see :func:`adjust` and :func:`image_weights`.
    """
    check_logits(logits, labels)
    weights = image_weights(labels, prior)
    found = estimate_prior(probabilities(logits), learnt, weights).prior
    ways = {
        "as it is": logits,
        "known prior": adjust(logits, learnt, prior),
        "estimated prior": adjust(logits, learnt, found),
    }
    accuracy = {name: float(weights @ (z.argmax(axis=1) == labels)) for name, z in ways.items()}
    return accuracy | {"error of the estimate": float(np.abs(found - prior).sum() / 2)}


def read_prior(text: str, counts: np.ndarray) -> np.ndarray:
    """The prior that a command line names: ``uniform``, ``forward`` or ``backward``, with a factor ``backward:50``.

    Raises:
        InputError: the text names no prior.
    """
    shape, _, factor = text.partition(":")
    try:
        return shaped_prior(counts, shape, float(factor or 10))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"The factor of prior {text!r} must be a number, such as {shape}:50.") from None


def prior_rows(
    logits: np.ndarray, labels: np.ndarray, counts: np.ndarray, priors: list[str], learnt: str = "train"
) -> list[dict[str, object]]:
    """:func:`under_prior` for several priors, a row each, ready for a table.

    Args:
        logits, labels: of the balanced test set.
        counts: (K,) training images of each class.
        priors: texts for :func:`read_prior`.
        learnt: ``train``, for a model whose probabilities follow the training set's frequencies; or ``uniform``, for
            one that balances the classes.

    Raises:
        InputError: a value is not allowed.
    """
    check_choice("learnt", learnt, LEARNT)
    model = np.asarray(counts) / np.sum(counts) if learnt == "train" else np.full(len(counts), 1 / len(counts))
    return [{"prior": text, **under_prior(logits, labels, read_prior(text, counts), model)} for text in priors]


def _checked(prior: np.ndarray, name: str) -> np.ndarray:
    prior = np.asarray(prior, dtype=np.float64)
    if prior.ndim != 1 or not (np.isfinite(prior).all() and (prior >= 0).all() and abs(prior.sum() - 1) < 1e-6):
        raise InputError(f"{name} must hold the frequencies of the classes, at least 0 and with sum 1.")
    return prior
