"""The report card: everything we say about a trained model, computed from stored float32 logits alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ltlib import distributed
from ltlib.attacks import PGD, attacked
from ltlib.data.augment import to_float
from ltlib.data.longtail import PAPER_GROUPS, shot_groups
from ltlib.data.stream import Split, Stream, batches
from ltlib.errors import InputError
from ltlib.evaluation import calibration
from ltlib.evaluation.accuracy import confusion_matrix, group_accuracy, per_class_accuracy
from ltlib.evaluation.precision import full_float32
from ltlib.evaluation.valid import check_logits
from ltlib.methods.method import Method


class Measure(NamedTuple):
    """One number of the report card.

    Attributes:
        name: how tables and the command line call it.
        of: logits float32 (N, K), their probabilities (N, K) and true classes (N,) -> the number.
        is_share: whether it is a fraction, which tables print in per cent.
    """

    name: str
    of: Callable[[np.ndarray, np.ndarray, np.ndarray], float]
    is_share: bool = True


# Key in the stored report card -> what it is. A measure in this table is measured by every run, overall and per group,
# and has its name in `results`, in exported tables and in lessons.
MEASURES = {
    "accuracy": Measure("accuracy", lambda z, p, y: float((z.argmax(axis=1) == y).mean())),
    "ece": Measure("ECE", lambda z, p, y: calibration.ece(p, y)),
    "mce": Measure("MCE", lambda z, p, y: calibration.mce(p, y)),
    "adaptive_ece": Measure("adaptive ECE", lambda z, p, y: calibration.adaptive_ece(p, y)),
    "classwise_ece": Measure("classwise ECE", lambda z, p, y: calibration.classwise_ece(p, y)),
    "confidence_gap": Measure("confidence gap", lambda z, p, y: calibration.confidence_gap(p, y)),
    "nll": Measure("NLL", lambda z, p, y: calibration.nll(z, y), is_share=False),
    "brier": Measure("Brier score", lambda z, p, y: calibration.brier(p, y), is_share=False),
}


@torch.inference_mode()
def predict(method: Method, images: Tensor | Stream, batch_size: int = 500) -> Tensor:
    """Logits (N, K) in float32, on the CPU, of uint8 images (N, 3, H, W) on the method's device.

    Computed in full float32, without TF32: half-precision logits push confidences to exactly 1. Of several processes
    each predicts its share, and all get everything.
    """
    was_training = method.training
    method.eval()
    own = torch.arange(distributed.rank(), len(images), distributed.world_size(), device=images.device)
    with full_float32():
        logits = torch.cat([method.logits(to_float(x)).float() for x in batches(images, own.split(batch_size))])
    method.train(was_training)
    return distributed.gather_rows(logits, len(images)).cpu()


def attacked_accuracy(method: Method, attack: PGD, split: Split, batch_size: int = 500) -> float:
    """Accuracy of a method on the images of a split after an attack, a fraction.

    Computed in full float32. Of several processes each attacks its share. An attack that starts at the clean image
    draws no random number, so a training that is measured this way stays the same.

    Args:
        method: whose ``logits`` are attacked.
        attack: from images and labels to adversarial images.
        split: uint8 images (N, 3, H, W) and labels (N,) on the method's device.
        batch_size: images that are attacked at once.

    Raises:
        InputError: the logits of an adversarial image are not finite.
    """
    images, labels, *_ = split
    own = torch.arange(distributed.rank(), len(images), distributed.world_size(), device=images.device)
    order = own.split(batch_size)
    with full_float32(), attacked(method):
        found = [
            method.logits(attack(method.logits, to_float(x), labels[index])).float()
            for x, index in zip(batches(images, order), order, strict=True)
        ]
    return accuracy(distributed.gather_rows(torch.cat(found), len(images)).cpu(), labels.cpu())


@torch.inference_mode()
def class_means(method: Method, split: Split, batch_size: int = 500) -> Tensor:
    """The mean feature of the images of each class, (K, D) in float32, on the method's device.

    The images are seen as they are stored, without augmentation. Of several processes each sees its share.

    Args:
        method: whose network makes the features, in evaluation mode.
        split: images or features, and labels, on the method's device.
        batch_size: images at a time.
    """
    was_training = method.training
    method.eval()
    images, labels, *_ = split
    own = torch.arange(distributed.rank(), len(images), distributed.world_size(), device=labels.device)
    order, classes = own.split(batch_size), torch.arange(len(method.counts), device=labels.device)
    sums, counts = [], []
    with full_float32():
        for x, index in zip(batches(images, order), order, strict=True):
            member = (labels[index] == classes[:, None]).float()
            # sum of f(x) over the images of class k, and how many they are
            sums.append(member @ method.network.features(to_float(x)).float())
            counts.append(member.sum(1, keepdim=True))
    method.train(was_training)
    return distributed.average(torch.stack(sums).sum(0)) / distributed.average(torch.stack(counts).sum(0))


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Top-1 accuracy.

    Raises:
        InputError: the logits are not finite: the largest of them would be any class.
    """
    _check_finite(logits)
    return (logits.argmax(1) == labels.to(logits.device)).float().mean().item()


