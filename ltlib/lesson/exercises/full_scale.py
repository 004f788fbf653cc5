"""The exercises of lesson 08 on cost and on several processes."""

from __future__ import annotations

import math

from ltlib.lesson.exercises.exercise import WrongAnswer, exercise


def _verify_share(answer) -> None:
    batch = [7, 3, 9, 1, 4]
    given = [list(answer(batch, rank, 2)) for rank in range(2)]
    if given == [[7, 9, 4], [3, 1]]:
        if [list(answer(batch, rank, 3)) for rank in range(3)] != [[7, 1], [3, 4], [9]]:
            raise WrongAnswer("For two processes it is right, for three it is not: the step is their number.")
        return
    together = sorted(given[0] + given[1])
    hint = "Take the first image, or the second, and then every second one."
    if together != sorted(batch):
        hint = "Together the two must hold every image of the batch once."
    elif given == [batch[:3], batch[3:]]:
        hint = "A fair split, but the package takes every W-th image, beginning with number rank."
    raise WrongAnswer(f"Of {batch} two processes get [7, 9, 4] and [3, 1]; you give {given}. {hint}")


@exercise(_verify_share)
def share(batch, rank, processes):
    """What process `rank` (0, 1, ...) takes of a batch, a list: every image with a number rank, rank + W, ..."""
    return batch[rank::processes]


def _verify_gpu_hours(answer) -> None:
    images, forward, speed, attack_steps = 5_000_000, 1e10, 2e14, 10
    right = images * (2 * attack_steps + 3) * forward / speed / 3600
    given = float(answer(images, forward, attack_steps, speed))
    if math.isclose(given, right):
        return
    per_hour = images * forward / speed / 3600
    hints = {
        "An hour has 3600 seconds.": right * 3600,
        "A step of the attack is a forward and a backward pass.": (attack_steps + 3) * per_hour,
        "After the attack the network learns: forward, backward by the images, backward by the weights.": (
            (2 * attack_steps) * per_hour
        ),
        "The attack is missing.": 3 * per_hour,
    }
    hint = next((h for h, wrong in hints.items() if math.isclose(given, wrong)), "")
    raise WrongAnswer(f"The example takes {right:.2f} hours; you return {given:.4g}. {hint}")


@exercise(_verify_gpu_hours)
def gpu_hours(images, forward, attack_steps, speed):
    """Hours of adversarial training: images in all, operations of one forward pass of one, steps of PGD, and
    operations a second. Each backward pass, by the images or by the weights, costs as much as a forward pass."""
    passes = 2 * attack_steps + 3
    return images * passes * forward / speed / 3600
