"""The figures of lesson 07: two classes on a line, groups under growing attacks, the scale of logits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ltlib.lesson.figures.figure import COLOURS, GROUP_COLOURS, MARKERS, Picture, new_figure, per_cent
from ltlib.lesson.figures.text import plain


def two_classes(
    mu: float, sigma: float, epsilon: float, odds: float, boundaries: dict[str, tuple[float, float]]
) -> Picture:
    """Two Gaussian classes on a line, each times its share, as they are and as an attack moves them.

    On the logarithmic axis each is a parabola; where two of one kind cross is the boundary with the fewest errors.

    Args:
        mu, sigma: the means are -mu (rare) and +mu (frequent).
        epsilon: the attack moves each class so far towards the other.
        odds: how many times the second class is as frequent.
        boundaries: name -> (place, robust accuracy of the rare class).
    """
    figure, (ax,) = new_figure(9, 3.8)
    x = np.linspace(-mu - 2.5 * sigma, mu + 2 * sigma, 400)
    for mean, share, name, colour in (
        (-mu, 1 / (1 + odds), "rare class", COLOURS[3]),
        (mu, odds / (1 + odds), "frequent class", COLOURS[0]),
    ):
        for centre, style, when in ((mean, "-", ""), (mean - np.sign(mean) * epsilon, ":", ", attacked")):
            ax.plot(x, share * np.exp(-((x - centre) ** 2) / (2 * sigma**2)), style, color=colour, label=name + when)
    for (name, (place, robust)), colour in zip(boundaries.items(), ("0", COLOURS[1], COLOURS[2]), strict=True):
        ax.axvline(place, color=colour, lw=2.5, label=f"{name}:\n{robust:.0%} of the rare survive")
    ax.set(yscale="log", ylim=(1e-4, 2), xlim=(x[0], x[-1]), xlabel="x", ylabel="density times share")
    ax.set_title(f"a class {odds:g} times as frequent as the other, attacks of radius {epsilon:g}")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
    words = "; ".join(
        f"{n} at {place:+.3f}, {robust:.0%} of the rare survive" for n, (place, robust) in boundaries.items()
    )
    return Picture(
        figure, f"Two classes at -{mu:g} and +{mu:g}, odds {odds:g}, epsilon {epsilon:g}. Boundaries: {words}."
    )


def groups_against_epsilon(
    epsilons: Sequence[float], panels: dict[str, dict[str, Sequence[float]]], attack: str
) -> Picture:
    """Accuracy of each group against the radius of the attack; one panel per network, one line per group.

    Args:
        epsilons: radii on images in [0, 1].
        panels: network -> group -> accuracy at each radius.
        attack: its name.
    """
    figure, axes = new_figure(4.4 * len(panels), 3.4, columns=len(panels), sharey=True)
    words = []
    for ax, (name, lines) in zip(axes, panels.items(), strict=True):
        for (group, values), marker in zip(lines.items(), MARKERS, strict=False):
            ax.plot(255 * np.asarray(epsilons), values, marker=marker, ms=5, color=GROUP_COLOURS[group], label=group)
            words.append(f"{name}, {group}: from {values[0]:.0%} to {values[-1]:.0%}")
        ax.set(xlabel="epsilon, in units of 1/255", title=plain(name), ylim=(-0.03, 1.03))
    axes[0].set_ylabel(f"accuracy under {attack}")
    per_cent(axes[0].yaxis)
    axes[-1].legend(title="classes", loc="center left", bbox_to_anchor=(1, 0.5))
    return Picture(figure, f"Accuracy of the groups under {attack} of growing radius. {'; '.join(words)}.")


def against_scale(factors: Sequence[float], curves: dict[str, Sequence[float]], title: str) -> Picture:
    """Accuracy under attack against the factor that multiplies the logits; one line per attack."""
    figure, (ax,) = new_figure(7.5, 3.4)
    for (name, values), marker in zip(curves.items(), MARKERS, strict=False):
        ax.plot(factors, values, marker=marker, ms=5, label=plain(name))
    ax.set(xscale="log", xlabel="factor on the logits", ylabel="accuracy", ylim=(-0.03, 1.03), title=plain(title))
    per_cent(ax.yaxis)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    words = "; ".join(
        f"{name} {min(values):.0%} to {max(values):.0%}, at the ends {values[0]:.0%} and {values[-1]:.0%}"
        for name, values in curves.items()
    )
    return Picture(figure, f"{title}: accuracy by the factor on the logits. {words}.")
