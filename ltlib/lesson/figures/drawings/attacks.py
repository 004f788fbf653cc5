"""Drawings of lessons 05, 06 and 07: the ball and the steps of PGD, a guide for a robust network, two shifts."""

from __future__ import annotations

import numpy as np
from matplotlib.patches import Rectangle

from ltlib.lesson.figures.drawings.sketch import (
    DATA,
    FROZEN,
    GRADIENT,
    INK,
    LEARNS,
    RESULT,
    arrow,
    box,
    note,
    sheet,
)
from ltlib.lesson.figures.figure import COLOURS, Picture, new_figure

CENTRE, RADIUS, STEP = np.array([0.42, 0.45]), 0.16, 0.05


def margin(points: np.ndarray) -> np.ndarray:
    """A curved boundary in the plane: positive where the class is right. points (..., 2) -> (...)."""
    x, y = points[..., 0], points[..., 1]
    return 0.76 - x - 0.35 * (y - 0.35) ** 2 - 0.25 * np.sin(3 * y)


def pgd_path(start: np.ndarray, steps: int = 6) -> np.ndarray:
    """The points that PGD visits when it lowers `margin`; (steps + 1, 2)."""
    path = [start]
    for _ in range(steps):
        y = path[-1][1]
        gradient = np.array([1.0, 0.7 * (y - 0.35) + 0.75 * np.cos(3 * y)])  # of -margin
        moved = path[-1] + STEP * np.sign(gradient)
        path.append(np.clip(moved, CENTRE - RADIUS, CENTRE + RADIUS))
    return np.array(path)


def ball() -> Picture:
    """The ball around an image of two pixels, and the steps of PGD in it."""
    figure, (ax,) = new_figure(6.4, 4.2)
    side = np.linspace(0, 1, 200)
    grid = np.stack(np.meshgrid(side, side), axis=-1)
    ax.contourf(side, side, margin(grid), levels=[-9, 0, 9], colors=["#f6d5c3", "#d5e8f4"])
    ax.contour(side, side, margin(grid), levels=[0], colors=INK, linewidths=1.6)
    ax.add_patch(
        Rectangle((CENTRE[0] - RADIUS, CENTRE[1] - RADIUS), 2 * RADIUS, 2 * RADIUS, fill=False, ls="--", lw=1.5, ec=INK)
    )
    path = pgd_path(CENTRE + np.array([-0.09, -0.12]))
    ax.plot(*path.T, "o-", color=GRADIENT, ms=4, lw=1.4, label="steps of PGD, projected back into the ball")
    ax.plot(*CENTRE, "o", color=INK, ms=7)
    ax.annotate("image x", (CENTRE[0], CENTRE[1]), (-44, 8), textcoords="offset points")
    ax.annotate("x', adversarial", path[-1], (8, 4), textcoords="offset points", color=GRADIENT)
    ax.annotate("random start", path[0], (-34, -30), textcoords="offset points", color=GRADIENT)
    edge = CENTRE[1] - RADIUS - 0.03
    ax.annotate("", (CENTRE[0] + RADIUS, edge), (CENTRE[0], edge), arrowprops={"arrowstyle": "<->"})
    ax.text(CENTRE[0] + RADIUS / 2, edge - 0.05, "ε", ha="center")
    ax.text(0.03, 0.93, "predicted: true class", color=COLOURS[0])
    ax.text(0.98, 0.05, "another class", ha="right", color=COLOURS[3])
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="first pixel", ylabel="second pixel")
    ax.grid(visible=False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False)
    wrong = float(margin(path[-1])) < 0
    text = (
        "The ball around an image of two pixels is a square with half side epsilon. PGD starts at a random point in "
        f"it, takes sign steps and is projected back; its last point is classified {'wrongly' if wrong else 'rightly'}."
    )
    return Picture(figure, text)


def guide() -> Picture:
    """BGAT and LBGAT: which image goes into which network, which losses there are, whom they move."""
    figure, ax = sheet(9, 3.5)
    box(ax, (0.1, 1.3), (1.1, 0.8), "clean\nimage x", DATA)
    box(ax, (2.0, 2.3), (1.2, 0.8), "attack\non R", FROZEN)
    box(ax, (4.1, 2.3), (1.5, 0.8), "robust network\nR", LEARNS)
    box(ax, (4.1, 0.45), (1.5, 0.8), "natural network\nT, the guide", LEARNS)
    box(ax, (6.6, 1.4), (1.7, 0.75), "MSE\nR(x') and T(x)", RESULT)
    box(ax, (6.6, 0.2), (1.7, 0.75), "cross-entropy\nT(x) and label y", RESULT)
    arrow(ax, (0.85, 2.1), (2.0, 2.6))
    arrow(ax, (3.2, 2.7), (4.1, 2.7), "x'")
    arrow(ax, (1.2, 1.5), (4.1, 0.9), "x", above=0.05)
    arrow(ax, (5.6, 2.7), (6.9, 2.15), "R(x')", above=0.08)
    arrow(ax, (5.6, 0.95), (6.6, 1.6), "T(x)", above=0.1)
    arrow(ax, (5.6, 0.7), (6.6, 0.55))
    arrow(ax, (7.6, 2.15), (5.4, 3.1), bend=0.35, color=GRADIENT, ls="--")
    arrow(ax, (6.6, 1.75), (5.2, 1.25), bend=0.3, color=GRADIENT, ls=":")
    arrow(ax, (6.9, 0.2), (5.0, 0.45), bend=-0.3, color=GRADIENT, ls=":")
    note(ax, (0.1, 0.55), "dashed: gradient in BGAT and LBGAT", color=GRADIENT)
    note(ax, (0.1, 0.27), "dotted: only in LBGAT. In BGAT the guide is frozen.", color=GRADIENT)
    text = (
        "BGAT and LBGAT. The adversarial image goes into the robust network R, the clean image into the natural "
        "network T. The squared distance of their logits moves R, and in LBGAT also T; the label reaches T only. "
        "At the end T is discarded."
    )
    return Picture(figure, text)
