"""Figures: one function a figure, one style, colours that colour-blind readers tell apart, a text for every picture.

Every function takes plain arrays or report cards and returns a `Picture`; as the last value of a cell it shows
itself. Nothing here trains or reads a file.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ltlib.evaluation import calibration

COLOURS = sns.color_palette("colorblind").as_hex()
GROUP_COLOURS = {"many": COLOURS[0], "medium": COLOURS[2], "few": COLOURS[3]}
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e5e5",
    "legend.frameon": False,
    "axes.prop_cycle": mpl.cycler(color=COLOURS),
    "savefig.dpi": 100,
}


@dataclass(frozen=True)
class Picture:
    """A figure and what it shows, in words, for readers who cannot see it."""

    figure: Figure
    text: str

    def png(self) -> bytes:
        """The figure as PNG."""
        buffer = io.BytesIO()
        with mpl.rc_context(STYLE):
            self.figure.savefig(buffer, format="png")
        return buffer.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        image = base64.b64encode(self.png()).decode()
        return {"image/png": image, "text/plain": self.text}, {"image/png": {"alt": self.text}}


def _figure(width: float, height: float, columns: int = 1, **options: object) -> tuple[Figure, Sequence[Axes]]:
    """Axes on a figure of its own, outside pyplot, so that nothing is shown twice or leaks."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(1, columns, squeeze=False, **options)[0]
    return figure, axes


def _per_cent(axis) -> None:
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def class_counts(counts: np.ndarray, groups: dict[str, np.ndarray], rule: str) -> Picture:
    """Training images of each class, coloured by group; logarithmic scale."""
    figure, (ax,) = _figure(7, 3)
    for name, classes in groups.items():
        if len(classes):
            ax.bar(
                classes, counts[classes], color=GROUP_COLOURS[name], label=f"{name} ({len(classes)} classes)", width=0.9
            )
    ax.set(
        yscale="log",
        xlabel="class",
        ylabel="training images",
        title=f"Training images of each class (groups by rule {rule!r})",
    )
    ax.set_ylim(bottom=0.8)
    ax.legend()
    return Picture(figure, f"Bar chart of training images a class, from {counts.max()} down to {counts.min()}.")


def learning_curves(histories: dict[str, list[dict]]) -> Picture:
    """Training loss and test accuracy by epoch, one line a run."""
    figure, (left, right) = _figure(9, 3.2, columns=2)
    for name, history in histories.items():
        left.plot([r["epoch"] for r in history], [r["loss"] for r in history], label=name)
        measured = [r for r in history if "test_accuracy" in r]
        right.plot([r["epoch"] for r in measured], [r["test_accuracy"] for r in measured], marker="o", ms=3, label=name)
    left.set(xlabel="epoch", ylabel="training loss", title="Training loss")
    right.set(xlabel="epoch", ylabel="test accuracy", title="Test accuracy")
    _per_cent(right.yaxis)
    right.legend()
    last = {name: [r["test_accuracy"] for r in h if "test_accuracy" in r][-1] for name, h in histories.items()}
    return Picture(figure, "Training loss and test accuracy by epoch; at the end " + _listing(last) + ".")


def groups(cards: dict[str, dict], rule: str) -> Picture:
    """Accuracy overall and of the groups many, medium and few, one bar a run."""
    figure, (ax,) = _figure(7, 3.2)
    names = ["all", "many", "medium", "few"]
    width = 0.8 / len(cards)
    words = []
    for i, (label, card) in enumerate(cards.items()):
        values = [card["accuracy"]] + [card["groups"][rule][n]["accuracy"] for n in names[1:]]
        at = np.arange(len(names)) + (i - (len(cards) - 1) / 2) * width
        heights = [v or 0 for v in values]
        bars = ax.bar(at, heights, width * 0.92, label=label, color=COLOURS[i])
        ax.bar_label(bars, ["none" if v is None else f"{v:.0%}" for v in values], fontsize=8, padding=1)
        words.append(
            f"{label}: " + ", ".join(f"{n} {v:.0%}" for n, v in zip(names, values, strict=True) if v is not None)
        )
    first = next(iter(cards.values()))["groups"][rule]
    ax.set_xticks(range(len(names)), ["all", *(f"{n}\n({first[n]['classes']} classes)" for n in names[1:])])
    ax.set(ylabel="test accuracy", ylim=(0, 1.08), title=f"Accuracy by group (rule {rule!r})")
    _per_cent(ax.yaxis)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=len(cards))
    return Picture(figure, "Bar chart of accuracy by group. " + "; ".join(words) + ".")


