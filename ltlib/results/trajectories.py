"""A training as it went, small enough to travel: what some test images were taken for after every few epochs.

A run that was trained with ``keep_every=n`` has the weights of every n-th epoch. From these :func:`compute` takes the
accuracy and the confidence of each class on the whole test set, and for a few hundred test images the predicted class,
the confidence, and a point in the plane. The plane is the same for all epochs, so points can be followed over time.
``data/reference_runs/<study>/trajectories/<run id>.npz`` holds the result.
"""

from __future__ import annotations

import sys
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

# The arrays that have one row per epoch.
OVER_TIME = ("class_accuracy", "class_confidence", "ece", "predicted", "confidence")


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
    if run.state != "finished":
        raise InputError(f"Run {run.id} is {run.state}: finish it before its trajectory can be stored.")
    by_epoch = frames(run, per_class_images)
    if not by_epoch:
        raise InputError(f"Run {run.id} kept no weights along the way: train it with keep_every=5, for example.")
    of_epochs = list(by_epoch.values())
    features = torch.stack([torch.from_numpy(frame.pop("features")).float() for frame in of_epochs])
    images, labels = (of_epochs[0][name] for name in ("images", "labels"))
    return {
        "epochs": np.array(list(by_epoch), dtype=np.int16),
        "images": images,
        "labels": labels,
        "points": project(features, plane(features[-1], torch.from_numpy(labels))).numpy().astype(np.float16),
        **{name: np.stack([frame[name] for frame in of_epochs]) for name in OVER_TIME},
    }


def frames(run: Run, per_class_images: int = 50) -> dict[int, Arrays]:
    """Epoch -> what :func:`compute` takes from its weights, also of a run that is not finished.

    Each epoch's part is a small file beside the weights. A computation that was stopped continues after the last one,
    and a run that goes on elsewhere can leave its weights behind.

    Returns:
        Of each epoch ``images``, ``labels`` and the arrays of :func:`compute` for that epoch, without ``points``, but
        with ``features`` (M, D), float16, of the followed images.
    """
    kept = run.kept_epochs()
    files = {int(file.stem): file for file in (run.folder / "epochs").glob("[0-9]*.npz")}
    missing = [epoch for epoch in kept if epoch not in files or not _follows(files[epoch], per_class_images)]
    if missing:
        _write_frames(run, {epoch: kept[epoch] for epoch in missing}, per_class_images)
    files |= {epoch: file.with_suffix(".npz") for epoch, file in kept.items()}
    return {epoch: _read(files[epoch]) for epoch in sorted(files)}


def _follows(file: Path, per_class_images: int) -> bool:
    return bool((np.bincount(_read(file)["labels"]) == per_class_images).all())


def _write_frames(run: Run, weights: dict[int, Path], per_class_images: int) -> None:
    info, experiment = run.info, Experiment(**run.info["experiment"])
    method = execute.untrained(experiment.method, info["recipe"], info["hyperparameters"], info["data"])
    test = prepare(experiment, resolve(experiment)[0]).test
    labels = torch.from_numpy(test.labels)
    images = _first_of_each_class(test.labels, per_class_images)
    pixels = torch.from_numpy(np.asarray(test.pixels))
    for number, (epoch, file) in enumerate(weights.items(), start=1):
        print(f"trajectory of {run.id}: epoch {epoch}, {number} of {len(weights)}", file=sys.stderr)
        method.load_state_dict(load_file(file))
        write_atomic(file.with_suffix(".npz"), npz(_frame(method.eval(), pixels, labels, images)))


@torch.inference_mode()
def _frame(method: Method, pixels: Tensor, labels: Tensor, images: np.ndarray, batch: int = 500) -> dict:
    """One epoch of :func:`frames`."""
    logits = torch.cat([method.logits(to_float(x)).float() for x in pixels.split(batch)])
    confidence, predicted = logits.softmax(1).max(1)
    accuracy, certainty = per_class(logits, labels)
    return {
        "images": images.astype(np.int32),
        "labels": labels[images].numpy().astype(np.uint8),
        "class_accuracy": np.array(accuracy, dtype=np.float16),
        "class_confidence": np.array(certainty, dtype=np.float16),
        "ece": np.float32(ece(probabilities(logits.numpy()), labels.numpy())),
        "predicted": predicted[images].numpy().astype(np.uint8),
        "confidence": confidence[images].numpy().astype(np.float16),
        "features": method.network.features(to_float(pixels[images])).to(torch.float16).numpy(),
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


def joined(first: Arrays, second: Arrays) -> Arrays:
    """The trajectories of two stages as one; the epochs of the second are counted on.

    Both have the same plane where the second stage trains a classifier on the features with which the first one ended.

    Args:
        first, second: as :func:`compute` gives them, of the same test images.

    Raises:
        InputError: they follow different images.
    """
    if not np.array_equal(first["images"], second["images"]):
        raise InputError("The two trajectories follow different test images: compute both with one per_class_images.")
    counted_on = {"epochs": second["epochs"] + first["epochs"][-1]}
    return first | {
        name: np.concatenate([first[name], (second | counted_on)[name]]) for name in ("epochs", "points", *OVER_TIME)
    }


def file_of(study: Path, run_id: str) -> Path:
    """Where the trajectory of a stored run is kept."""
    return study / "trajectories" / f"{run_id}.npz"


def write(arrays: Arrays, study: Path, run_id: str) -> Path:
    """Store a trajectory beside the records of a study; returns the file."""
    file = file_of(study, run_id)
    make_folder(file.parent, "--to")
    write_atomic(file, npz(arrays))
    return file


def _read(file: Path) -> Arrays:
    with np.load(file) as stored:
        return dict(stored)


def read(study: Path, run_id: str) -> Arrays:
    """The stored trajectory of a run.

    Raises:
        InputError: there is none.
    """
    file = file_of(study, run_id)
    if not file.exists():
        known = sorted(f.stem for f in file.parent.glob("*.npz"))
        raise InputError(f"Run {run_id} has no stored trajectory; {study.name} has those of {known or 'no run'}.")
    return _read(file)
