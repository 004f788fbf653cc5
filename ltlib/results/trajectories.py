"""A training as it went, small enough to travel: what some test images were taken for after every few epochs.

A run that was trained with ``keep_every=n`` has the weights of every n-th epoch. From these :func:`compute` takes the
accuracy and the confidence of each class on the whole test set, and for a few hundred test images the predicted class,
the confidence, and a point in the plane. The plane is the same for all epochs, so points can be followed over time.
``data/reference_runs/<study>/trajectories/<run id>.npz`` holds the result.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from ltlib.data.augment import to_float
from ltlib.errors import InputError
from ltlib.evaluation.calibration import ece, probabilities
from ltlib.evaluation.evaluate import per_class
from ltlib.experiments import execute
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.prepare import prepare
from ltlib.experiments.recipe import resolve
from ltlib.experiments.runs import Run
from ltlib.files import write_atomic
from ltlib.methods import Method
from ltlib.paths import make_folder
from ltlib.results.predictions import Arrays, npz


def compute(run: Run, per_class_images: int = 50) -> Arrays:
    """The trajectory of a run from its kept weights.

    Args:
        run: finished, and trained with ``keep_every``.
        per_class_images: so many test images per class are followed, the first of each class.

    Returns:
        ``epochs`` (E,); over the whole test set ``class_accuracy`` and ``class_confidence`` (E, K), ``ece`` (E,); of
        the followed images ``images`` (M,), their positions in the test set, ``labels`` (M,), ``predicted`` and
        ``confidence`` (E, M), and ``points`` (E, M, 2).

    Raises:
        InputError: the run is not finished or kept no weights.
    """
    kept = run.kept_epochs()
    if not kept:
        raise InputError(f"Run {run.id} kept no weights along the way: train it with keep_every=5, for example.")
    method, experiment = execute.load(run), Experiment(**run.info["experiment"])
    test = prepare(experiment, resolve(experiment)[0]).test
    labels = torch.from_numpy(test.labels)
    images = _first_of_each_class(test.labels, per_class_images)
    pixels = torch.from_numpy(np.asarray(test.pixels))
    frames = []
    for file in kept.values():
        method.load_state_dict(load_file(file))
        frames.append(_frame(method.eval(), pixels, labels, images))
    features = torch.stack([frame.pop("features") for frame in frames])
    followed = labels[images]
    return {
        "epochs": np.array(list(kept), dtype=np.int16),
        "images": images.astype(np.int32),
        "labels": followed.numpy().astype(np.uint8),
        "points": project(features, plane(features[-1], followed)).numpy().astype(np.float16),
        **{name: np.stack([frame[name] for frame in frames]) for name in frames[0]},
    }


@torch.inference_mode()
def _frame(method: Method, pixels: Tensor, labels: Tensor, images: np.ndarray, batch: int = 500) -> dict:
    """One epoch of the trajectory; ``features`` (M, D) of the followed images come along."""
    logits = torch.cat([method.logits(to_float(x)).float() for x in pixels.split(batch)])
    confidence, predicted = logits.softmax(1).max(1)
    accuracy, certainty = per_class(logits, labels)
    return {
        "class_accuracy": np.array(accuracy, dtype=np.float16),
        "class_confidence": np.array(certainty, dtype=np.float16),
        "ece": np.float32(ece(probabilities(logits.numpy()), labels.numpy())),
        "predicted": predicted[images].numpy().astype(np.uint8),
        "confidence": confidence[images].numpy().astype(np.float16),
        "features": method.network.features(to_float(pixels[images])).float(),
    }


def plane(features: Tensor, labels: Tensor) -> Tensor:
    """The two directions, (D, 2), in which the class means of these features (M, D) differ most.

    They are the first two principal components of the class means, each with the sign that makes its largest entry
    positive, because a principal component has no sign of its own.
    """
    means = torch.stack([features[labels == c].mean(0) for c in labels.unique()])
    _, _, directions = torch.linalg.svd(means - means.mean(0), full_matrices=False)
    first = directions[:2].T
    return first * first.gather(0, first.abs().argmax(0, keepdim=True)).sign()


def project(features: Tensor, directions: Tensor) -> Tensor:
    """Features (E, M, D) of each epoch, less their mean, on the plane: (E, M, 2)."""
    return (features - features.mean(1, keepdim=True)) @ directions


def _first_of_each_class(labels: np.ndarray, number: int) -> np.ndarray:
    return np.sort(np.concatenate([np.flatnonzero(labels == c)[:number] for c in np.unique(labels)]))


def file_of(study: Path, run_id: str) -> Path:
    """Where the trajectory of a stored run is kept."""
    return study / "trajectories" / f"{run_id}.npz"


def write(arrays: Arrays, study: Path, run_id: str) -> Path:
    """Store a trajectory beside the records of a study; returns the file."""
    file = file_of(study, run_id)
    make_folder(file.parent, "--to")
    write_atomic(file, npz(arrays))
    return file


def read(study: Path, run_id: str) -> Arrays:
    """The stored trajectory of a run.

    Raises:
        InputError: there is none.
    """
    file = file_of(study, run_id)
    if not file.exists():
        known = sorted(f.stem for f in file.parent.glob("*.npz"))
        raise InputError(f"Run {run_id} has no stored trajectory; {study.name} has those of {known or 'no run'}.")
    with np.load(file) as stored:
        return dict(stored)