def per_class(logits: Tensor, labels: Tensor) -> tuple[list[float | None], list[float | None]]:
    """Accuracy of each class and mean confidence on its images, to four digits; None where no image is tested.

    Raises:
        InputError: the logits are not finite.
    """
    _check_finite(logits)
    confidence, predicted = logits.softmax(1).max(1)
    labels = labels.to(logits.device)
    total = torch.bincount(labels, minlength=logits.shape[1])
    means = []
    for values in ((predicted == labels).double(), confidence.double()):
        sums = torch.bincount(labels, weights=values, minlength=logits.shape[1])
        means.append([round(s / n, 4) if n else None for s, n in zip(sums.tolist(), total.tolist(), strict=True)])
    return means[0], means[1]


def _check_finite(logits: Tensor) -> None:
    if not torch.isfinite(logits).all():
        raise InputError("The logits hold NaN or infinite values: the model cannot be evaluated.")


def used_parameters(method: Method, image: Tensor) -> int:
    """How many numbers the logits are computed with: not those of a teacher, or of a copy that is not evaluated.

    Args:
        image: one in [0, 1], (1, 3, H, W), on the method's device.
    """
    parameters = list(method.parameters())
    learning = [p.requires_grad for p in parameters]
    was_training = method.training
    method.eval().requires_grad_(True)
    gradients = torch.autograd.grad(method.logits(image).sum(), parameters, allow_unused=True)
    for p, before in zip(parameters, learning, strict=True):
        p.requires_grad_(before)
    method.train(was_training)
    return sum(p.numel() for p, g in zip(parameters, gradients, strict=True) if g is not None)


def report_card(logits: np.ndarray, labels: np.ndarray, counts: np.ndarray, confusion: bool = True) -> dict:
    """Accuracy and calibration, overall and per group under every rule that is defined for these classes.

    Args:
        logits: float32 (N, K) of the test images.
        labels: (N,) true classes.
        counts: (K,) training images of each class; they define the groups.
        confusion: whether the card holds the confusion matrix, K^2 numbers.

    Returns:
        JSON-ready values. Accuracies and errors are fractions; a group without test images is None.
        ``groups[rule][group]`` holds the measures of the group's images.

    Raises:
        InputError: the logits are not finite, or the shapes do not agree.
    """
    if logits.shape != (len(labels), len(counts)):
        raise InputError(f"Expected logits of shape {(len(labels), len(counts))}; got {logits.shape}.")
    check_logits(logits, labels)
    matrix = confusion_matrix(logits.argmax(axis=1), labels, len(counts))
    by_class = per_class_accuracy(matrix)
    card: dict[str, Any] = _measures(logits, labels) | {
        "balanced_accuracy": float(np.nanmean(by_class)),
        "worst_class_accuracy": float(np.nanmin(by_class)),
        "worst_class": int(np.nanargmin(by_class)),
        "per_class_accuracy": [None if np.isnan(a) else float(a) for a in by_class],
        **({"confusion": matrix.tolist()} if confusion else {}),
        "test_images": len(labels),
        "groups": {},
    }
    for rule in ("threshold", "papers") if len(counts) in PAPER_GROUPS else ("threshold",):
        groups = shot_groups(counts, rule)
        card["groups"][rule] = {
            name: _group(logits, labels, classes, group_accuracy(matrix, groups)[name])
            for name, classes in groups.items()
        }
    return card


def _group(logits: np.ndarray, labels: np.ndarray, classes: np.ndarray, accuracy: float | None) -> dict:
    inside = np.isin(labels, classes)
    about = {"classes": len(classes), "test_images": int(inside.sum())}
    if accuracy is None:
        return about | {"accuracy": None}
    return about | _measures(logits[inside], labels[inside])


def _measures(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    p = calibration.probabilities(logits)
    return {key: measure.of(logits, p, labels) for key, measure in MEASURES.items()}
