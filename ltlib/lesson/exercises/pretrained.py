"""The exercises of lesson 09."""

from __future__ import annotations

import numpy as np

from ltlib.lesson.exercises.exercise import WrongAnswer, exercise

FEATURES = np.array([[2.0, 0.0], [4.0, 0.0], [0.0, 1.0], [0.0, 2.0], [0.0, 3.0], [3.0, 3.0]])
LABELS = np.array([0, 0, 1, 1, 1, 2])


def _verify_class_means(answer) -> None:
    right = np.array([[3.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    given = np.asarray(answer(FEATURES, LABELS, 3), dtype=float)
    if given.shape != right.shape:
        raise WrongAnswer(f"Three classes and two dimensions give means of shape (3, 2); yours have {given.shape}.")
    sums = right * [[2], [3], [1]]
    for wrong, hint in (
        (sums, "These are sums; divide each by the number of images of its class."),
        (sums / 6, "You divide by all six images; divide each sum by the images of its own class."),
        (np.repeat(FEATURES.mean(axis=0)[None], 3, axis=0), "Every row is the mean of all images; choose by label."),
    ):
        if np.allclose(given, wrong):
            raise WrongAnswer(hint)
    if not np.allclose(given, right):
        raise WrongAnswer(f"The means of the example are {right.tolist()}; you return {given.tolist()}.")


@exercise(_verify_class_means)
def class_means(features, labels, classes):
    """The mean feature of each class, (classes, D); features (N, D), labels (N,) from 0 to classes - 1.

    Example: features [[2, 0], [4, 0], [0, 1]] with labels [0, 0, 1] have the means [[3, 0], [0, 1]].
    """
    return np.stack([features[labels == k].mean(axis=0) for k in range(classes)])


def _verify_cosine_logits(answer) -> None:
    means = np.array([[3.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    features = np.array([[2.0, 0.0], [1.0, 1.0]])
    right = 10 * np.array([[1, 0, np.sqrt(0.5)], [np.sqrt(0.5), np.sqrt(0.5), 1]])
    given = np.asarray(answer(features, means, 10.0), dtype=float)
    if given.shape != right.shape:
        raise WrongAnswer(f"Two images and three classes give logits of shape (2, 3); yours have {given.shape}.")
    longer = np.asarray(answer(features * [[1], [5]], means, 10.0), dtype=float)
    if not np.allclose(given, longer):
        raise WrongAnswer(
            "assert cosine_logits(5 * features, ...) == cosine_logits(features, ...) fails: a longer feature has the "
            "same direction, and so the same cosines. Which axis do you take the length along?"
        )
    if not np.allclose(given, right):
        raise WrongAnswer(f"The logits of the example are {right.round(2).tolist()}; you return {given.tolist()}.")


def _faulty_cosine_logits(features, means, scale):
    """scale times the cosine between each feature and each class mean, (N, K). It has one bug: find it.

    features: (N, D); means: (K, D).
    """
    features = features / np.linalg.norm(features, axis=0, keepdims=True)
    means = means / np.linalg.norm(means, axis=1, keepdims=True)
    return scale * features @ means.T


@exercise(_verify_cosine_logits, _faulty_cosine_logits)
def cosine_logits(features, means, scale):
    """scale times the cosine between each feature and each class mean, (N, K).

    features: (N, D); means: (K, D).
    """
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    means = means / np.linalg.norm(means, axis=1, keepdims=True)
    return scale * features @ means.T
