"""The figures of lesson 08 on cost: hours of a table, speed of a machine, and how the cost grows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ltlib.lesson.figures.figure import COLOURS, Picture, new_figure


def speed(rows: Sequence[dict], machine: str) -> Picture:
    """Speed against that of the plain recipe, with the limit of the machine as a line at the end of each bar.

    Args:
        rows: of a file in ``data/benchmarks``.
        machine: its name, for the title.
    """
    figure, (ax,) = new_figure(9, 0.8 + 0.55 * len(rows))
    at = np.arange(len(rows))[::-1]
    for y, row in zip(at, rows, strict=True):
        limit = row["limit"] / row["plain"]
        ax.barh(y, row["ratio"], 0.55, color=COLOURS[0], label="ltlib" if y == at[0] else None)
        ax.plot([1, 1], [y - 0.38, y + 0.38], color=COLOURS[3], lw=2, label="plain recipe" if y == at[0] else None)
        ax.plot(limit, y, "k|", ms=16, mew=2, label="limit of the machine" if y == at[0] else None)
        ax.text(0.1, y, f"{row['ratio']:.1f}", va="center", color="white", fontsize=9)
    ax.set_yticks(at, [row["what"] for row in rows], fontsize=9)
    ax.set(xlabel="speed, in multiples of the plain recipe", title=machine)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)
    words = "; ".join(f"{r['what']}: {r['ratio']:.2f} times, {r['share_of_limit']:.0%} of the limit" for r in rows)
    return Picture(figure, f"Speed of ltlib in multiples of the plain recipe on {machine}: {words}.")


def growth(lines: Sequence[dict]) -> Picture:
    """Relative time against a quantity, measured points and the fitted line, one panel per quantity.

    Args:
        lines: the entry ``growth`` of a file in ``data/benchmarks``.
    """
    figure, axes = new_figure(3.1 * len(lines), 3.0, columns=len(lines))
    for ax, line in zip(axes, lines, strict=True):
        x = np.array(line["values"]) / line["values"][0]
        ax.plot(x, line["relative"], "o", color=COLOURS[0], label="measured")
        fine = np.linspace(0, x[-1], 50)
        ax.plot(fine, line["fixed"] + line["slope"] * fine, color=COLOURS[3], lw=1.5, label="fitted line")
        ax.set(xlabel=f"{line['quantity']} / {line['values'][0]:,}", title=line["of"].replace(", ", ",\n", 1))
        ax.set_ylim(0, 1.1 * max(line["relative"]))
        ax.title.set_fontsize(9)
    axes[0].set_ylabel("time, relative to the first")
    axes[0].legend(fontsize=8)
    words = "; ".join(
        f"{line['of']}: {line['relative'][-1]:.2f} times as long at {line['values'][-1]:,} {line['quantity']} as at "
        f"{line['values'][0]:,}"
        for line in lines
    )
    return Picture(figure, f"Growth of the cost. {words}.")


def hours(operations: dict[str, float], speed: float, devices: int) -> Picture:
    """Hours of training on an assumed machine, on one logarithmic axis for all controls.

    Args:
        operations: name of a training -> its operations.
        speed: operations per second of one device, an assumption.
        devices: that share one training, each at full speed.
    """
    names = list(operations)
    figure, (ax,) = new_figure(9, 0.42 * len(names) + 1.2)
    words = []
    for y, name in enumerate(names):
        taken = operations[name] / speed / devices / 3600
        ax.plot(taken, y, "o", ms=8, color=COLOURS[0])
        told = _duration(taken)
        ax.text(taken * 1.4, y, told, va="center", fontsize=9)
        words.append(f"{name} {told}")
    for at, label in ((1 / 60, "a minute"), (1, "an hour"), (24, "a day"), (24 * 7, "a week")):
        ax.axvline(at, color="0.5", lw=1, ls=":")
        ax.text(at, -0.75, label, ha="center", fontsize=8, color="0.3")
    ax.set(xscale="log", xlim=(1e-4, 2e3), ylim=(len(names) - 0.5, -1.1), xlabel="hours")
    ax.set_yticks(range(len(names)), names, fontsize=9)
    ax.grid(axis="y", visible=False)
    given = f"{speed / 1e12:g} TFLOP/s per device, {devices} device{'s' if devices > 1 else ''}"
    ax.set_title(f"Assumed: {given}", fontsize=10)
    return Picture(figure, f"Hours of training, assuming {given}: {'; '.join(words)}.")


def _duration(hours: float) -> str:
    """Hours with their unit: ``5 s``, ``43 min``, ``2.0 h``, ``38 h``."""
    if hours < 1 / 60:
        return f"{3600 * hours:.2g} s"
    return f"{60 * hours:.0f} min" if hours < 1 else f"{hours:.1f} h" if hours < 10 else f"{hours:,.0f} h"
