"""The figures of lesson 09: speed of a machine, and how the cost grows."""

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
