"""Accuracy on a long tail: overall, per class, per group. Everything from logits and labels, as fractions."""

from __future__ import annotations

import numpy as np

from ltlib.evaluation.valid import check_labels


def confusion_matrix(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts (K, K): row = true class, column = predicted class.

    Raises:
        InputError: a label or a prediction is no class, or there are not as many of each.
    """
    check_labels(labels, len(labels), num_classes)
    check_labels(predicted, len(labels), num_classes)
    flat = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes)


def per_class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Recall of each class, (K,); NaN for classes that the test set does not hold."""
    total = confusion.sum(axis=1)
    return np.divide(confusion.diagonal(), total, out=np.full(len(total), np.nan), where=total > 0)


def group_accuracy(confusion: np.ndarray, groups: dict[str, np.ndarray]) -> dict[str, float | None]:
    """Share of the test images of each group that are classified right; None for an empty group."""
    result = {}
    for name, classes in groups.items():
        total = confusion[classes].sum()
        result[name] = float(confusion.diagonal()[classes].sum() / total) if total else None
    return result
