"""The exercises of lesson 04."""

from __future__ import annotations

import numpy as np

from ltlib.lesson.exercises.exercise import WrongAnswer, exercise


def _verify_nested_sets(answer) -> None:
    counts = np.array([500, 100, 20, 19, 101])
    given = np.asarray(answer(counts))
    right = np.array([[1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 0, 1, 0]], dtype=bool)
    if given.shape == right.shape and (given == right).all():
        return
    hint = ""
    if given.shape != right.shape:
        hint = f"The result must have shape {right.shape}, branches by classes; yours has {given.shape}."
    elif (given == [[1, 0, 0, 0, 1], [0, 1, 1, 0, 0], [0, 0, 0, 1, 0]]).all():
        hint = "These sets are apart: nested, H learns all classes, and M the tail as well."
    elif (given == [[1, 1, 1, 1, 1], [0, 0, 1, 1, 0], [0, 0, 0, 1, 0]]).all():
        hint = "A class of exactly 100 images is medium: head means more than 100."
    elif (given == [[1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 1, 1, 0]]).all():
        hint = "A class of exactly 20 images is medium: tail means fewer than 20."
    raise WrongAnswer(
        f"For counts {counts.tolist()} the sets are {right.astype(int).tolist()}; "
        f"you return {given.astype(int).tolist()}. {hint}"
    )


@exercise(_verify_nested_sets)
def nested_sets(counts):
    """The sets of H, M and T: counts (K,) -> bool (3, K).

    H learns every class, M those of at most 100 training images, T those of fewer than 20.
    """
    return np.stack([counts > 0, counts <= 100, counts < 20])


def _verify_joint_loss(answer) -> None:
    losses = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 10.0]])
    learnt = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1]], dtype=bool)
    given, right = float(answer(losses, learnt)), 27 / 6
    if np.isclose(given, right):
        return
    hints = {
        "That is a mean for each branch, added up: all pairs share one denominator.": 2 + 5.5 + 10,
        "That is the mean of the branches' means: all pairs share one denominator.": (2 + 5.5 + 10) / 3,
        "The denominator is the number of pairs that count, not of all pairs.": 27 / 9,
        "The denominator is the number of pairs that count, not of images.": 27 / 3,
        "Pairs of an image and a branch that does not learn it must not count.": losses.mean(),
    }
    hint = next((h for h, wrong in hints.items() if np.isclose(given, wrong)), "")
    raise WrongAnswer(f"The loss of the example is {right:.3f}; you return {given:.3f}. {hint}")


@exercise(_verify_joint_loss)
def joint_loss(losses, learnt):
    """The loss of the branches on their own classes, a number.

    losses (J, B) is the cross-entropy of each branch on each image, learnt (J, B) says which of these pairs count.
    """
    return (losses * learnt).sum() / learnt.sum()


def _verify_folded(answer) -> None:
    weight, bias = np.array([[1.0, 2.0], [3.0, 4.0], [0.0, 1.0]]), np.array([1.0, 0.0, -1.0])
    scales, shifts = np.array([[1.0, 2.0], [0.5, 1.0]]), np.array([[0.0, 1.0], [1.0, 1.0]])
    right = weight * scales.sum(0), weight @ shifts.sum(0) + 2 * bias
    try:
        w, b = (np.asarray(part, dtype=float) for part in answer(weight, bias, scales, shifts))
    except (TypeError, ValueError):
        raise WrongAnswer("Return two things, the folded weight (K, D) and the folded bias (K,).") from None
    if (
        w.shape == right[0].shape
        and b.shape == right[1].shape
        and np.allclose(w, right[0])
        and np.allclose(b, right[1])
    ):
        return
    hint = ""
    if (w.shape, b.shape) != ((3, 2), (3,)):
        hint = f"The shapes must be (3, 2) and (3,); yours are {w.shape} and {b.shape}."
    elif np.allclose(b, weight @ shifts.sum(0) + bias):
        hint = "The bias enters once for each branch."
    elif np.allclose(b, 2 * bias):
        hint = "The shifts are missing: W also maps the sum of the c_j."
    elif np.allclose(w, 2 * weight):
        hint = "The scales are missing: each feature is multiplied by the sum of the a_j."
    raise WrongAnswer(
        f"In the example the folded bias is {right[1].tolist()} and the first row of the folded weight "
        f"{right[0][0].tolist()}; yours are {b.tolist()} and {np.atleast_2d(w)[0].tolist()}. {hint}"
    )


@exercise(_verify_folded)
def folded(weight, bias, scales, shifts):
    """One linear classifier for the sum over branches of W (a_j * h + c_j) + b.

    weight (K, D), bias (K,), scales a_j and shifts c_j (J, D) -> the folded weight (K, D) and bias (K,).
    """
    return weight * scales.sum(0), weight @ shifts.sum(0) + len(scales) * bias


def _verify_branch_means(answer) -> None:
    losses = np.array([[1.0, 2.0, 3.0], [4.0, 4.0, 4.0]])
    given = np.asarray(answer(losses, np.array([[1, 1, 1], [0, 0, 0]], dtype=bool)), dtype=float)
    if not np.isfinite(given).all():
        raise WrongAnswer(
            f"assert np.isfinite(...).all() fails: in this batch no image belongs to the second branch, and you return "
            f"{given.tolist()}. Such a branch has the loss 0."
        )
    if not np.allclose(given, [2.0, 0.0]):
        raise WrongAnswer(f"A branch without images has the loss 0, the other the mean 2; you return {given.tolist()}.")
    given = np.asarray(answer(losses, np.array([[1, 1, 1], [1, 0, 1]], dtype=bool)), dtype=float)
    if not np.allclose(given, [2.0, 4.0]):
        raise WrongAnswer(f"With images in both branches the means are 2 and 4; you return {given.tolist()}.")


def _faulty_branch_means(losses, learnt):
    """The mean loss of each branch over its own images. It has one bug, which needs a special batch: find it.

    losses: (J, B), the loss of each branch on each image; learnt: (J, B) bool, which of these count.
    """
    with np.errstate(invalid="ignore"):
        return (losses * learnt).sum(axis=1) / learnt.sum(axis=1)


@exercise(_verify_branch_means, _faulty_branch_means)
def branch_means(losses, learnt):
    """The mean loss of each branch over its own images.

    losses: (J, B), the loss of each branch on each image; learnt: (J, B) bool, which of these count.
    """
    return (losses * learnt).sum(axis=1) / np.maximum(learnt.sum(axis=1), 1)
