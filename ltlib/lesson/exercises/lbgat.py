"""The exercises of lesson 06."""

from __future__ import annotations

import numpy as np

from ltlib.lesson.exercises.exercise import WrongAnswer, exercise


def _verify_guided_loss(answer) -> None:
    robust = np.array([[1.0, 2.0, 0.0], [0.0, -1.0, 3.0]])
    natural = np.array([[2.0, 2.0, 0.0], [0.0, 1.0, 2.0]])
    labels = np.array([1, 2])
    log_p = natural - np.log(np.exp(natural).sum(1, keepdims=True))
    cross_entropy, squares = -log_p[[0, 1], labels].mean(), ((robust - natural) ** 2)
    given, right = float(answer(robust, natural, labels)), squares.mean() + cross_entropy
    if np.isclose(given, right):
        return
    log_q = robust - np.log(np.exp(robust).sum(1, keepdims=True))
    hints = {
        "The mean of the squares runs over the images and the classes.": squares.sum(1).mean() + cross_entropy,
        "The labels teach the natural network, not the robust one.": squares.mean() - log_q[[0, 1], labels].mean(),
        "The natural network has to learn too: its cross-entropy is missing.": squares.mean(),
        "The mean of the squares is missing.": cross_entropy,
    }
    hint = next((h for h, wrong in hints.items() if np.isclose(given, wrong)), "")
    raise WrongAnswer(f"The loss of the example is {right:.4f}; you return {given:.4f}. {hint}")


@exercise(_verify_guided_loss)
def guided_loss(robust, natural, labels):
    """The loss of LBGAT with alpha = 0, a number; the formula is above.

    robust (B, K): logits of R on adversarial images; natural (B, K): logits of T on the clean
    ones; labels (B,).
    """
    log_p = natural - np.log(np.exp(natural).sum(axis=1, keepdims=True))
    return np.mean((robust - natural) ** 2) - np.mean(log_p[np.arange(len(labels)), labels])


def _verify_divergence(answer) -> None:
    log_p = np.array([[np.log(0.75), np.log(0.25), -2000.0], [np.log(0.5), np.log(0.25), np.log(0.25)]])
    log_q = np.log(np.array([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]))
    right = np.array([0.75 * np.log(1.5), 0.5 * np.log(2) - 0.25 * np.log(2)])
    with np.errstate(all="ignore"):
        given = np.asarray(answer(log_p, log_q), dtype=float)
    if given.shape == right.shape and np.allclose(given, right):
        return
    hint = ""
    if given.shape != right.shape:
        hint = f"One value for each image, shape {right.shape}; yours has {given.shape}."
    elif not np.isfinite(given).all():
        hint = "exp(-2000) is 0, and the logarithm of 0 is -inf: stay with the logarithms you are given."
    elif np.allclose(given, -right):
        hint = "The sign is turned round: a divergence is never negative."
    elif np.allclose(given, (np.exp(log_q) * (log_q - log_p)).sum(1)):
        hint = "That is KL(q || p): the clean prediction p weighs the terms."
    raise WrongAnswer(f"For the example KL is {right.round(4).tolist()}; you return {given.round(4).tolist()}. {hint}")


@exercise(_verify_divergence)
def divergence(log_p, log_q):
    """KL(p || q) of each image, (B,), from log-probabilities (B, K), where p can underflow to 0."""
    return np.sum(np.exp(log_p) * (log_p - log_q), axis=1)


def _verify_kl_start(answer) -> None:
    x, random = np.linspace(0, 1, 50), np.random.default_rng(0)
    start = np.asarray(answer(x, 0.03, random), dtype=float)
    if np.array_equal(start, x):
        raise WrongAnswer(
            "assert not np.array_equal(start, x) fails: at the clean image the divergence from the clean prediction is "
            "0, its smallest value, and its gradient is 0 as well. The attack would never move."
        )
    if np.abs(start - x).max() > 0.03 or start.min() < 0 or start.max() > 1:
        raise WrongAnswer("The start must be within epsilon of x, and an image in [0, 1].")


def _faulty_kl_start(x, epsilon, random):
    """Where an attack on KL(p(x) || p(x_adv)) starts: an image near x in [0, 1].

    It has one bug: find it.
    random: a generator of NumPy.
    """
    return np.clip(x.copy(), 0, 1)


@exercise(_verify_kl_start, _faulty_kl_start)
def kl_start(x, epsilon, random):
    """Where an attack on KL(p(x) || p(x_adv)) starts: an image near x in [0, 1].

    random: a generator of NumPy.
    """
    near = x + 0.001 * random.standard_normal(x.shape)
    return np.clip(near, x - epsilon, x + epsilon).clip(0, 1)
