"""The common style of all figures: colours, axes, and the `Picture` that a cell shows.

Every figure function takes plain arrays or report cards and returns a `Picture`. As the last value of a cell it shows
itself. Figures train nothing and read no file.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ltlib.lesson.figures import text

COLOURS = sns.color_palette("colorblind").as_hex()  # colours that colour-blind readers tell apart
GROUP_COLOURS = {"many": COLOURS[0], "medium": COLOURS[2], "few": COLOURS[3]}
MARKERS = "os^DvP"
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e5e5",
    "axes.prop_cycle": cycler(color=COLOURS),
    "savefig.dpi": 100,
}


@dataclass(frozen=True)
class Picture:
    """A figure and what it shows, in words, for readers who cannot see it."""

    figure: Figure
    text: str

    def __post_init__(self) -> None:
        text.choose_fonts(self.figure)

    def png(self) -> bytes:
        """The figure as PNG."""
        buffer = io.BytesIO()
        with mpl.rc_context(STYLE):
            self.figure.savefig(buffer, format="png")
        return buffer.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        image = base64.b64encode(self.png()).decode()
        return {"image/png": image, "text/plain": self.text}, {"image/png": {"alt": self.text}}


def new_figure(
    width: float, height: float, columns: int = 1, rows: int = 1, **options: Any
) -> tuple[Figure, Sequence[Axes]]:
    """A figure and its axes, outside pyplot: nothing is shown twice, and nothing stays in memory."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, **options).ravel()
    return figure, list(axes)


def per_cent(axis: Axis) -> None:
    """Print the fractions on ``axis`` as per cent."""
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def class_axis(ax: Axes, names: Sequence[str] | None, classes: int, label: str = "class, from head to tail") -> None:
    """Name the classes on the horizontal axis, where there is space for their names.

    Args:
        ax: its horizontal positions 0, 1, ... are the classes.
        names: of the classes; None leaves their numbers.
        classes: how many there are.
        label: of the axis.
    """
    ax.set_xlabel(label)
    if classes > 20:
        return
    shown = text.class_names(names) if names is not None else [str(k) for k in range(classes)]
    slant = 0 if max(map(len, shown)) <= 3 else 35
    ax.set_xticks(range(classes), shown, rotation=slant, ha="right" if slant else "center")


def listing(values: dict[str, float]) -> str:
    """``a 50.0%, b 25.0%``: fractions in words, for the text of a picture."""
    return ", ".join(f"{name} {value:.1%}" for name, value in values.items())


def side_by_side(count: int, i: int, width: float = 0.8) -> float:
    """Where bar number ``i`` of ``count`` bars is, measured from the middle of their place."""
    return (i - (count - 1) / 2) * width / count


def mean_of(values: Sequence[float] | np.ndarray) -> float:
    """The mean as a Python float."""
    return float(np.mean(values))
