"""The exercises of lesson 03."""

from __future__ import annotations

import math

import numpy as np

from ltlib.lesson.exercises.exercise import WrongAnswer, exercise


def _verify_concave_smoothing(answer) -> None:
    counts = np.array([110, 60, 10])
    given = np.asarray(answer(counts, 0.4, 0.1), dtype=float)
    right = 0.1 + 0.3 * np.sin(math.pi / 2 * np.array([1, 0.5, 0]))
    if given.shape == (3,) and np.allclose(given, right):
        return
    hints = {
        "That is the linear shape; bend it with a sine.": [0.4, 0.25, 0.1],
        "Head and tail are exchanged: u is 1 for the most frequent class.": right[::-1],
        "The sine is multiplied by head; it must be multiplied by head - tail.": 0.1
        + 0.4 * np.sin(math.pi / 2 * np.array([1, 0.5, 0])),
    }
    hint = next((h for h, wrong in hints.items() if given.shape == (3,) and np.allclose(given, wrong)), "")
    raise WrongAnswer(
        f"For counts 110, 60, 10 with head 0.4 and tail 0.1 the smoothing is {np.round(right, 3).tolist()}; "
        f"you return {np.round(given, 3).tolist()}. {hint}"
    )


@exercise(_verify_concave_smoothing)
def concave_smoothing(counts, head, tail):
    """The smoothing of each class: tail + (head - tail) sin(pi u / 2).

    u runs from 0 for the smallest of counts (K,) to 1 for the largest; returns shape (K,).
    """
    u = (counts - counts.min()) / (counts.max() - counts.min())
    return tail + (head - tail) * np.sin(np.pi / 2 * u)


def _verify_logit_gap(answer) -> None:
    given, right = float(answer(0.3, 10)), math.log(0.73 / 0.03)
    if math.isclose(given, right, rel_tol=1e-6):
        return
    hint = ""
    if math.isclose(given, math.log(9 * 0.7 / 0.3), rel_tol=1e-6):
        hint = "That is the gap of the paper's form; in the code's form the true class has eps / K as well."
    elif math.isclose(given, 0.73 / 0.03, rel_tol=1e-6):
        hint = "That is the ratio of the probabilities; the gap of the logits is its logarithm."
    elif math.isclose(given, -right, rel_tol=1e-6):
        hint = "The sign is wrong: the true logit is the larger one."
    raise WrongAnswer(f"With smoothing 0.3 and 10 classes the gap is {right:.4f}; you return {given:.4f}. {hint}")


@exercise(_verify_logit_gap)
def logit_gap(eps, num_classes):
    """By how much the true logit exceeds each other one at the optimum of the code's form.

    There the softmax equals the target: 1 - eps + eps / K for the true class, eps / K for each other.
    """
    other = eps / num_classes
    return np.log((1 - eps + other) / other)


def _verify_scaled_logits(answer) -> None:
    features, weight = np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    bias, scale = np.array([1.0, 0.0, -1.0]), np.array([1.0, 2.0, 0.5])
    given = np.asarray(answer(features, weight, bias, scale), dtype=float)
    linear = features @ weight.T
    right = scale * (linear + bias)
    if given.shape == right.shape and np.allclose(given, right):
        return
    hint = ""
    if given.shape != right.shape:
        hint = f"The result must have shape {right.shape}, images by classes; yours has {given.shape}."
    elif np.allclose(given, scale * linear + bias):
        hint = "The scale multiplies the bias too."
    elif np.allclose(given, linear + bias):
        hint = "The scale is missing."
    raise WrongAnswer(f"The first image has the logits {right[0].tolist()}; you return something else. {hint}")


@exercise(_verify_scaled_logits)
def scaled_logits(features, weight, bias, scale):
    """The logits of LWS and MiSLAS: features (B, D), weight (K, D), bias (K,), scale (K,) -> (B, K)."""
    return scale * (features @ weight.T + bias)


def _verify_mix(answer) -> None:
    x, y, order = np.array([[0.0], [1.0], [2.0]]), np.array([0, 1, 2]), np.array([1, 2, 0])
    mixed, first, second = answer(x, y, order, 0.75)
    if not np.allclose(mixed, [[0.25], [1.25], [1.5]]):
        raise WrongAnswer(f"The mixed images must be 0.75 x + 0.25 x[order]; yours are {np.ravel(mixed).tolist()}.")
    if np.asarray(first).tolist() != y.tolist():
        raise WrongAnswer("The first labels are those of x, unchanged.")
    if np.asarray(second).tolist() != y[order].tolist():
        raise WrongAnswer(
            f"assert second.tolist() == [1, 2, 0] fails: image 0 is mixed with image {order[0]}, and you give the pair "
            f"the labels {int(first[0])} and {int(second[0])}."
        )


def _faulty_mix(x, y, order, share):
    """Mix a batch with itself in another order: mixed images, and both labels of each. It has one bug: find it.

    x: (B, ...); y: (B,); order: a permutation of the batch; share: of the first image.
    """
    mixed = share * x + (1 - share) * x[order]
    return mixed, y, y[::-1]


@exercise(_verify_mix, _faulty_mix)
def mix(x, y, order, share):
    """Mix a batch with itself in another order: mixed images, and both labels of each.

    x: (B, ...); y: (B,); order: a permutation of the batch; share: of the first image.
    """
    mixed = share * x + (1 - share) * x[order]
    return mixed, y, y[order]
