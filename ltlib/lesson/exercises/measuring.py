"""The exercises of lesson 02."""

from __future__ import annotations

import math

import numpy as np

from ltlib.lesson.exercises.exercise import WrongAnswer, exercise


def _verify_adaptive_ece(answer) -> None:
    confidence, correct = np.array([0.9, 0.5, 0.8, 0.6, 0.95, 0.7]), np.array([1, 0, 0, 1, 1, 1])

    def gaps(*bins: list[int]) -> list[float]:
        return [float(correct[i].mean() - confidence[i].mean()) for i in bins]

    gap = gaps([1, 3, 5], [2, 0, 4])
    right = np.abs(gap).mean()
    given = float(answer(confidence, correct, 2))
    by_width = abs(gaps([1])[0]) / 6 + abs(gaps([0, 2, 3, 4, 5])[0]) * 5 / 6
    for wrong, hint in (
        (np.abs(gaps([0, 1, 2], [3, 4, 5])).mean(), "You cut the images in the order they come; sort them first."),
        (np.abs(gap).sum(), "You add up the gaps of the bins; weight each by the bin's share of the images."),
        (abs(np.mean(gap)), "Gaps of different sign cancel in your sum; take the absolute value in each bin."),
        (by_width, "Your bins are equally wide; here they hold equally many images."),
    ):
        if np.isclose(abs(given), wrong):
            raise WrongAnswer(f"The result of the example is {right:.3f}; you return {given:.3f}. {hint}")
    if not np.isclose(given, right):
        raise WrongAnswer(
            f"With confidences .9 .5 .8 .6 .95 .7, outcomes 1 0 0 1 1 1 and two bins the result is {right:.3f}; "
            f"you return {given:.3f}. The bins hold .5 .6 .7 and .8 .9 .95."
        )
    given = float(answer(confidence[:5], correct[:5], 2))
    three_two, two_three = np.abs(gaps([1, 3, 2], [0, 4])), np.abs(gaps([1, 3], [2, 0, 4]))
    allowed = [three_two @ [0.6, 0.4], two_three @ [0.4, 0.6]]
    if not np.isclose(given, allowed).any():
        raise WrongAnswer(
            f"Five images do not divide into two equal bins: one holds three, and its gap counts 3/5. "
            f"The result is then {allowed[0]:.3f} or {allowed[1]:.3f}; you return {given:.3f}."
        )


@exercise(_verify_adaptive_ece)
def adaptive_ece(confidence, correct, bins):
    """ECE over bins that hold equally many images (to within one): sort by confidence, then cut.

    confidence and correct have shape (N,); returns sum_b n_b/N |acc_b - conf_b|.
    """
    order = np.argsort(confidence)
    parts = np.array_split(order, bins)
    return sum(len(i) / len(order) * abs(correct[i].mean() - confidence[i].mean()) for i in parts)


def _verify_best_temperature(answer) -> None:
    logits, labels = np.array([[4.0, 0.0], [3.0, 0.0], [2.0, 0.0], [0.0, 1.0]]), np.array([0, 0, 1, 1])
    candidates = [0.25, 0.5, 1.0, 1.5, 2.0, 4.0]

    def nll(t: float) -> float:
        z = logits / t
        return float(np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(4), labels]))

    right = min(candidates, key=nll)
    given = answer(logits, labels, candidates)
    if np.ndim(given) or given not in candidates:
        raise WrongAnswer(f"Return one of the candidates; you return {given!r}.")
    if given == max(candidates, key=nll):
        raise WrongAnswer(f"T = {given:g} has the largest negative log-likelihood of all; look for the smallest.")
    if given == min(candidates, key=lambda t: nll(1 / t)):
        raise WrongAnswer(f"You return {given:g}, the best factor of the logits; temperature divides: softmax(z / T).")
    if given != right:
        raise WrongAnswer(
            f"T = {given:g} gives a negative log-likelihood of {nll(given):.3f}, but T = {right:g} gives "
            f"{nll(right):.3f}. Average -log p_y over the images, p = softmax(z / T)."
        )
    large = np.array([[2000.0, 0.0], [0.0, 900.0]])
    with np.errstate(all="ignore"):
        given = answer(large, np.array([0, 0]), [1.0, 100.0, 1000.0])
    if given != 1000.0:
        raise WrongAnswer(
            "With logits as large as 2000 your answer changes: exp overflows. Subtract each row's maximum from its "
            "logits first (the softmax stays the same), and stay with log p instead of taking the log of p."
        )


