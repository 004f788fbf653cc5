"""The exercises of lesson 10: an accuracy to decide by, and a split without a leak."""

from __future__ import annotations

import math

import numpy as np

from ltlib.lesson.exercises.exercise import WrongAnswer, exercise


def _verify_class_balanced(answer) -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 0, 1, 1, 0, 0])
    given = float(answer(predicted, labels))
    right = (3 / 4 + 1 / 2 + 0) / 3
    if math.isclose(given, right):
        return
    why = ""
    if math.isclose(given, 4 / 7):
        why = "That is the share of all images, in which class 0 counts four times as much as class 2."
    elif math.isclose(given, (3 / 5 + 1 / 2) / 2):
        why = "You group the images by what is predicted. Group them by their true class."
    elif math.isclose(given, (3 / 4 + 1 / 2) / 2):
        why = "A class without a right answer counts as well, with 0."
    raise WrongAnswer(
        f"Of the classes 0, 1 and 2 the shares 3/4, 1/2 and 0 are right, so the mean is {right:.3f}; you return "
        f"{given:.3f}. {why}"
    )


@exercise(_verify_class_balanced)
def class_balanced(predicted, labels):
    """The accuracy in which every class of labels counts the same; predicted (N,), labels (N,)."""
    return np.mean([np.mean(predicted[labels == k] == k) for k in np.unique(labels)])


NAMES = ["wren1_a.jpg", "wren1_b.jpg", "wren1_c.jpg", "wren2_a.jpg", "wren2_b.jpg", "wren3_a.jpg"]


def _verify_held_out(answer) -> None:
    given = [bool(held) for held in answer(NAMES, 2)]
    if len(given) != len(NAMES):
        raise WrongAnswer(f"Return one True or False for each of the {len(NAMES)} names; you return {len(given)}.")
    bursts = [name.partition("_")[0] for name in NAMES]
    held, kept = ({burst for burst, out in zip(bursts, given, strict=True) if out is side} for side in (True, False))
    if both := sorted(held & kept):
        raise WrongAnswer(
            f"assert not held & kept fails: pictures of the burst {both[0]} are held out and trained on. They show the "
            "same bird in the same second."
        )
    if held != {"wren1", "wren3"}:
        raise WrongAnswer(f"Of three bursts every second one is held out: wren1 and wren3. Yours are {sorted(held)}.")


def _faulty_held_out(names, every):
    """True for each name that is held out: all pictures of every `every`-th burst. It has one bug: find it.

    wren2_a.jpg and wren2_b.jpg are pictures of one burst, wren2.
    """
    bursts = [name.partition("_")[0] for name in names]
    chosen = set(names[::every])
    return [name in chosen for name, burst in zip(names, bursts, strict=True)]


@exercise(_verify_held_out, _faulty_held_out)
def held_out(names, every):
    """True for each name that is held out: all pictures of every `every`-th burst.

    wren2_a.jpg and wren2_b.jpg are pictures of one burst, wren2.
    """
    bursts = [name.partition("_")[0] for name in names]
    chosen = set(sorted(set(bursts))[::every])
    return [burst in chosen for name, burst in zip(names, bursts, strict=True)]
