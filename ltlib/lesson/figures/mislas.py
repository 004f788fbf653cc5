"""The figures of lesson 03: confidence by class and group, smoothing, logit gaps, BatchNorm, weight norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ltlib.errors import InputError
from ltlib.evaluation import calibration
from ltlib.lesson.figures.figure import (
    COLOURS,
    GROUP_COLOURS,
    Picture,
    class_axis,
    listing,
    mean_of,
    new_figure,
    per_cent,
    side_by_side,
)
from ltlib.lesson.figures.looks import looks
from ltlib.lesson.figures.text import plain


def confidence_by_class(
    predictions: dict[str, tuple[np.ndarray, np.ndarray]], names: Sequence[str] | None = None
) -> Picture:
    """Mean confidence and accuracy of the images that are *predicted* as each class, from head to tail.

    Args:
        predictions: network -> logits (N, K) and labels (N,).
        names: of the classes.
    """
    figure, axes = new_figure(3.6 * len(predictions), 3.3, columns=len(predictions), sharey=True)
    gaps = []
    for ax, (name, (logits, labels)) in zip(axes, predictions.items(), strict=True):
        confidence, correct = calibration.confidence_and_correct(calibration.probabilities(logits), labels)
        guess, k = logits.argmax(axis=1), np.arange(logits.shape[1])
        sure, right = (
            np.array([v[guess == c].mean() if (guess == c).any() else np.nan for c in k]) for v in (confidence, correct)
        )
        ax.plot(k, sure, "o-", ms=4, color=COLOURS[1], label="confidence")
        ax.plot(k, right, "s-", ms=4, color=COLOURS[0], label="accuracy")
        ax.fill_between(k, right, sure, color=COLOURS[1], alpha=0.2)
        gaps.append(f"{name} {confidence.mean() - correct.mean():+.1%}")
        class_axis(ax, names, len(k), "predicted class, head to tail")
        ax.set(ylim=(0, 1.03), title=f"{plain(name)}\ngap {gaps[-1].split()[-1]}")
        per_cent(ax.yaxis)
    axes[0].set_ylabel("mean over these images")
    axes[0].legend(loc="lower left")
    return Picture(
        figure, "Mean confidence and accuracy by predicted class; confidence minus accuracy: " + ", ".join(gaps)
    )


def smoothing_curves(counts: np.ndarray, curves: dict[str, np.ndarray], chosen: str) -> Picture:
    """Smoothing of each class against its training images; the chosen shape is drawn thick."""
    figure, (ax,) = new_figure(6.5, 3.3)
    for i, (name, eps) in enumerate(curves.items()):
        ax.plot(
            counts,
            eps,
            "o-",
            ms=4,
            lw=2.5 if name == chosen else 1,
            alpha=1 if name == chosen else 0.45,
            color=COLOURS[i],
            label=plain(name),
        )
    ax.set(xlabel="training images of the class", ylabel="smoothing", ylim=(-0.02, 0.62), title="Label-aware smoothing")
    ax.legend(loc="upper left")
    ends = curves[chosen]
    return Picture(
        figure,
        f"Smoothing against class size; {chosen} rises from {ends.min():.2f} at the tail to {ends.max():.2f}.",
    )


def gap_descent(gaps: dict[str, np.ndarray], targets: dict[str, float]) -> Picture:
    """The gap between the true logit and the others while free logits descend the loss; dashes mark the optimum."""
    figure, (ax,) = new_figure(6.5, 3.3)
    for i, (name, values) in enumerate(gaps.items()):
        ax.plot(np.arange(1, len(values) + 1), values, color=COLOURS[i], label=plain(name))
        if np.isfinite(targets[name]):
            ax.axhline(targets[name], color=COLOURS[i], ls="--", lw=1)
    ax.set(
        xscale="log",
        xlabel="step of gradient descent",
        ylabel="true logit minus another",
        title="The logit gap under each loss",
    )
    ax.legend(loc="upper left")
    ends = ", ".join(f"{name} {values[-1]:.2f}" for name, values in gaps.items())
    return Picture(figure, f"Logit gap during gradient descent; at the end {ends}.")


def shift_by_layer(shifts: dict[str, Sequence[float]]) -> Picture:
    """How far the mean of each BatchNorm layer moves, in standard deviations of its channels."""
    figure, (ax,) = new_figure(7, 3.2)
    width = 0.8 / len(shifts)
    for i, (name, values) in enumerate(shifts.items()):
        ax.bar(
            np.arange(len(values)) + side_by_side(len(shifts), i),
            values,
            width * 0.9,
            color=COLOURS[i],
            label=plain(name),
        )
    ax.set(
        xlabel="BatchNorm layer, from input to output",
        ylabel="shift of the mean\n(standard deviations)",
        title="Statistics of each layer against those of stage 1",
    )
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    words = ", ".join(f"{name} {np.mean(values):.3f} on average" for name, values in shifts.items())
    return Picture(figure, f"Shift of BatchNorm means by layer: {words}.")


def probability_by_group(
    predictions: dict[str, tuple[np.ndarray, np.ndarray]], groups: dict[str, np.ndarray]
) -> Picture:
    """Violins of the probability of the predicted class, for the test images of each group; a bar marks the mean.

    Args:
        predictions: network -> logits (N, K) and labels (N,).
        groups: name -> its classes, as ``shot_groups`` gives them.

    Raises:
        InputError: a group has no test image.
    """
    figure, axes = new_figure(3.4 * len(predictions), 3.3, columns=len(predictions), sharey=True)
    words = []
    for ax, (name, (logits, labels)) in zip(axes, predictions.items(), strict=True):
        confidence, _ = calibration.confidence_and_correct(calibration.probabilities(logits), labels)
        parts = {group: confidence[np.isin(labels, classes)] for group, classes in groups.items()}
        if empty := [group for group, values in parts.items() if not len(values)]:
            raise InputError(f"No test image is of the group {empty[0]!r}: leave it out.")
        bodies: dict[str, Any] = ax.violinplot(list(parts.values()), showmeans=True, showextrema=False, widths=0.8)
        for body, group in zip(bodies["bodies"], parts, strict=True):
            body.set(facecolor=GROUP_COLOURS.get(group, COLOURS[0]), alpha=0.6)
        bodies["cmeans"].set_color("0.2")
        ax.set_xticks(range(1, len(parts) + 1), list(parts))
        ax.set(ylim=(0, 1.03), title=plain(name))
        per_cent(ax.yaxis)
        words.append(f"{name}: {listing({group: mean_of(values) for group, values in parts.items()})}")
    axes[0].set_ylabel("probability of the predicted class")
    return Picture(figure, f"Probability of the predicted class by group; means: {'; '.join(words)}.")


def weight_norms(norms: dict[str, np.ndarray], counts: np.ndarray) -> Picture:
    """The length of each row of the classifier against the training images of its class.

    Args:
        norms: network -> ||w_k|| (K,), see ``Method.weight_norms``: the scale of stage 2 is in them.
        counts: (K,) training images of each class.
    """
    figure, (ax,) = new_figure(7.5, 3.2)
    for name, look in looks(norms).items():
        ax.plot(counts, norms[name], ms=5, label=plain(name), **look)
    ax.set(
        xscale="log",
        xlabel="training images of the class",
        ylabel=r"length of its row $\|w_k\|$",
        title="Weight norms of the classifier",
        ylim=(0, None),
    )
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    words = "; ".join(f"{n}: largest {v.max():.2f}, smallest {v.min():.2f}" for n, v in norms.items())
    return Picture(figure, f"Length of each row of the classifier against class size. {words}.")
