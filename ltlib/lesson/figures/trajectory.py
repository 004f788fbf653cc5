"""A training as it went: where some test images are, and what is predicted for each class, after one epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ltlib.errors import InputError
from ltlib.lesson.figures.figure import COLOURS, GROUP_COLOURS, Picture, class_axis, new_figure, per_cent
from ltlib.lesson.figures.text import plain


def after(
    trajectory: dict[str, np.ndarray],
    epoch: int,
    groups: dict[str, np.ndarray],
    names: Sequence[str] | None = None,
    title: str = "",
) -> Picture:
    """Features of test images in the plane, and accuracy and confidence of each class, after one epoch.

    The axes are the same for all epochs. A wrong prediction is a cross.

    Args:
        trajectory: the arrays of :func:`ltlib.results.trajectories.compute`.
        epoch: one of its ``epochs``.
        groups: name -> its classes, as ``shot_groups`` gives them; they are the colours.
        names: of the classes.
        title: what is trained.

    Raises:
        InputError: the trajectory has no such epoch.
    """
    epochs = trajectory["epochs"].tolist()
    if epoch not in epochs:
        raise InputError(f"The trajectory has no epoch {epoch}: it has {', '.join(map(str, epochs))}.")
    at = epochs.index(epoch)
    accuracy, confidence = (trajectory[f"class_{kind}"][at].astype(float) for kind in ("accuracy", "confidence"))
    points, labels = trajectory["points"].astype(float), trajectory["labels"]
    right = trajectory["predicted"][at] == labels
    figure, (left, ax) = new_figure(9.5, 3.8, columns=2)
    for group, classes in groups.items():
        of_group, colour = np.isin(labels, classes), GROUP_COLOURS[group]
        left.plot(*points[at, of_group & right].T, "o", ms=3, alpha=0.6, color=colour, label=group)
        left.plot(*points[at, of_group & ~right].T, "x", ms=4, alpha=0.6, color=colour)
    low, high = np.percentile(points.reshape(-1, 2), [0.2, 99.8], axis=0)
    left.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xticks=[], yticks=[], title="features of test images")
    left.legend(fontsize=8, loc="upper right")
    classes = np.arange(len(accuracy))
    ax.plot(classes, confidence, "o-", ms=4, color=COLOURS[1], label="confidence")
    ax.plot(classes, accuracy, "s-", ms=4, color=COLOURS[0], label="accuracy")
    ax.fill_between(classes, accuracy, confidence, color=COLOURS[1], alpha=0.2)
    ax.set(ylim=(-0.02, 1.03), title=f"accuracy {accuracy.mean():.1%}, ECE {trajectory['ece'][at]:.1%}")
    class_axis(ax, names, len(accuracy), "true class, head to tail")
    per_cent(ax.yaxis)
    ax.legend(fontsize=8, loc="lower left")
    title = f"{title}, epoch {epoch}" if title else f"epoch {epoch}"
    figure.suptitle(plain(title))
    of_groups = ", ".join(f"{group} {accuracy[of_group].mean():.1%}" for group, of_group in groups.items())
    return Picture(figure, f"{title}: accuracy {accuracy.mean():.1%} ({of_groups}), ECE {trajectory['ece'][at]:.1%}.")
