"""Drawings of lessons 02, 03 and 04: the report card, two stages, smoothing, BatchNorm, three branches."""

from __future__ import annotations

import numpy as np
import torch

from ltlib.lesson.figures.drawings.sketch import (
    CLASS_COLOURS,
    DATA,
    FROZEN,
    GRADIENT,
    LEARNS,
    RESULT,
    arrow,
    box,
    note,
    sheet,
)
from ltlib.lesson.figures.figure import COLOURS, Picture, new_figure
from ltlib.methods.mislas import smoothing


def report_card() -> Picture:
    """Which numbers follow from the predictions of a run."""
    figure, ax = sheet(9, 3.0)
    box(ax, (0.1, 1.1), (1.55, 0.9), "test predictions\nlogits z (N, K)\nlabels y (N,)", DATA)
    arrow(ax, (1.65, 1.75), (2.2, 2.3))
    note(ax, (1.35, 2.2), "argmax", fontsize=8)
    arrow(ax, (1.65, 1.35), (2.2, 0.75))
    note(ax, (1.3, 0.85), "softmax", fontsize=8)
    box(ax, (2.2, 1.95), (1.7, 0.75), "confusion matrix C\ntrue x predicted")
    box(ax, (2.2, 0.35), (1.7, 0.75), "confidence of\neach prediction")
    box(ax, (4.45, 1.95), (1.7, 0.75), "accuracy of\neach class")
    box(ax, (4.45, 0.35), (1.7, 0.75), "bins: accuracy\nand confidence")
    box(ax, (6.7, 2.35), (2.15, 0.5), "many, medium, few", RESULT)
    box(ax, (6.7, 1.7), (2.15, 0.5), "overall, worst class", RESULT)
    box(ax, (6.7, 0.47), (2.15, 0.5), "ECE, confidence gap", RESULT)
    for start, end in (
        ((3.9, 2.32), (4.45, 2.32)),
        ((6.15, 2.4), (6.7, 2.58)),
        ((6.15, 2.2), (6.7, 1.98)),
        ((3.9, 0.72), (4.45, 0.72)),
        ((6.15, 0.72), (6.7, 0.72)),
    ):
        arrow(ax, start, end)
    arrow(ax, (3.05, 1.95), (4.75, 1.1), ls="--")
    note(ax, (4.15, 1.55), "right or wrong", fontsize=8)
    text = (
        "The report card. From the logits and labels of the test images follow, by argmax, the confusion matrix, the "
        "accuracy of each class, and the accuracies of many, medium and few; by softmax the confidence, the bins, "
        "and the expected calibration error."
    )
    return Picture(figure, text)


def two_stages() -> Picture:
    """What each stage of MiSLAS trains, and what it leaves alone."""
    figure, ax = sheet(9, 3.7)
    note(ax, (0.1, 3.5), "Stage 1: learn the representation", weight="bold")
    note(ax, (0.1, 1.55), "Stage 2: learn the classifier", weight="bold")
    for y, stream, body, head, loss in (
        (
            2.3,
            "images as they\ncome, mixed in pairs",
            "convolutions\n+ BatchNorm",
            "classifier W",
            "mixup\nloss",
        ),
        (
            0.35,
            "class-balanced\nimages",
            "",
            "W, small steps\nscale s, full steps",
            "label-aware\nsmoothing",
        ),
    ):
        second = y < 1
        box(ax, (0.1, y), (1.6, 0.9), stream, DATA)
        box(ax, (2.3, y), (2.3, 0.9), body, FROZEN if second else LEARNS)
        if second:
            note(ax, (3.45, y + 0.7), "convolutions: frozen", ha="center")
            box(ax, (2.45, y + 0.1), (2.0, 0.42), "BatchNorm: only the\nmeans and variances shift", LEARNS, ls="--")
        box(ax, (5.2, y), (1.7, 0.9), head, LEARNS)
        box(ax, (7.5, y), (1.4, 0.9), loss, RESULT)
        arrow(ax, (1.7, y + 0.45), (2.3, y + 0.45))
        arrow(ax, (4.6, y + 0.45), (5.2, y + 0.45), "f(x)")
        arrow(ax, (6.9, y + 0.45), (7.5, y + 0.45), "z")
        arrow(ax, (8.2, y), (6.05, y), bend=-0.22, color=GRADIENT, ls="--")
    arrow(ax, (5.9, 2.3), (3.6, 2.3), bend=-0.22, color=GRADIENT, ls="--")
    arrow(ax, (3.45, 2.3), (3.45, 1.27), "weights are kept", above=-0.02)
    note(ax, (5.0, 1.78), "dashed red: gradient.  blue: changes.  grey: stays.", color=GRADIENT)
    text = (
        "Two-stage training. In stage 1 mixed images in their natural proportions train the convolutions and the "
        "classifier. In stage 2 class-balanced images train the classifier only: the convolutions are frozen, the "
        "means and variances of BatchNorm shift, W takes small steps and the scale s full ones."
    )
    return Picture(figure, text)


