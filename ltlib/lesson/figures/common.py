"""The figures that more than one lesson or the report of a run needs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import seaborn as sns
from matplotlib.ticker import MaxNLocator

from ltlib.evaluation import calibration
from ltlib.lesson.figures.figure import (
    COLOURS,
    GROUP_COLOURS,
    Picture,
    class_axis,
    listing,
    new_figure,
    per_cent,
    side_by_side,
)
from ltlib.lesson.figures.looks import looks
from ltlib.lesson.figures.text import class_names as drawn
from ltlib.lesson.figures.text import plain


def class_counts(
    counts: np.ndarray, groups: dict[str, np.ndarray], rule: str, names: Sequence[str] | None = None
) -> Picture:
    """Training images of each class, coloured by group; logarithmic scale.

    Args:
        counts: (K,), from head to tail.
        groups: name -> its classes.
        rule: that made the groups.
        names: of the classes.
    """
    figure, (ax,) = new_figure(7, 3)
    for name, classes in groups.items():
        if len(classes):
            label = f"{name} ({len(classes)} classes)"
            ax.bar(classes, counts[classes], color=GROUP_COLOURS[name], label=label, width=0.9)
    ax.set(yscale="log", ylabel="training images", title=f"Training images of each class (groups by rule {rule!r})")
    class_axis(ax, names, len(counts))
    ax.set_ylim(bottom=0.8)
    ax.legend()
    return Picture(figure, f"Bar chart of training images per class, from {counts.max()} down to {counts.min()}.")


def learning_curves(histories: dict[str, list[dict]]) -> Picture:
    """Training loss and test accuracy by epoch, one line per run."""
    figure, (left, right) = new_figure(9, 3.2, columns=2)
    for name, look in looks(histories).items():
        history = histories[name]
        left.plot([r["epoch"] for r in history], [r["loss"] for r in history], color=look["color"])
        measured = [r for r in history if "test_accuracy" in r]
        right.plot(
            [r["epoch"] for r in measured], [r["test_accuracy"] for r in measured], ms=3, label=plain(name), **look
        )
    left.set(xlabel="epoch", ylabel="training loss", title="Training loss")
    right.set(xlabel="epoch", ylabel="test accuracy", title="Test accuracy")
    per_cent(right.yaxis)
    right.legend()
    last = {name: [r["test_accuracy"] for r in h if "test_accuracy" in r][-1] for name, h in histories.items()}
    return Picture(figure, "Training loss and test accuracy by epoch; at the end " + listing(last) + ".")


def groups(cards: dict[str, dict], rule: str) -> Picture:
    """Accuracy overall and of the groups many, medium and few, one bar per run."""
    figure, (ax,) = new_figure(7, 3.2)
    names = ["all", "many", "medium", "few"]
    width = 0.8 / len(cards)
    words = []
    for i, (label, look) in enumerate(looks(cards).items()):
        card = cards[label]
        values = [card["accuracy"]] + [card["groups"][rule][n]["accuracy"] for n in names[1:]]
        at = np.arange(len(names)) + side_by_side(len(cards), i)
        heights = [v or 0 for v in values]
        bars = ax.bar(at, heights, width * 0.92, label=plain(label), color=look["color"])
        ax.bar_label(bars, ["none" if v is None else f"{v:.0%}" for v in values], fontsize=8, padding=1)
        words.append(
            f"{label}: " + ", ".join(f"{n} {v:.0%}" for n, v in zip(names, values, strict=True) if v is not None)
        )
    first = next(iter(cards.values()))["groups"][rule]
    ax.set_xticks(range(len(names)), ["all", *(f"{n}\n({first[n]['classes']} classes)" for n in names[1:])])
    ax.set(ylabel="test accuracy", ylim=(0, 1.08), title=f"Accuracy by group (rule {rule!r})")
    per_cent(ax.yaxis)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=len(cards))
    return Picture(figure, "Bar chart of accuracy by group. " + "; ".join(words) + ".")


def per_class(cards: dict[str, dict], class_names: Sequence[str]) -> Picture:
    """Accuracy of each class, from head to tail, one line of points per run."""
    figure, (ax,) = new_figure(8, 3.2)
    for label, look in looks(cards).items():
        values = [np.nan if v is None else v for v in cards[label]["per_class_accuracy"]]
        ax.plot(range(len(values)), values, ms=5, lw=1, label=plain(label), **look)
    class_axis(ax, class_names, len(values))
    ax.set(ylabel="test accuracy", ylim=(-0.03, 1.03), title="Accuracy of each class")
    per_cent(ax.yaxis)
    ax.legend()
    worst = {label: card["worst_class_accuracy"] for label, card in cards.items()}
    return Picture(figure, "Accuracy of each class from head to tail; the worst class has " + listing(worst) + ".")


def reliability(predictions: dict[str, tuple[np.ndarray, np.ndarray]], bins: int = 15) -> Picture:
    """Reliability diagrams: accuracy of the images of each confidence, and how far it is from the diagonal.

    Args:
        predictions: name -> (logits (N, K), labels (N,)).
        bins: equal-width, right-closed.
    """
    figure, axes = new_figure(4.2 * len(predictions), 4.2, columns=len(predictions), sharey=True)
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
            title=f"{plain(name)}\nACC {correct.mean():.1%}   ECE {errors[name]:.1%}",
        )
        per_cent(ax.xaxis)
        per_cent(ax.yaxis)
    axes[0].set_ylabel("accuracy")
    axes[0].legend(loc="upper left", fontsize=9)
    return Picture(figure, f"Reliability diagrams with {bins} bins; expected calibration error: {listing(errors)}.")


def confusion(cards: dict[str, dict], class_names: Sequence[str]) -> Picture:
    """Row-normalised confusion matrices: where the images of each true class go."""
    figure, axes = new_figure(4.6 * len(cards) + 0.6, 4.4, columns=len(cards), sharey=True)
    few = len(class_names) <= 20
    for ax, (name, card) in zip(axes, cards.items(), strict=True):
        matrix = np.array(card["confusion"], dtype=float)
        matrix /= np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        labels = drawn(class_names) if few else "auto"
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
        ax.set(xlabel="predicted class", ylabel="true class" if ax is axes[0] else "", title=plain(name))
        ax.tick_params(axis="y", rotation=0)
    diagonal = {name: card["balanced_accuracy"] for name, card in cards.items()}
    return Picture(figure, f"Confusion matrices; mean of the diagonal: {listing(diagonal)}.")


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
    figure, (ax,) = new_figure(width, (width - beside) * sheet.shape[0] / sheet.shape[1] + 0.35)
    ax.imshow(sheet, interpolation="nearest")
    ax.set_yticks((np.arange(len(rows)) + 0.5) * step - 1.5, [plain(name) for name in rows])
    ax.set_xticks([])
    ax.set_title(plain(title))
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return Picture(figure, f"{title}. " + "; ".join(f"{name}: {len(images)} images" for name, images in rows.items()))


def answers(
    images: np.ndarray, labels: np.ndarray, logits: np.ndarray, names: Sequence[str], title: str, columns: int = 10
) -> Picture:
    """Images with the answer of a network and its confidence under each; wrong answers are in the error colour.

    Args:
        images: uint8 (N, 3, H, W).
        labels: true classes (N,).
        logits: of the network (N, K).
        names: of the classes.
        title: above the figure.
        columns: images per row.
    """
    p, shown = calibration.probabilities(logits), drawn(names)
    rows = -(-len(images) // columns)
    figure, axes = new_figure(9, 1.25 * rows + 0.4, columns, rows)
    words = []
    for ax in axes[len(images) :]:
        ax.remove()
    for ax, image, label, of_image in zip(axes, images, labels, p, strict=False):
        guess = int(of_image.argmax())
        ax.imshow(image.transpose(1, 2, 0), interpolation="nearest")
        ax.axis("off")
        colour = COLOURS[2] if guess == label else COLOURS[3]
        mark = "" if guess == label else "✗ "
        ax.set_title(f"{mark}{shown[guess]} {of_image[guess]:.0%}", fontsize=9, color=colour, y=-0.32)
        words.append(f"{names[label]}: {names[guess]} {of_image[guess]:.0%}")
    figure.suptitle(plain(title), fontsize=11)
    return Picture(figure, f"{title}. True class, answer and confidence: {'; '.join(words)}.")


def spread(results: dict[str, dict[str, Sequence[float]]], ylabel: str, title: str) -> Picture:
    """Several runs of each method: one dot per run, a bar and a number at their mean.

    Args:
        results: name -> {place on the horizontal axis: one fraction per run}; the places are the same for all.
        ylabel, title: of the figure.
    """
    places = list(next(iter(results.values())))
    figure, (ax,) = new_figure(max(5.5, 0.42 * len(places) * (len(results) + 1) + 1, 1.9 * len(results)), 3)
    step = 1 / (len(results) + 1)
    words = []
    for i, (name, look) in enumerate(looks(results).items()):
        values, colour = results[name], look["color"]
        means = [float(np.mean(values[place])) for place in places]
        for at, (place, mean) in enumerate(zip(places, means, strict=True)):
            x = at + (i - (len(results) - 1) / 2) * step
            label = plain(name) if at == 0 else ""  # "": no entry in the legend
            ax.plot([x] * len(values[place]), values[place], "o", ms=4, color=colour, alpha=0.55)
            ax.hlines(mean, x - 0.4 * step, x + 0.4 * step, color=colour, lw=2.5, label=label)
            above = max(*values[place], mean)
            ax.annotate(f"{mean:.0%}", (x, above), (0, 4), textcoords="offset points", ha="center", fontsize=8)
        words.append(f"{name}: {listing(dict(zip(places, means, strict=True)))}".replace("\n", " "))
    ax.set_xticks(range(len(places)), [plain(place) for place in places])
    ax.set(ylabel=ylabel, title=plain(title), xlim=(-0.5, len(places) - 0.5))
    ax.set_ylim(0, min(1.08, 1.15 * ax.get_ylim()[1]))
    ax.grid(visible=False, axis="x")
    per_cent(ax.yaxis)
    if len(results) > 1:
        figure.legend(loc="outside lower center", ncols=len(results))
    return Picture(figure, f"{title}; means of the runs. {'; '.join(words)}.")


def ablation(rows: dict[str, dict[str, Sequence[float]]]) -> Picture:
    """One row per step of an ablation and one panel per measure: every seed, and the mean as a bar."""
    measures = list(next(iter(rows.values())))
    figure, axes = new_figure(11, 0.42 * len(rows) + 1.2, columns=len(measures), sharey=True)
    at = np.arange(len(rows))[::-1]
    for i, (ax, measure) in enumerate(zip(axes, measures, strict=True)):
        for place, values in zip(at, (row[measure] for row in rows.values()), strict=True):
            ax.barh(place, np.mean(values), 0.6, color=COLOURS[i], alpha=0.35)
            ax.plot(values, np.full(len(values), place), "o", ms=4, color=COLOURS[i])
        ax.set(title=measure, xlim=(0, None))
        ax.grid(axis="y", visible=False)
        per_cent(ax.xaxis)
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes[0].set_yticks(at, [plain(name) for name in rows])
    words = "; ".join(f"{n}: " + ", ".join(f"{m} {np.mean(v):.1%}" for m, v in r.items()) for n, r in rows.items())
    return Picture(figure, f"Mean over seeds. {words}.")


def sweep(x: Sequence[float | str], series: dict[str, Sequence[float]], xlabel: str, title: str) -> Picture:
    """Measures against a setting, one line per measure; texts as ``x`` are placed side by side."""
    figure, (ax,) = new_figure(6.5, 3.2)
    for i, (name, values) in enumerate(series.items()):
        ax.plot(x, values, "os^D"[i % 4] + "-", ms=5, color=COLOURS[i], label=plain(name))
    ax.axhline(0, color="0.4", lw=1)
    ax.set(xlabel=xlabel)
    ax.set_title(plain(title), loc="left")  # the legend at the right leaves space for a long one
    per_cent(ax.yaxis)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    words = "; ".join(f"{n} from {v[0]:.1%} to {v[-1]:.1%}" for n, v in series.items())
    return Picture(figure, f"{title}: {words}.")


def two_measures(
    points: dict[str, Sequence[tuple[float, float]]], title: str, labels: tuple[str, str], words: tuple[str, str]
) -> Picture:
    """Two measures of every method: a small mark for each seed, a large one at their mean.

    Args:
        points: method -> the two fractions of each seed.
        title: of the figure.
        labels: of the axes.
        words: the same in short, for the text.
    """
    figure, (ax,) = new_figure(8, 4.6)
    means = []
    for name, look in looks(points).items():
        across, up = np.array(points[name]).T
        ax.plot(across, up, ms=4, alpha=0.5, ls="none", **look)
        ax.plot(across.mean(), up.mean(), ms=10, mec="black", ls="none", label=plain(name), **look)
        means.append(f"{name}: {words[0]} {across.mean():.1%}, {words[1]} {up.mean():.1%}")
    ax.set(xlabel=labels[0], ylabel=labels[1], title=plain(title))
    per_cent(ax.xaxis)
    per_cent(ax.yaxis)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
    return Picture(figure, f"{title}. " + "; ".join(means) + ".")
