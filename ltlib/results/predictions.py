"""The predictions behind a stored record, small: the class and the confidence of every test image.

``<run id>.npz`` beside a record of ``data/reference_runs`` holds, for ``test`` and for every robust report whose
images were kept, ``labels``, ``predicted`` and ``confidence``. From these follow the accuracy, of every class and
group, and the confusion matrix exactly, and the ECE to within 1 / 131,070. Where a study asks for it, ``test`` also has
the ``logits`` as float16, from which the whole report card follows. ``classes`` holds the ``accuracy`` and the
``confidence`` of each class, (E, K), after the epochs ``epoch`` (E,), where a run measured them along the way.
``sharpness`` is kept where a study asks for it, see :mod:`ltlib.results.landscape`.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ltlib.data.longtail import PAPER_GROUPS, shot_groups
from ltlib.errors import InputError
from ltlib.evaluation.accuracy import confusion_matrix, group_accuracy, per_class_accuracy
from ltlib.evaluation.calibration import confidence_and_correct, equal_width_bins, probabilities
from ltlib.evaluation.evaluate import report_card
from ltlib.experiments.attack import attack_arrays
from ltlib.experiments.runs import Run

# Confidences are rounded up to a 65,535th and read as the middle of it. 65,535 is 15 * 4,369, so that every confidence
# stays inside its one of 15 right-closed bins, and moves by at most half a step.
STEPS = 65_535

Arrays = dict[str, np.ndarray]


def compress(logits: np.ndarray, labels: np.ndarray) -> Arrays:
    """``labels``, ``predicted`` (the smallest type that holds the classes) and ``confidence`` (uint16), each (N,).

    Args:
        logits: (N, K) float32.
        labels: (N,) true classes.
    """
    small = np.min_scalar_type(logits.shape[1] - 1)
    confidence, _ = confidence_and_correct(probabilities(logits), labels)
    return {
        "labels": labels.astype(small),
        "predicted": logits.argmax(axis=1).astype(small),
        "confidence": np.ceil(confidence * STEPS).astype(np.uint16),
    }


def half(logits: np.ndarray) -> np.ndarray:
    """Logits (N, K) as float16 such that the largest of each row stays the largest.

    The largest of the row is subtracted first, which changes no probability: it becomes exactly 0, and float16 is
    finest near 0. What is left is off by at most a 2,048th of itself.
    """
    z = logits.astype(np.float64)
    z = z - z.max(axis=1, keepdims=True)
    return z.clip(np.finfo(np.float16).min).astype(np.float16)


def of_run(run: Run, reports: Sequence[dict] = (), logits: bool = False) -> dict[str, Arrays]:
    """What was predicted in a finished run: ``test``, the name of each robust report's arrays, and ``classes``.

    Args:
        run: finished.
        reports: its robust reports.
        logits: whether ``test`` holds the logits as well.

    Raises:
        InputError: the run is not finished, or its predictions are damaged.
    """
    stored = run.predictions()
    found = {"test": compress(stored["logits"], stored["labels"])}
    if logits:
        found["test"]["logits"] = half(stored["logits"])
    for report in reports:
        if arrays := attack_arrays(run, report):
            found[report["arrays"]] = compress(arrays["adversarial_logits"], arrays["labels"])
    return found | classes(run.metrics)


def classes(lines: Sequence[dict]) -> dict[str, Arrays]:
    """``classes`` from the lines of ``metrics.jsonl``; empty if no epoch has them. NaN where a class has no image."""
    measured = [line for line in lines if "class_accuracy" in line]
    if not measured:
        return {}
    found: Arrays = {"epoch": np.array([line["epoch"] for line in measured], dtype=np.int32)}
    for name in ("accuracy", "confidence"):
        found[name] = np.array([line[f"class_{name}"] for line in measured], dtype=np.float32)  # None becomes NaN
    return {"classes": found}


def pack(found: dict[str, Arrays]) -> bytes:
    """The content of an ``.npz`` file with all arrays."""
    return npz(_flat(found))


def npz(arrays: Mapping[str, Any]) -> bytes:
    """The content of a compressed ``.npz`` file with these arrays."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def unpack(file: Path) -> dict[str, Arrays]:
    """What :func:`pack` wrote.

    Raises:
        InputError: the file is damaged.
    """
    found: dict[str, Arrays] = {}
    try:
        with np.load(file) as stored:
            for key in stored.files:
                name, _, what = key.rpartition("/")
                found.setdefault(name, {})[what] = stored[key]
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{file} is damaged ({error}): delete it and export the run again.") from error
    return found


def equal(one: dict[str, Arrays], other: dict[str, Arrays]) -> bool:
    """Whether both hold the same arrays."""
    a, b = _flat(one), _flat(other)
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key], a[key].dtype.kind == "f") for key in a)


def _flat(found: dict[str, Arrays]) -> Arrays:
    return {f"{name}/{key}": array for name, arrays in found.items() for key, array in arrays.items()}


def measures(arrays: Arrays, counts: np.ndarray) -> dict:
    """What follows from the predictions, named as in ``ltlib.evaluation.evaluate.report_card``.

    Args:
        arrays: of :func:`compress`.
        counts: (K,) training images of each class.

    Returns:
        ``accuracy``, ``confusion`` (K, K), ``per_class_accuracy`` (K,), ``ece``, and ``groups[rule][group]`` with the
        accuracy and ECE of the group's images, where it has any.
    """
    labels, predicted = arrays["labels"].astype(int), arrays["predicted"].astype(int)
    correct, confidence = predicted == labels, (arrays["confidence"] - 0.5) / STEPS
    confusion = confusion_matrix(predicted, labels, len(counts))
    found = {
        "accuracy": float(correct.mean()),
        "confusion": confusion,
        "per_class_accuracy": per_class_accuracy(confusion),
        "ece": equal_width_bins(confidence, correct).expected_error(),
        "groups": {},
    }
    for rule in ("threshold", "papers") if len(counts) in PAPER_GROUPS else ("threshold",):
        groups = shot_groups(counts, rule)
        found["groups"][rule] = {
            name: {"accuracy": accuracy, "ece": _ece_inside(np.isin(labels, groups[name]), confidence, correct)}
            for name, accuracy in group_accuracy(confusion, groups).items()
            if accuracy is not None
        }
    return found


def card(arrays: Arrays, counts: np.ndarray) -> dict:
    """The whole report card, from stored logits.

    Args:
        arrays: of :func:`of_run` with ``logits=True``, such as ``test``.
        counts: (K,) training images of each class.

    Raises:
        InputError: no logits are stored.
    """
    if "logits" not in arrays:
        raise InputError("These predictions hold no logits: export the run with --logits.")
    return report_card(arrays["logits"].astype(np.float32), arrays["labels"].astype(int), counts)


def _ece_inside(inside: np.ndarray, confidence: np.ndarray, correct: np.ndarray) -> float:
    return equal_width_bins(confidence[inside], correct[inside]).expected_error()
