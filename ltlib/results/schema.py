"""What the files of a finished run must hold for a table to be made of them, as JSON schemas.

A file of another shape is named in one sentence and left out. What a schema does not name is allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import fastjsonschema

from ltlib.errors import InputError, one_line
from ltlib.experiments import run_files

LONGEST = 120  # characters of a message that quote the file

# Bounds that no measurement reaches; JSON allows whole numbers that no float holds.
TEXT, NUMBER = {"type": "string"}, {"type": "number", "minimum": -1e12, "maximum": 1e12}
WHOLE = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
SHARE = {"type": "number", "minimum": 0, "maximum": 1}
ANYTHING = {"type": "object"}


def _object(optional: dict[str, dict] | None = None, **required: dict) -> dict:
    return {"type": "object", "properties": required | (optional or {}), "required": list(required)}


def _list(items: dict) -> dict:
    return {"type": "array", "items": items}


def _values(of: dict) -> dict:
    """An object whose keys are free."""
    return {"type": "object", "additionalProperties": of}


def _maybe(of: dict) -> dict:
    return of | {"type": [of["type"], "null"]}


MEASURED = _object(accuracy=_maybe(SHARE)) | {"additionalProperties": _maybe(NUMBER)}
CARD = _object(
    accuracy=SHARE,
    ece=SHARE,
    confidence_gap=NUMBER,
    worst_class_accuracy=SHARE,
    per_class_accuracy=_list(_maybe(SHARE)),
    groups=_values(_values(MEASURED)),
    optional=dict.fromkeys(("mce", "adaptive_ece", "classwise_ece", "nll", "brier", "balanced_accuracy"), NUMBER),
)
REPORT = _object(
    run=TEXT,
    attacks=_values(ANYTHING) | {"minProperties": 1},
    norm=TEXT,
    epsilon=NUMBER | {"minimum": 0},
    images=WHOLE,
    clean_accuracy=SHARE,
    robust_accuracy=SHARE,
    after=_values(SHARE),
    checks=_list(_object(name=TEXT, passed={"type": "boolean"})),
    reliable={"type": "boolean"},
    optional={"adversarial": CARD, "arrays": TEXT, "attack": TEXT, "data": TEXT},
)
EXPERIMENT = _object(
    method=TEXT, dataset=TEXT, imbalance_type=TEXT, imbalance_factor=NUMBER, profile=TEXT, seed=WHOLE, overrides=TEXT
)
DATA = _object(
    name=TEXT,
    class_names=_list(TEXT),
    counts=_list(WHOLE) | {"minItems": 1},
    train_images=WHOLE,
    test_images=WHOLE,
    fingerprint=TEXT,
)
RECORD = _object(
    id=TEXT,
    label=TEXT,
    command=TEXT,
    experiment=EXPERIMENT,
    recipe=_object({"keep": {"enum": ["last", "best_on_validation"]}}, backbone=TEXT, epochs=WHOLE),
    hyperparameters=ANYTHING,
    data=DATA,
    versions=_values(TEXT),
    revision=TEXT,
    hardware=_object(device=TEXT),
    finished=TEXT,
    seconds=NUMBER,
    metrics=CARD,
    optional={
        "best_epochs": _values(_object(epoch=WHOLE, test_accuracy=SHARE)),
        "curve": _object(epoch=_list(WHOLE), loss=_list(NUMBER), test_accuracy=_list(SHARE)),
        "robust": _list(REPORT),
        "parameters": WHOLE,
        "trained_images": WHOLE,
        "precision": TEXT,
        "started": TEXT,
        "weights_sha256": TEXT,
        "reported_epoch": WHOLE,
    },
)
SCHEMAS = {"record": RECORD, "robust report": REPORT}


@cache
def _validator(what: str) -> Callable[[object], object]:
    return fastjsonschema.compile(SCHEMAS[what], use_default=False)


def read_json(file: Path) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: it cannot be read, is no JSON, or holds NaN or an infinite number.
    """
    try:
        return run_files.read_json(run_files.content(file))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read ({_short(error)}): {AGAIN}") from error


AGAIN = "restore it, or delete its run and train it again."


def check(told: object, what: str, file: Path) -> None:
    """Raise unless ``told`` is what ``what`` says: a ``record`` or a ``robust report``.

    Raises:
        InputError: something is missing or of another type; the message names it.
    """
    try:
        _validator(what)(told)
    except fastjsonschema.JsonSchemaValueException as error:
        raise InputError(f"{file} is no {what} ({_short(error.message.removeprefix('data.'))}): {AGAIN}") from error


def _short(message: object) -> str:
    text = one_line(message)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
