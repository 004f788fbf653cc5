"""The exercises of lesson 05."""

from __future__ import annotations

import numpy as np

from ltlib.lesson.exercises.exercise import WrongAnswer, exercise


def _verify_fgsm_step(answer) -> None:
    x = np.array([[0.5, 0.02], [0.99, 0.3]])
    gradient = np.array([[0.3, -2.0], [0.001, 0.0]])
    given = np.asarray(answer(x, gradient, 0.1), dtype=float)
    right = np.array([[0.6, 0.0], [1.0, 0.3]])
    if given.shape == right.shape and np.allclose(given, right):
        return
    hint = ""
    if given.shape != right.shape:
        hint = f"The result must have the shape of x, {right.shape}; yours has {given.shape}."
    elif np.allclose(given, [[0.6, -0.08], [1.09, 0.3]]):
        hint = "Some values lie outside [0, 1]: that is no image."
    elif np.allclose(given, [[0.4, 0.12], [0.89, 0.3]]):
        hint = "This step makes the loss smaller: an attack climbs."
    elif np.allclose(given, np.clip(x + 0.1 * gradient, 0, 1)):
        hint = "Every pixel may move by epsilon: only the sign of its gradient counts."
    raise WrongAnswer(f"For the example the image is {right.tolist()}; you return {given.round(3).tolist()}. {hint}")


@exercise(_verify_fgsm_step)
def fgsm_step(x, gradient, epsilon):
    """One step of full size: image x in [0, 1] and the gradient of the loss for it -> adversarial image.

    Every value moves by epsilon to where the loss grows; the result must be an image again, in [0, 1].
    """
    return np.clip(x + epsilon * np.sign(gradient), 0, 1)


def _verify_into_ball(answer) -> None:
    x = np.array([0.5, 0.5, 0.05, 0.97])
    x_adv = np.array([0.53, 0.7, -0.2, 1.2])
    given, right = np.asarray(answer(x_adv, x, 0.1), dtype=float), np.array([0.53, 0.6, 0.0, 1.0])
    if given.shape == right.shape and np.allclose(given, right):
        return
    hints = {
        "Clip to [0, 1] as well.": [0.53, 0.6, -0.05, 1.07],
        "The ball lies around the clean image x, not around 0.": np.clip(x_adv, -0.1, 0.1),
        "The ball is missing: no value may be further than epsilon from x.": np.clip(x_adv, 0, 1),
        "Values that are inside stay where they are.": np.clip(x + 0.1 * np.sign(x_adv - x), 0, 1),
    }
    same = (hint for hint, wrong in hints.items() if given.shape == right.shape and np.allclose(given, wrong))
    raise WrongAnswer(
        f"For the example the result is {right.tolist()}; you return {given.round(3).tolist()}. {next(same, '')}"
    )


@exercise(_verify_into_ball)
def into_ball(x_adv, x, epsilon):
    """The projection of PGD: the image nearest to x_adv that is within epsilon of x (largest change) and in [0, 1]."""
    return np.clip(np.clip(x_adv, x - epsilon, x + epsilon), 0, 1)


def _verify_robust_accuracy(answer) -> None:
    withstood = {"A": np.array([1, 1, 0, 0, 1], bool), "B": np.array([1, 0, 1, 0, 1], bool)}
    clean = np.array([1, 1, 1, 1, 0], bool)
    given, right = float(answer(clean, withstood)), 1 / 5
    if np.isclose(given, right):
        return
    hints = {
        "That is the weaker attack's view: an image counts only if it withstands every attack.": 4 / 5,
        "An image that is wrong without any attack is not robust.": 2 / 5,
        "The smallest of the accuracies is not enough: the attacks break different images.": 3 / 5,
        "Divide by all images, not only by those that were right before.": 1 / 4,
    }
    hint = next((h for h, wrong in hints.items() if np.isclose(given, wrong)), "")
    raise WrongAnswer(f"Robust accuracy of the example is {right:.0%}; you return {given:.0%}. {hint}")


@exercise(_verify_robust_accuracy)
def robust_accuracy(clean, withstood):
    """Robust accuracy under several attacks.

    clean (N,) bool, right without attack; withstood: attack -> (N,) bool, right after it. An image counts if it is
    right without and after every attack.
    """
    return np.mean(np.logical_and.reduce([clean, *withstood.values()]))


def _verify_ascend(answer) -> None:
    x = np.full(4, 0.5)
    reached = np.asarray(answer(x, lambda image: np.array([1.0, -1.0, 2.0, 0.5]), 0.1, 0.04, 10), dtype=float)
    change = np.abs(reached - x).max()
    if change > 0.1 + 1e-9:
        raise WrongAnswer(
            f"assert np.abs(x_adv - x).max() <= 0.1 fails: after ten steps of 0.04 the change is {change:.2f}. "
            f"Around which image is the ball?"
        )
    if not np.allclose(reached, [0.6, 0.4, 0.6, 0.6]):
        raise WrongAnswer(f"Ten steps must reach the corner [0.6, 0.4, 0.6, 0.6]; yours reach {reached.tolist()}.")


def _faulty_ascend(x, gradient_at, epsilon, step_size, steps):
    """PGD without a random start; gradient_at(image) is the gradient of the loss. It has one bug: find it."""
    x_adv = x
    for _ in range(steps):
        moved = x_adv + step_size * np.sign(gradient_at(x_adv))
        x_adv = np.clip(moved, x_adv - epsilon, x_adv + epsilon).clip(0, 1)
    return x_adv


@exercise(_verify_ascend, _faulty_ascend)
def ascend(x, gradient_at, epsilon, step_size, steps):
    """PGD without a random start; gradient_at(image) is the gradient of the loss."""
    x_adv = x
    for _ in range(steps):
        moved = x_adv + step_size * np.sign(gradient_at(x_adv))
        x_adv = np.clip(moved, x - epsilon, x + epsilon).clip(0, 1)
    return x_adv
