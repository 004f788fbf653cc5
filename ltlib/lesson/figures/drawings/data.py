"""Drawings of lessons 00 and 01: the flow of a run, and what a sampler does."""

from __future__ import annotations

import numpy as np

from ltlib.lesson.figures.drawings.sketch import CLASS_COLOURS, DATA, LEARNS, RESULT, arrow, box, note, sheet, tiles
from ltlib.lesson.figures.figure import Picture

SIZES = (8, 3, 1)  # images of the three classes in the drawing of a sampler


def run_flow() -> Picture:
    """From the words of an experiment to the figures about it."""
    figure, ax = sheet(9, 2.5)
    box(ax, (0.1, 1.3), (1.5, 0.8), "Experiment\nwhat you ask for", DATA)
    box(ax, (2.15, 1.3), (1.5, 0.8), "data\nlong-tailed subset", DATA)
    box(ax, (4.2, 1.3), (1.5, 0.8), "training\nmethod + engine", LEARNS)
    box(ax, (6.25, 1.3), (2.6, 0.8), "run folder\nrun.json   metrics.jsonl\npredictions.npz   weights", RESULT)
    box(ax, (6.25, 0.15), (1.2, 0.65), "tables", RESULT)
    box(ax, (7.65, 0.15), (1.2, 0.65), "figures", RESULT)
    for start in (1.6, 3.65, 5.7):
        arrow(ax, (start, 1.7), (start + 0.55, 1.7))
    arrow(ax, (6.85, 1.3), (6.85, 0.8))
    arrow(ax, (8.25, 1.3), (8.25, 0.8))
    note(ax, (0.1, 0.62), "The same experiment again: the finished run is loaded.")
    note(ax, (0.1, 0.32), "After an interruption: training continues after the last finished epoch.")
    text = (
        "Flow of a run. The experiment names what you ask for; the long-tailed subset is selected; the method and the "
        "engine train; the run folder keeps run.json, metrics, predictions and weights; tables and figures are made "
        "from the folder without training."
    )
    return Picture(figure, text)


def draws(q: float, count: int = 12) -> list[tuple[int, str]]:
    """The images that a sampler of the family n^q draws, class by class: shares rounded, images in turn."""
    shares = np.array(SIZES, dtype=float) ** q
    times = np.round(count * shares / shares.sum()).astype(int)
    times[0] += count - times.sum()
    return [(c, str(i % SIZES[c] + 1)) for c, n in enumerate(times) for i in range(n)]


def sampler() -> Picture:
    """Three classes of 8, 3 and 1 images, and what two samplers make of them in twelve draws."""
    figure, ax = sheet(9, 2.9)
    note(ax, (0.1, 2.68), "training set", weight="bold")
    for c, (name, size) in enumerate(zip(("head", "middle", "tail"), SIZES, strict=True)):
        note(ax, (0.1, 2.27 - 0.45 * c), name, color=CLASS_COLOURS[c])
        tiles(ax, (0.75, 2.15 - 0.45 * c), [(c, str(i + 1)) for i in range(size)])
    steps = "sampler\n1  draw a class j\nwith probability p(j)\n2  draw one of\nits images"
    box(ax, (3.45, 1.1), (1.65, 1.3), steps, LEARNS)
    arrow(ax, (3.0, 1.75), (3.45, 1.75))
    for row, (name, q) in enumerate((("instance-balanced: p(j) follows the counts", 1), ("class-balanced: equal", 0))):
        y = 2.0 - 1.05 * row
        note(ax, (5.6, y + 0.42), name, weight="bold")
        tiles(ax, (5.6, y), draws(q))
        times = [sum(kind == c for kind, _ in draws(q)) for c in range(3)]
        words = "   ".join(f"{n}: {t}" for n, t in zip(("head", "middle", "tail"), times, strict=True))
        note(ax, (5.6, y - 0.15), words)
    arrow(ax, (5.1, 2.0), (5.55, 2.12))
    arrow(ax, (5.1, 1.5), (5.55, 1.07))
    note(
        ax,
        (0.1, 0.3),
        "Each number is one image. Balancing repeats the only tail image. It adds no new one.",
    )
    text = (
        "What a sampler does, drawn with 8 head, 3 middle and 1 tail image. In twelve draws the instance-balanced "
        "sampler shows the tail image once; the class-balanced sampler shows it four times, and half of the head "
        "images not at all."
    )
    return Picture(figure, text)
