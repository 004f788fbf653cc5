"""The figures with photographs: a long tail, what networks predict for a class, and what a class is mistaken for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes

from ltlib.data.excerpt import Excerpt
from ltlib.lesson.figures.figure import COLOURS, Picture, new_figure
from ltlib.lesson.figures.text import plain

RIGHT, WRONG = COLOURS[2], COLOURS[3]


class Answered(Protocol):
    """Predictions for the images of an excerpt, in their order."""

    @property
    def predicted(self) -> np.ndarray: ...

    @property
    def confidence(self) -> np.ndarray: ...


def told(
    photographs: Excerpt, answers: Mapping[str, Answered], of_class: str, number: int = 10, title: str = ""
) -> Picture:
    """The first photographs of a class, once per network, with its answer and confidence under each.

    Wrong answers have the error colour, a frame and a cross.

    Args:
        photographs: the excerpt.
        answers: name of a network -> its predictions for the whole excerpt.
        of_class: the true class.
        number: of photographs, those with the smallest official index.
        title: above the figure; by default the class.
    """
    here = np.flatnonzero(photographs.images.labels == photographs.class_names.index(of_class))[:number]
    wide, step = len(here) * 1.08, 1.87  # a row: photographs of side 1, two lines below and the network's name above
    figure, (ax,) = new_figure(9, 9 / wide * step * len(answers) + 0.35)
    words = []
    for row, (name, of_network) in enumerate(answers.items()):
        guesses = [photographs.class_names[guess] for guess in of_network.predicted[here]]
        right = f"{guesses.count(of_class)} of {len(here)} right"
        ax.text(0, -row * step + 0.1, plain(f"{name}: {right}"), weight="bold", va="bottom")
        for place, i, guess in zip(np.arange(len(here)) * 1.08, here, guesses, strict=True):
            good = guess == of_class
            _answer(ax, place, -row * step - 1, photographs.images.pixels[i], good)
            under = f"{'' if good else '✗ '}{plain(guess)}\n{of_network.confidence[i]:.0%}"
            look = {"fontsize": 8, "color": _colour(good), "ha": "center", "va": "top"}
            ax.text(place + 0.5, -row * step - 1.06, under, **look)
        said = zip(guesses, of_network.confidence[here], strict=True)
        words.append(f"{name}, {right}: {', '.join(f'{guess} {confidence:.0%}' for guess, confidence in said)}")
    _frame(ax, wide, -len(answers) * step + 0.25, 0.4)
    title = title or f"The first {len(here)} test photographs of class {of_class!r}"
    ax.set_title(plain(title))
    return Picture(figure, f"{title}, with answer and confidence. {'; '.join(words)}.")


def mistaken(photographs: Excerpt, answers: Answered, classes: Sequence[str], number: int = 15) -> Picture:
    """The first photographs of some classes, sorted by what a network takes them for.

    Args:
        photographs: the excerpt.
        answers: predictions for the whole excerpt.
        classes: true classes, one row each.
        number: of photographs of each class, those with the smallest official index.
    """
    step, words, ends = 2.0, [], []
    figure, (ax,) = new_figure(7, 7 / (1.04 * number + 3.2) * step * len(classes) + 0.3)
    for row, of_class in enumerate(classes):
        ax.text(0, -row * step - 0.5, plain(of_class), ha="right", va="center", weight="bold", fontsize=9)
        x, said = 0.2, []
        for guess, group in _by_answer(photographs, answers, of_class, number):
            end = _group(ax, x, -row * step, photographs, group, guess, guess == of_class)
            said.append(f"{guess} {len(group)}")
            x = end + 0.16
        ends.append(x)
        words.append(f"{of_class}: {', '.join(said)}")
    _frame(ax, max(ends), -(len(classes) - 1) * step - 1.5, 0.5, left=-2.2)
    return Picture(figure, f"Photographs sorted by the class they are taken for. {'; '.join(words)}.")


def _by_answer(photographs: Excerpt, answers: Answered, of_class: str, number: int) -> list[tuple[str, list[int]]]:
    """The images of a class by the class that is predicted: the right answer first, then the most frequent one."""
    names = photographs.class_names
    groups: dict[str, list[int]] = {}
    for i in np.flatnonzero(photographs.images.labels == names.index(of_class))[:number]:
        groups.setdefault(names[answers.predicted[i]], []).append(int(i))
    return sorted(groups.items(), key=lambda group: (group[0] != of_class, -len(group[1]), names.index(group[0])))


def _group(ax: Axes, x: float, y: float, photographs: Excerpt, group: Sequence[int], name: str, right: bool) -> float:
    """Photographs with one answer, side by side under a line with its name; returns where they end."""
    end = x + 1.04 * len(group) - 0.04
    for i, place in zip(group, np.arange(x, end, 1.04), strict=True):
        _answer(ax, place, y - 1, photographs.images.pixels[i], right)
    below = len(group) == 1  # a name is wider than one photograph, so it takes the space under it
    at = y - 1.12 if below else y + 0.12
    ax.text(
        (x + end) / 2, at, plain(name), fontsize=7, color=_colour(right), ha="center", va="top" if below else "bottom"
    )
    return end


def long_tail(photographs: Excerpt, counts: np.ndarray, title: str) -> Picture:
    """Training images of each class as bars, with a photograph of the class under each.

    Args:
        photographs: the excerpt.
        counts: (K,), from head to tail.
        title: above the figure.
    """
    names = photographs.class_names
    figure, (ax,) = new_figure(9, 3.9)
    tall = 2.4  # height of the largest bar; a photograph has side 0.9
    for c, (name, count) in enumerate(zip(names, counts, strict=True)):
        ax.bar(c, tall * count / max(counts), 0.9, color=COLOURS[0])
        ax.text(c, tall * count / max(counts) + 0.05, f"{count:,}", ha="center", fontsize=9)
        _picture(ax, c - 0.45, -0.95, photographs.of_class(name)[0], 0.9)
        ax.text(c, -1.02, plain(name), ha="center", va="top", fontsize=9)
    _frame(ax, len(names) - 0.5, -1.3, tall + 0.35, left=-0.5)
    ax.set_title(plain(title))
    listed = ", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True))
    return Picture(figure, f"{title}. Training images of each class, with a photograph: {listed}.")


def pictogram(photographs: Excerpt, counts: np.ndarray, title: str) -> Picture:
    """A row per class, as long as the class has training images; the last photograph of a row is cut to size.

    The largest class shows all its photographs, so one photograph counts for the same number of images everywhere.

    Args:
        photographs: the excerpt.
        counts: (K,) training images, the largest first.
        title: above the figure.
    """
    worth = max(counts) / photographs.per_class
    figure, (ax,) = new_figure(9, 4.3)
    for c, (name, count) in enumerate(zip(photographs.class_names, counts, strict=True)):
        length = count / worth
        for place, pixels in enumerate(photographs.of_class(name)[: int(np.ceil(length))]):
            shown = max(1, round(min(length - place, 1) * pixels.shape[-1]))  # columns of pixels
            part = pixels[:, :, :shown].transpose(1, 2, 0)
            wide = shown / pixels.shape[-1]
            ax.imshow(part, extent=(place, place + wide, -c - 0.94, -c), interpolation="nearest")
        ax.text(-0.15, -c - 0.5, plain(name), ha="right", va="center", fontsize=9)
        ax.text(length + 0.15, -c - 0.5, f"{count:,}", va="center", fontsize=9)
    _frame(ax, photographs.per_class + 1.6, -len(counts), 0.1, left=-2.6)
    ax.set_title(plain(title))
    listed = ", ".join(f"{name} {count:,}" for name, count in zip(photographs.class_names, counts, strict=True))
    return Picture(figure, f"{title}. One photograph is {worth:g} training images: {listed}.")


def _answer(ax: Axes, x: float, y: float, pixels: np.ndarray, right: bool) -> None:
    """One photograph, framed in the colour of its answer."""
    _picture(ax, x, y, pixels)
    frame = {"color": _colour(right), "lw": 2, "solid_joinstyle": "miter"}
    ax.plot([x, x + 1, x + 1, x, x], [y, y, y + 1, y + 1, y], **frame)


def _colour(right: bool) -> str:
    return RIGHT if right else WRONG


def _picture(ax: Axes, x: float, y: float, pixels: np.ndarray, side: float = 1) -> None:
    ax.imshow(pixels.transpose(1, 2, 0), extent=(x, x + side, y, y + side), interpolation="nearest")


def _frame(ax: Axes, right: float, bottom: float, top: float, left: float = -0.05) -> None:
    """Show this part of the plane, with equal units and nothing around it."""
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    ax.axis("off")
