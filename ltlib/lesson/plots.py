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
from matplotlib.ticker import MaxNLocator, PercentFormatter

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


def _figure(
    width: float, height: float, columns: int = 1, rows: int = 1, **options: object
) -> tuple[Figure, Sequence[Axes]]:
    """Axes on a figure of its own, outside pyplot, so that nothing is shown twice or leaks."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, **options).ravel()
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


def image_rows(rows: dict[str, np.ndarray], title: str) -> Picture:
    """Images in named rows; a row may be shorter than the others.

    Args:
        rows: name -> uint8 images (N, 3, H, W), all of one size.
        title: above the figure.
    """
    side, longest = next(iter(rows.values())).shape[-1], max(len(images) for images in rows.values())
    step = side + 2  # two white pixels between images
    sheet = np.full((len(rows) * step, longest * step, 3), 255, dtype=np.uint8)
    for r, images in enumerate(rows.values()):
        for c, image in enumerate(images):
            sheet[r * step : r * step + side, c * step : c * step + side] = image.transpose(1, 2, 0)
    # The names at the left and the title above take their place from a figure of fixed width.
    width = 9.0
    beside = 0.15 + 0.075 * max(map(len, rows))
    figure, (ax,) = _figure(width, (width - beside) * sheet.shape[0] / sheet.shape[1] + 0.35)
    ax.imshow(sheet, interpolation="nearest")
    ax.set_yticks((np.arange(len(rows)) + 0.5) * step - 1.5, list(rows))
    ax.set_xticks([])
    ax.set_title(title)
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return Picture(figure, f"{title}. " + "; ".join(f"{name}: {len(images)} images" for name, images in rows.items()))


def rank_frequency(counts: dict[str, np.ndarray]) -> Picture:
    """How often the commonest, second commonest, ... of something occurs; both axes logarithmic."""
    figure, (ax,) = _figure(7, 3.4)
    words = []
    for i, (name, values) in enumerate(counts.items()):
        ranked = np.sort(values)[::-1]
        ax.plot(np.arange(1, len(ranked) + 1), ranked, marker="os^D"[i % 4], ms=3, lw=1.5, label=name)
        words.append(f"{name} fall from {ranked[0]:,} to {ranked[-1]:,}")
    ax.set(xscale="log", yscale="log", xlabel="rank (1 = commonest)", ylabel="occurrences")
    ax.set_title("How often the commonest, the second commonest, ... occurs")
    ax.legend()
    return Picture(figure, f"Occurrences against rank, both logarithmic: {'; '.join(words)}.")


def count_profiles(profiles: dict[str, np.ndarray], limits: Sequence[float] = (0.8, 1000)) -> Picture:
    """Training images of each class under several profiles, with the bounds of the threshold rule.

    Args:
        profiles: name -> counts (K,) from head to tail.
        limits: of the vertical axis, fixed so that figures can be compared.
    """
    figure, (ax,) = _figure(7, 3.4)
    for i, (name, counts) in enumerate(profiles.items()):
        label = f"{name}: {counts.sum():,} images, {counts.max():,} to {counts.min():,} a class"
        ax.plot(range(len(counts)), counts, marker="os^D"[i % 4], ms=5 if len(counts) <= 20 else 2.5, label=label)
    for bound, text in ((100, "many: more than 100"), (20, "few: fewer than 20")):
        ax.axhline(bound, color="0.5", lw=1, ls=":")
        ax.annotate(text, (0.01, bound), xycoords=("axes fraction", "data"), va="bottom", fontsize=8)
    ax.set(yscale="log", ylim=limits, xlabel="class, from head to tail", ylabel="training images")
    ax.minorticks_off()
    figure.legend(loc="outside upper left", fontsize=9)
    words = "; ".join(f"{name}: {c.sum():,} images, from {c.max():,} to {c.min():,}" for name, c in profiles.items())
    return Picture(figure, f"Training images of each class from head to tail. {words}.")


def group_sizes(sizes: dict[str, dict[str, int]]) -> Picture:
    """How many classes are many, medium and few; one bar a data set or rule, as shares of its classes.

    Args:
        sizes: name -> {"many": classes, "medium": classes, "few": classes}.
    """
    figure, (ax,) = _figure(8, 0.34 * len(sizes) + 1.1)
    left = np.zeros(len(sizes))
    totals = np.array([sum(groups.values()) for groups in sizes.values()])
    for name, colour in GROUP_COLOURS.items():
        classes = np.array([groups[name] for groups in sizes.values()])
        bars = ax.barh(range(len(sizes)), classes / totals, left=left, color=colour, label=name, height=0.75)
        ax.bar_label(bars, [str(n) if n else "" for n in classes], label_type="center", color="white", fontsize=9)
        left += classes / totals
    ax.set_yticks(range(len(sizes)), list(sizes))
    ax.invert_yaxis()
    ax.set(xlabel="share of the classes (numbers: classes)", xlim=(0, 1))
    _per_cent(ax.xaxis)
    ax.grid(visible=False)
    figure.legend(loc="outside upper center", ncols=3)
    words = "; ".join(f"{name} {'/'.join(str(n) for n in groups.values())}" for name, groups in sizes.items())
    return Picture(figure, f"Classes that are many/medium/few: {words}.")


def class_shares(shares: dict[str, np.ndarray], title: str, top: float | None = None) -> Picture:
    """Which share of what the network sees belongs to each class; one line a sampler.

    Args:
        shares: name -> (K,), fractions that add up to 1.
        title: above the figure.
        top: upper end of the vertical axis, where figures are to be compared.
    """
    figure, (ax,) = _figure(7, 3.2)
    for i, (name, values) in enumerate(shares.items()):
        ax.plot(range(len(values)), values, marker="os^Dv"[i % 5], ms=5, label=name)
    ax.set(xlabel="class, from head to tail", ylabel="share of the images seen", ylim=(0, top), title=title)
    _per_cent(ax.yaxis)
    ax.legend()
    words = "; ".join(f"{name}: first class {v[0]:.1%}, last class {v[-1]:.1%}" for name, v in shares.items())
    return Picture(figure, f"{title}. {words}.")


def spread(results: dict[str, dict[str, Sequence[float]]], ylabel: str, title: str) -> Picture:
    """Several runs of each method: a dot a run, a bar and a number at their mean.

    Args:
        results: name -> {place on the horizontal axis: one fraction a run}; the places are the same for all.
        ylabel, title: of the figure.
    """
    places = list(next(iter(results.values())))
    figure, (ax,) = _figure(max(5.5, 0.42 * len(places) * (len(results) + 1) + 1, 1.9 * len(results)), 3.6)
    step = 1 / (len(results) + 1)
    words = []
    for i, (name, values) in enumerate(results.items()):
        means = [float(np.mean(values[place])) for place in places]
        for at, (place, mean) in enumerate(zip(places, means, strict=True)):
            x = at + (i - (len(results) - 1) / 2) * step
            ax.plot([x] * len(values[place]), values[place], "o", ms=4, color=COLOURS[i], alpha=0.55)
            ax.hlines(mean, x - 0.4 * step, x + 0.4 * step, color=COLOURS[i], lw=2.5, label=name if at == 0 else None)
            above = max(*values[place], mean)
            ax.annotate(f"{mean:.0%}", (x, above), (0, 4), textcoords="offset points", ha="center", fontsize=8)
        words.append(f"{name}: {_listing(dict(zip(places, means, strict=True)))}".replace("\n", " "))
    ax.set_xticks(range(len(places)), places)
    ax.set(ylabel=ylabel, title=title, xlim=(-0.5, len(places) - 0.5))
    ax.set_ylim(0, min(1.08, 1.15 * ax.get_ylim()[1]))
    ax.grid(visible=False, axis="x")
    _per_cent(ax.yaxis)
    if len(results) > 1:
        figure.legend(loc="outside lower center", ncols=len(results))
    return Picture(figure, f"{title}; means of the runs. {'; '.join(words)}.")


def norms_against_counts(norms: dict[str, np.ndarray], counts: np.ndarray) -> Picture:
    """Length of each class's row of the classifier against the class's training images, logarithmic.

    Args:
        norms: name -> (runs, K); the line is the mean of the runs, the faint points are the runs.
        counts: (K,) training images.
    """
    figure, (ax,) = _figure(7, 3.4)
    words = []
    for i, (name, values) in enumerate(norms.items()):
        ax.plot(counts, values.T, "os^Dv"[i % 5], ms=4, color=COLOURS[i], alpha=0.35)
        mean = values.mean(axis=0)
        ax.plot(counts, mean, ("-", "--", ":", "-.")[i % 4], color=COLOURS[i], lw=2, label=name)
        words.append(f"{name} from {mean[counts.argmax()]:.2f} (largest class) to {mean[counts.argmin()]:.2f}")
    ax.set(xscale="log", xlabel="training images of the class", ylabel="norm of its classifier row")
    ax.set_ylim(bottom=0)
    if len(counts) <= 20:
        ax.set_xticks(counts, counts)
        ax.minorticks_off()
    ax.invert_xaxis()
    ax.set_title("Classifier norms, from head (left) to tail (right)")
    ax.legend()
    return Picture(figure, f"Norm of the classifier's rows against training images: {'; '.join(words)}.")


def temperature_curves(temperatures: np.ndarray, curves: dict[str, np.ndarray]) -> Picture:
    """Negative log-likelihood against temperature on several sets of images, each with its minimum marked."""
    figure, (ax,) = _figure(7, 3.4)
    words = []
    for i, (name, values) in enumerate(curves.items()):
        best = temperatures[values.argmin()]
        ax.plot(temperatures, values, color=COLOURS[i], label=f"{name}: best T = {best:.2f}")
        ax.plot(best, values.min(), "os^D"[i % 4], color=COLOURS[i], ms=8)
        words.append(f"{name} is smallest at T = {best:.2f}")
    ax.axvline(1, color="0.5", lw=1, ls=":")
    ax.set(xscale="log", xlabel="temperature T", ylabel="negative log-likelihood")
    ax.set_xticks(ticks := [t for t in (0.25, 0.5, 1, 2, 4, 8) if temperatures[0] <= t <= temperatures[-1]], ticks)
    ax.minorticks_off()
    ax.set_title("Which temperature fits which images")
    ax.legend()
    return Picture(figure, f"Negative log-likelihood against temperature: {'; '.join(words)}.")


def held_out_accuracy(histories: dict[str, list[list[dict]]]) -> Picture:
    """Accuracy on the held-out and on the test images by epoch; one panel a method, one line a run."""
    figure, axes = _figure(3.6 * len(histories) + 1, 3.2, columns=len(histories), sharey=True)
    words = []
    for ax, (name, runs) in zip(axes, histories.items(), strict=True):
        last = {}
        for i, split in enumerate(("validation", "test")):
            for n, history in enumerate(runs):
                measured = [(r["epoch"], r[f"{split}_accuracy"]) for r in history if f"{split}_accuracy" in r]
                ax.plot(*zip(*measured, strict=True), "os"[i] + "-", ms=3, color=COLOURS[i], label=None if n else split)
            last[split] = float(np.mean([history[-1][f"{split}_accuracy"] for history in runs]))
        ax.set(xlabel="epoch", title=name, ylim=(0, 1.02))
        words.append(f"{name}: {_listing(last)}")
    axes[0].set_ylabel("accuracy")
    axes[0].legend(loc="lower right")
    _per_cent(axes[0].yaxis)
    return Picture(figure, f"Validation and test accuracy by epoch; at the end {'; '.join(words)}.")


def ladder(rows: dict[str, dict[str, Sequence[float]]]) -> Picture:
    """One line of points a step and a panel a measure: every seed, and the mean as a bar."""
    measures = list(next(iter(rows.values())))
    figure, axes = _figure(11, 0.42 * len(rows) + 1.2, columns=len(measures), sharey=True)
    at = np.arange(len(rows))[::-1]
    for i, (ax, measure) in enumerate(zip(axes, measures, strict=True)):
        for place, values in zip(at, (row[measure] for row in rows.values()), strict=True):
            ax.barh(place, np.mean(values), 0.6, color=COLOURS[i], alpha=0.35)
            ax.plot(values, np.full(len(values), place), "o", ms=4, color=COLOURS[i])
        ax.set(title=measure, xlim=(0, None))
        ax.grid(axis="y", visible=False)
        _per_cent(ax.xaxis)
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes[0].set_yticks(at, list(rows))
    words = "; ".join(f"{n}: " + ", ".join(f"{m} {np.mean(v):.1%}" for m, v in r.items()) for n, r in rows.items())
    return Picture(figure, f"Mean over seeds. {words}.")


def sweep(x: Sequence[float | str], series: dict[str, Sequence[float]], xlabel: str, title: str) -> Picture:
    """Measures against a setting, one line a measure; texts as ``x`` are placed side by side."""
    figure, (ax,) = _figure(6.5, 3.2)
    for i, (name, values) in enumerate(series.items()):
        ax.plot(x, values, "os^D"[i % 4] + "-", ms=5, color=COLOURS[i], label=name)
    ax.axhline(0, color="0.4", lw=1)
    ax.set(xlabel=xlabel, title=title)
    _per_cent(ax.yaxis)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    words = "; ".join(f"{n} from {v[0]:.1%} to {v[-1]:.1%}" for n, v in series.items())
    return Picture(figure, f"{title}: {words}.")
