"""What networks predict for the photographs that travel with the project: stored predictions, or a network at hand.

>>> from ltlib.data.excerpt import excerpt
>>> from ltlib.lesson import figures, photographs
>>> seen = {"MiSLAS": photographs.answers("mislas_cifar10_exact", "MiSLAS", seed=0)}
>>> figures.photographs.told(excerpt(), seen, "ship")
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ltlib.data.augment import to_float
from ltlib.data.excerpt import Excerpt, excerpt
from ltlib.errors import InputError, check_choice
from ltlib.evaluation.calibration import confidence_and_correct, probabilities
from ltlib.methods import Method
from ltlib.results import predictions, records
from ltlib.results.record import Record


@dataclass(frozen=True, eq=False)
class Answers:
    """The predictions of one network for the images of an excerpt, in their order.

    Attributes:
        predicted: (N,) class.
        confidence: (N,) its probability.
    """

    predicted: np.ndarray
    confidence: np.ndarray


def answers(study: str, label: str, seed: int = 0, photographs: Excerpt | None = None) -> Answers:
    """The stored predictions of a run of a study.

    Args:
        study: a folder of ``data/reference_runs`` whose test images are those of CIFAR-10.
        label: of the row, such as ``MiSLAS``.
        seed: of the run.
        photographs: the excerpt; by default that of CIFAR-10.

    Raises:
        InputError: there is no such run, or its test images are others.
    """
    check_choice("study", study, records.names())
    found = {f"{record.label}, seed {record.seed}": record for record in records.read(study)}
    check_choice("run", f"{label}, seed {seed}", found)
    return of_record(found[f"{label}, seed {seed}"], photographs or excerpt())


def of_record(record: Record, photographs: Excerpt) -> Answers:
    """What a finished run predicted for the photographs.

    Raises:
        InputError: it was tested on other images, or stores no predictions.
    """
    name, stored = record.data["name"], record.predictions
    same = name.removeprefix("folder:").split("-")[0] == photographs.name  # cifar10, or a copy of it in folders
    if not same or tuple(record.data["class_names"]) != photographs.class_names or stored is None:
        raise InputError(
            f"Run {record.id} has no predictions for the photographs of {photographs.name} (it was tested on {name}): "
            f"name a run on {photographs.name}."
        )
    test = stored["test"]
    here = photographs.places(test["labels"])
    if "logits" in test:
        return _of_logits(test["logits"][here].astype(np.float32), photographs)
    confidence = (test["confidence"][here] - 0.5) / predictions.STEPS
    return Answers(test["predicted"][here].astype(int), confidence)


@torch.inference_mode()
def of_network(method: Method, photographs: Excerpt) -> Answers:
    """What a network predicts now. It is used in the mode in which it is given."""
    z = method.logits(to_float(torch.from_numpy(photographs.images.pixels)))
    return _of_logits(z.numpy(), photographs)


def _of_logits(z: np.ndarray, photographs: Excerpt) -> Answers:
    confidence, _ = confidence_and_correct(probabilities(z), photographs.images.labels)
    return Answers(z.argmax(axis=1), confidence)
