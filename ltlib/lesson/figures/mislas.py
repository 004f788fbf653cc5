"""The figures of lesson 03: confidence by class, smoothing, logit gaps, BatchNorm, scales."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ltlib.evaluation import calibration
from ltlib.lesson.figures.figure import COLOURS, Picture, class_axis, new_figure, per_cent, side_by_side
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


def scales(learnt: dict[str, np.ndarray], counts: np.ndarray) -> Picture:
    """The learnt factor of each class against its training images."""
    figure, (ax,) = new_figure(6.5, 3.2)
    for name, look in looks(learnt).items():
        ax.plot(counts, learnt[name], ms=5, label=plain(name), **look)
    ax.axhline(1, color="0.4", lw=1, ls="--")
    ax.set(
        xscale="log",
        xlabel="training images of the class",
        ylabel="learnt scale s",
        title="The scale of each class after stage 2",
    )
    ax.legend()
    words = "; ".join(f"{n}: head {v[0]:.2f}, tail {v[-1]:.2f}" for n, v in learnt.items())
    return Picture(figure, f"Learnt scale against class size. {words}.")