def per_class(cards: dict[str, dict], class_names: Sequence[str]) -> Picture:
    """Accuracy of each class, from head to tail, one line of points a run."""
    figure, (ax,) = _figure(8, 3.2)
    for i, (label, card) in enumerate(cards.items()):
        values = [np.nan if v is None else v for v in card["per_class_accuracy"]]
        ax.plot(range(len(values)), values, marker="os^Dv"[i % 5], ms=5, lw=1, label=label)
    if len(class_names) <= 20:
        slant = 0 if max(map(len, class_names)) <= 3 else 35
        ax.set_xticks(range(len(class_names)), class_names, rotation=slant, ha="right" if slant else "center")
    ax.set(
        xlabel="class, from head to tail", ylabel="test accuracy", ylim=(-0.03, 1.03), title="Accuracy of each class"
    )
    _per_cent(ax.yaxis)
    ax.legend()
    worst = {label: card["worst_class_accuracy"] for label, card in cards.items()}
    return Picture(figure, "Accuracy of each class from head to tail; the worst class has " + _listing(worst) + ".")


def reliability(predictions: dict[str, tuple[np.ndarray, np.ndarray]], bins: int = 15) -> Picture:
    """Reliability diagrams: accuracy of the images of each confidence, and how far it is from the diagonal.

    Args:
        predictions: name -> (logits (N, K), labels (N,)).
        bins: equal-width, right-closed.
    """
    figure, axes = _figure(4.2 * len(predictions), 4.2, columns=len(predictions), sharey=True)
    errors = {}
    for ax, (name, (logits, labels)) in zip(axes, predictions.items(), strict=True):
        p = calibration.probabilities(logits)
        confidence, correct = calibration.confidence_and_correct(p, labels)
        filled = calibration.equal_width_bins(confidence, correct, bins)
        middle = (np.arange(bins) + 0.5) / bins
        accuracy, sure = np.nan_to_num(filled.accuracy), np.nan_to_num(filled.confidence)
        ax.bar(middle, accuracy, 0.92 / bins, color=COLOURS[0], label="accuracy")
        gap = {"bottom": accuracy, "facecolor": "none", "edgecolor": COLOURS[3], "hatch": "////", "lw": 0.8}
        ax.bar(middle, sure - accuracy, 0.92 / bins, label="gap to confidence", **gap)
        ax.plot([0, 1], [0, 1], color="0.4", lw=1, ls="--", label="perfect calibration")
        errors[name] = calibration.ece(p, labels, bins)
        ax.set(
            xlabel="confidence",
            xlim=(0, 1),
            ylim=(0, 1),
            title=f"{name}\nACC {correct.mean():.1%}   ECE {errors[name]:.1%}",
        )
        _per_cent(ax.xaxis)
        _per_cent(ax.yaxis)
    axes[0].set_ylabel("accuracy")
    axes[0].legend(loc="upper left", fontsize=9)
    return Picture(figure, f"Reliability diagrams with {bins} bins; expected calibration error: {_listing(errors)}.")


def confusion(cards: dict[str, dict], class_names: Sequence[str]) -> Picture:
    """Row-normalised confusion matrices: where the images of each true class go."""
    figure, axes = _figure(4.6 * len(cards) + 0.6, 4.4, columns=len(cards), sharey=True)
    few = len(class_names) <= 20
    for ax, (name, card) in zip(axes, cards.items(), strict=True):
        matrix = np.array(card["confusion"], dtype=float)
        matrix /= np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        labels = list(class_names) if few else "auto"
        sns.heatmap(
            matrix,
            ax=ax,
            vmin=0,
            vmax=1,
            cmap="viridis",
            square=True,
            cbar=ax is axes[-1],
            xticklabels=labels,
            yticklabels=labels,
            cbar_kws={"label": "share of the true class", "shrink": 0.8},
        )
        ax.grid(visible=False)
        ax.set(xlabel="predicted class", ylabel="true class" if ax is axes[0] else "", title=name)
        ax.tick_params(axis="y", rotation=0)
    diagonal = {name: card["balanced_accuracy"] for name, card in cards.items()}
    return Picture(figure, f"Confusion matrices; mean of the diagonal: {_listing(diagonal)}.")


def _listing(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1%}" for name, value in values.items())
