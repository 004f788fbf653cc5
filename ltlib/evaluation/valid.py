"""What a metric may be computed from. A metric of NaN, or of rows that are no probabilities, is a number that means
nothing, so every public metric refuses them and names the first row at fault.
"""

from __future__ import annotations

import numpy as np

from ltlib.errors import InputError

SUM = 1e-4  # how far the sum of a row of probabilities may be from 1: more than float32 rounding, less than a mistake


def check_logits(z: np.ndarray, y: np.ndarray | None = None) -> None:
    """Raise :class:`InputError` unless logits (N, K) are finite, N is at least 1, and y (N,) are classes of them."""
    _check_rows(z, "logits")
    if y is not None:
        check_labels(y, *z.shape)


def check_probabilities(p: np.ndarray, y: np.ndarray | None = None) -> None:
    """Raise :class:`InputError` unless each row of p (N, K) is a distribution, and y (N,) are classes of them."""
    _check_rows(p, "probabilities")
    wrong = (np.abs(p.sum(axis=1) - 1) > SUM) | (p < 0).any(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"Row {row} of the probabilities is no distribution (sum {p[row].sum():.6g}, smallest {p[row].min():.3g}): "
            f"give softmax outputs, which are at least 0 and sum to 1."
        )
    if y is not None:
        check_labels(y, *p.shape)


def check_confidence(confidence: np.ndarray, correct: np.ndarray) -> None:
    """Raise :class:`InputError` unless confidences (N,) are from 0 to 1 and come with as many outcomes."""
    if confidence.ndim != 1 or confidence.shape != np.shape(correct):
        raise InputError(f"Confidences need one outcome each; got shapes {confidence.shape} and {np.shape(correct)}.")
    wrong = ~((confidence >= 0) & (confidence <= 1 + SUM))  # also true of NaN
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(f"Confidence {row} is {confidence[row]}: it must be from 0 to 1.")


def check_labels(y: np.ndarray, images: int, classes: int) -> None:
    """Raise :class:`InputError` unless y holds a class from 0 to ``classes`` - 1 for each image."""
    y = np.asarray(y)
    if y.shape != (images,):
        raise InputError(f"Expected one label for each of {images} images; got labels of shape {y.shape}.")
    if y.dtype.kind not in "iu":
        raise InputError(f"Labels must be whole numbers, the classes; got values of type {y.dtype}.")
    if images and not (y.min() >= 0 and y.max() < classes):
        wrong = y[(y < 0) | (y >= classes)][0]
        raise InputError(f"Label {wrong} is no class: with {classes} classes labels are from 0 to {classes - 1}.")


def _check_rows(rows: np.ndarray, name: str) -> None:
    if rows.ndim != 2 or not rows.size:
        raise InputError(f"The {name} must be a table with a row for each image; got shape {rows.shape}.")
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise InputError(
            f"Row {int(bad.argmax())} of the {name} holds NaN or infinite values (so do {int(bad.sum()) - 1} others): "
            f"the model cannot be evaluated."
        )