@exercise(_verify_best_temperature)
def best_temperature(logits, labels, candidates):
    """The candidate T with the smallest mean -log softmax(z / T)_y; logits (N, K), labels (N,)."""

    def nll(t):
        z = logits / t
        z = z - z.max(axis=1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        return -log_p[np.arange(len(labels)), labels].mean()

    return min(candidates, key=nll)


def _verify_balanced_softmax_loss(answer) -> None:
    z, y, counts = np.array([[1.0, 0.0, 2.0], [0.5, 0.5, 0.0]]), np.array([2, 0]), np.array([90, 9, 1])

    def loss(z: np.ndarray) -> float:
        return float(np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(2), y]))

    right = loss(z + np.log(counts))
    given = np.asarray(answer(z, y, counts), dtype=float)
    if given.ndim:
        raise WrongAnswer(f"Return the mean over the batch, one number; yours has shape {given.shape}.")
    for wrong, hint in (
        (loss(z), "This is plain cross-entropy: the counts have no effect yet."),
        (loss(z - np.log(counts)), "You divide by the counts; in training they multiply: n_k exp(z_k)."),
        (loss(z + counts), "You add the counts to the logits; n_k exp(z_k) is exp(z_k + log n_k)."),
        (2 * right, "You return the sum over the batch; return the mean."),
    ):
        if np.isclose(given, wrong):
            raise WrongAnswer(f"You return {given:.3f}, the loss is {right:.3f}. {hint}")
    if not np.isclose(given, right):
        raise WrongAnswer(f"The loss of the example is {right:.3f}; you return {given:.3f}.")
    with np.errstate(all="ignore"):
        given = np.asarray(answer(z + 1000, y, counts), dtype=float)
    if not np.isclose(given, right):
        raise WrongAnswer(
            f"Adding 1000 to all logits changes no probability, but your loss becomes {given:.3g}: exp overflows. "
            f"Add log n_k to the logits and subtract each row's maximum before exp."
        )


@exercise(_verify_balanced_softmax_loss)
def balanced_softmax_loss(z, y, counts):
    """Mean over the batch of -log( n_y exp(z_y) / sum_k n_k exp(z_k) ); z (B, K), y (B,), counts (K,)."""
    z = z + np.log(counts)
    z = z - z.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(y)), y].mean()


def _verify_binned_error(answer) -> None:
    confidence = np.array([0.9] * 9 + [0.6])
    correct = np.array([True] * 9 + [False])
    given = float(answer(confidence, correct, 2))
    if math.isclose(given, 0.0):
        raise WrongAnswer("assert binned_error(...) == 0.03 fails: you return 0. Compare accuracy and confidence.")
    one, two = float(answer(confidence, correct, 10)), 0.9 * 0.1 + 0.1 * 0.6
    if math.isclose(one, two):
        return
    why = ""
    if math.isclose(one, (0.1 + 0.6) / 2):
        why = "A bin with one image counts as much in yours as a bin with nine."
    raise WrongAnswer(
        f"assert binned_error(confidence, correct, 10) == {two:g} fails: nine images with confidence 0.9 are right, "
        f"one with 0.6 is wrong, and you return {one:g}. {why}"
    )


def _faulty_binned_error(confidence, correct, bins):
    """The expected calibration error with right-closed bins of equal width. It has one bug: find it.

    confidence, correct: (N,).
    """
    bin_of = np.ceil(confidence * bins).astype(int)
    gaps = [abs(correct[bin_of == b].mean() - confidence[bin_of == b].mean()) for b in np.unique(bin_of)]
    return np.mean(gaps)


@exercise(_verify_binned_error, _faulty_binned_error)
def binned_error(confidence, correct, bins):
    """The expected calibration error with right-closed bins of equal width.

    confidence, correct: (N,).
    """
    bin_of = np.ceil(confidence * bins).astype(int)
    gaps = [abs(correct[bin_of == b].mean() - confidence[bin_of == b].mean()) for b in np.unique(bin_of)]
    return np.average(gaps, weights=[np.mean(bin_of == b) for b in np.unique(bin_of)])
