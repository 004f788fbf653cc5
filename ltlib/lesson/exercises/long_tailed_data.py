"""The exercises of lesson 01."""

from __future__ import annotations

import numpy as np

from ltlib.lesson.exercises.exercise import WrongAnswer, exercise


def _verify_step_counts(answer) -> None:
    for arguments, right, hint in (
        ((10, 500, 100), [500] * 5 + [5] * 5, "The first half of the classes keeps n_max, the other half n_max / IF."),
        ((5, 500, 100), [500] * 2 + [5] * 3, "With an odd number of classes the head has K // 2 of them."),
        ((4, 500, 300), [500] * 2 + [1] * 2, "500 / 300 is 1.67: images cannot be cut, and the recipe truncates."),
    ):
        given = np.asarray(answer(*arguments))
        if given.tolist() != right:
            asked = "num_classes={}, n_max={}, imbalance_factor={}".format(*arguments)
            raise WrongAnswer(f"For {asked} the counts are {right}; you return {given.tolist()}. {hint}")


@exercise(_verify_step_counts)
def step_counts(num_classes, n_max, imbalance_factor):
    """Images of each class, head first, as a list: the step profile."""
    head = num_classes // 2
    few = int(n_max / imbalance_factor)
    return [n_max] * head + [few] * (num_classes - head)


def _verify_image_probabilities(answer) -> None:
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2])
    given = np.asarray(answer(labels), dtype=float)
    if given.shape != labels.shape:
        raise WrongAnswer(
            f"Return one probability an image: shape {labels.shape}; yours has shape {given.shape}. "
            f"Index the probabilities of the classes with labels."
        )
    if not np.isclose(given.sum(), 1):
        raise WrongAnswer(
            f"The probabilities of all images must add up to 1; yours add up to {given.sum():.4g}. "
            f"Choosing one of K classes costs a factor 1 / K."
        )
    by_class = np.bincount(labels, weights=given)
    if not np.allclose(by_class, 1 / 3):
        raise WrongAnswer(
            f"Each of the 3 classes must be drawn with probability 1/3; with yours the classes get "
            f"{by_class.round(3).tolist()}. Divide the share of a class by its own number of images."
        )
    if not np.allclose(given[labels == 0], 1 / 18):
        raise WrongAnswer("Images of one class must all have the same probability; in class 0 yours differ.")


@exercise(_verify_image_probabilities)
def image_probabilities(labels):
    """Probability of each image under class-balanced sampling, shape (N,).

    labels: array (N,) of the class of each image, 0..K-1.
    """
    counts = np.bincount(labels)
    return 1 / (len(counts) * counts[labels])


def _verify_repeats(answer) -> None:
    counts = np.array([90, 9, 1])
    given = np.asarray(answer(counts), dtype=float)
    right = counts.sum() / (3 * counts)
    if given.shape != counts.shape:
        raise WrongAnswer(f"Return one number a class: shape {counts.shape}; yours has shape {given.shape}.")
    if np.allclose(given, right * counts):
        raise WrongAnswer(
            "You return how often a class is drawn in an epoch; divide by its images to get how often each one is."
        )
    if not np.allclose(given, right):
        raise WrongAnswer(
            f"For counts [90, 9, 1] an epoch draws 100 images, a third of them from each class, so that each image is "
            f"shown {right.round(2).tolist()} times; you return {given.round(2).tolist()}."
        )


@exercise(_verify_repeats)
def repeats_per_epoch(counts):
    """How often an epoch of class-balanced sampling shows each image of a class, shape (K,).

    counts: array (K,) of the images of each class; an epoch has as many draws as there are images.
    """
    drawn = counts.sum() / len(counts)
    return drawn / counts


def _verify_balanced_draw(answer) -> None:
    labels, random = np.repeat([0, 1, 2], [80, 15, 5]), np.random.default_rng(0)
    drawn = np.array([labels[answer(labels, random)] for _ in range(3000)])
    shares = np.bincount(drawn, minlength=3) / len(drawn)
    if np.abs(shares - 1 / 3).max() < 0.05:  # six standard errors
        return
    why = ""
    if np.abs(shares - [0.8, 0.15, 0.05]).max() < 0.05:
        why = "These are the shares of the data. A class must be drawn without regard to how many images it has."
    raise WrongAnswer(
        f"assert every class has a third of the draws fails: of 3000 draws the classes have the shares "
        f"{shares.round(2).tolist()}. {why}"
    )


def _faulty_balanced_draw(labels, random):
    """The position of one image, drawn class-balanced: first a class, then one of its images. It has one bug: find it.

    labels: (N,); random: a generator of NumPy.
    """
    of_class = labels[random.integers(len(labels))]
    return random.choice(np.flatnonzero(labels == of_class))


@exercise(_verify_balanced_draw, _faulty_balanced_draw)
def balanced_draw(labels, random):
    """The position of one image, drawn class-balanced: first a class, then one of its images.

    labels: (N,); random: a generator of NumPy.
    """
    of_class = random.choice(np.unique(labels))
    return random.choice(np.flatnonzero(labels == of_class))
