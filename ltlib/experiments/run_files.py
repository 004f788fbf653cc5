"""What the files of a run folder must hold. A damaged or foreign one is named in one sentence."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from ltlib.errors import InputError

# What the rest of the package reads of a run.json.
SHAPE: dict[str, type | tuple[type, ...]] = {
    "state": str,
    "command": str,
    "experiment": dict,
    "experiment.method": str,
    "experiment.seed": int,
    "recipe": dict,
    "recipe.backbone": str,
    "hyperparameters": dict,
    "data": dict,
    "data.name": str,
    "data.class_names": list,
    "data.counts": list,
    "data.fingerprint": str,
}
STATES = ("running", "interrupted", "failed", "finished")


def content(file: Path) -> bytes:
    """The bytes of a plain file: a pipe or a device in its place would never end.

    Raises:
        InputError: it is no plain file, or cannot be read.
    """
    try:
        if not file.is_file():
            raise OSError(errno.EINVAL, "it is no plain file")
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): delete the folder and run again.") from error


def read_json(text: bytes | str) -> Any:
    """What a JSON text holds.

    Raises:
        ValueError: it is no JSON, or holds a number that is not finite.
        RecursionError: it is nested too deep.
    """
    return json.loads(text, parse_constant=_finite, parse_float=_finite)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it holds the number {text}")
    return number


def wrong_run(told: object) -> str:
    """What keeps the content of a ``run.json`` from being that of a run; empty if nothing does."""
    if not isinstance(told, dict):
        return "it holds no object"
    for path, kind in SHAPE.items():
        value: object = told
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if not isinstance(value, kind):
            return f"{path} is missing" if value is None else f"{path} is {value!r}"
    if told["state"] not in STATES:
        return f"state is {told['state']!r}"
    counts, names = told["data"]["counts"], told["data"]["class_names"]
    if not counts or len(counts) != len(names) or not all(isinstance(n, int) and n >= 0 for n in counts):
        return "data.counts is not one number for each class"
    return ""


def wrong_predictions(logits: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> str:
    """What keeps arrays from being the predictions of a run; empty if nothing does."""
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or counts.shape != logits.shape[1:] or not logits.size:
        return f"shapes are {logits.shape}, {labels.shape} and {counts.shape}"
    if logits.dtype.kind != "f" or labels.dtype.kind not in "iu" or counts.dtype.kind not in "iu":
        return f"types are {logits.dtype}, {labels.dtype} and {counts.dtype}"
    if not np.isfinite(logits).all():
        return "some logits are not finite"
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        return f"labels are from {labels.min()} to {labels.max()} with {logits.shape[1]} classes"
    return ""