def label_aware_smoothing(head: float = 0.3, counts: tuple[int, ...] = (500, 179, 38, 5)) -> Picture:
    """The training targets of an image of the largest and of one of the smallest class.

    Args:
        head: smoothing of the largest class; the smallest has none.
        counts: training images of the classes that are drawn.
    """
    figure, axes = new_figure(8, 2.6, columns=3, sharey=True)
    eps = smoothing(torch.tensor(counts), head, 0.0).numpy()
    classes = len(counts)
    for ax, y, name in zip(axes, (0, 1, classes - 1), ("largest", "second", "smallest"), strict=True):
        target = np.full(classes, eps[y] / classes)
        target[y] += 1 - eps[y]
        colours = ["#bbbbbb"] * classes
        colours[y] = CLASS_COLOURS[0 if y < 2 else 2]
        bars = ax.bar(range(classes), target, color=colours)
        ax.bar_label(bars, [f"{t:.2f}" for t in target], fontsize=8)
        ax.set(title=f"image of the {name} class\nsmoothing {eps[y]:.2f}", ylim=(0, 1.15))
        ax.set_xticks(range(classes), [f"n={n}" for n in counts], fontsize=8)
        ax.title.set_fontsize(9)
        ax.grid(axis="x", visible=False)
    axes[0].set_ylabel("target probability")
    text = (
        f"Targets of label-aware smoothing in the form of the released code: {eps[0]:.2f} of the largest class's "
        f"target is spread over all {classes} classes, so {1 - eps[0] + eps[0] / classes:.2f} remains. The smallest "
        "keeps all."
    )
    return Picture(figure, text)


def shifted_batchnorm() -> Picture:
    """What shifted BatchNorm changes: the statistics that activations are normalised with."""
    figure, axes = new_figure(8.4, 2.7, columns=2, sharey=True)
    x = np.linspace(-3.2, 5.2, 300)

    def bell(mean: float, sd: float) -> np.ndarray:
        return np.exp(-(((x - mean) / sd) ** 2) / 2) / sd

    for ax, mean, sd, title in (
        (axes[0], 0.0, 1.0, "statistics of stage 1"),
        (axes[1], 1.2, 1.3, "shifted statistics"),
    ):
        ax.fill_between(x, bell(1.2, 1.3), color=COLOURS[2], alpha=0.25, label="activations, balanced images")
        ax.plot(x, bell(mean, sd), color=COLOURS[0], lw=2, label="running mean and variance")
        ax.axvline(mean, color=COLOURS[0], lw=1.2, ls="--")
        ax.set(title=title, xlabel="activation of one channel", xticks=[-2, 0, 2, 4], yticks=[])
        ax.grid(visible=False)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    text = (
        "Shifted BatchNorm, a sketch with invented numbers. Left, the running statistics of stage 1 do not fit the "
        "activations of class-balanced images. Right, they have moved to fit; no weight has changed."
    )
    return Picture(figure, text)


def branches() -> Picture:
    """ResLT: one trunk, three light branches with nested sets of classes, one classifier, one sum."""
    figure, ax = sheet(9, 3.3)
    box(ax, (0.1, 1.2), (1.0, 0.9), "image", DATA)
    box(ax, (1.55, 1.0), (1.3, 1.3), "trunk\nfeature maps", LEARNS)
    box(ax, (5.45, 0.25), (1.1, 2.75), "one\nshared\nclassifier", LEARNS)
    sets = ("all classes", "medium and few", "few")
    for row, (name, of, colour) in enumerate(zip("HMT", sets, ("#0173b2", "#029e73", "#d55e00"), strict=True)):
        y = 2.4 - row
        box(ax, (3.2, y - 0.28), (1.75, 0.78), f"branch {name}: BatchNorm\nlearns {of}", LEARNS, ec=colour, lw=2)
        arrow(ax, (2.85, 1.65), (3.2, y + 0.1))
        arrow(ax, (4.95, y + 0.1), (5.45, y + 0.1))
        arrow(ax, (6.55, y + 0.1), (7.65, 1.65), color=colour)
        note(ax, (6.65, y + (-0.1 if row == 2 else 0.3)), f"logits {name}", color=colour)
    arrow(ax, (1.1, 1.65), (1.55, 1.65))
    box(ax, (7.65, 1.35), (0.55, 0.6), "+", RESULT)
    box(ax, (8.35, 1.35), (0.6, 0.6), "class", RESULT)
    arrow(ax, (8.2, 1.65), (8.35, 1.65))
    text = (
        "ResLT. The feature maps of one trunk go through three branches, on CIFAR a BatchNorm each, and then through "
        "one shared classifier. Branch H learns all classes, M the medium and few, T only the few; the decision is "
        "the largest entry of the sum of their logits."
    )
    return Picture(figure, text)
