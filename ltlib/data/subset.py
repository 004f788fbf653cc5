"""The long-tailed part of any labelled data set in the form of torchvision, for those who want only that.

train = ltlib.LongTailed(torchvision.datasets.CIFAR10("data", transform=...), imbalance_factor=100)
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from os import PathLike
from typing import Protocol, SupportsFloat, SupportsIndex, cast

import numpy as np
from torch.utils.data import Dataset, Subset

from ltlib.data.longtail import CIFAR10_LT_SHA256, checksum, class_counts, largest_n_max, longtail_indices
from ltlib.errors import InputError


class Labelled(Protocol):
    """A data set with a length that gives (image, label) pairs, such as those of torchvision."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> tuple: ...


class LongTailed(Subset):
    """Those images of a data set that the field's recipe keeps (LDAM-DRW, used by MiSLAS, ResLT and others).

    It has the attributes of a torchvision data set that training code looks for (``targets``, ``classes``,
    ``class_to_idx``, ``transform``). The order is that of the recipe, class after class.

    Args:
        dataset: any data set with ``targets`` (CIFAR, MNIST, ImageFolder), ``labels`` (SVHN, STL10) or ``samples``.
        imbalance_factor: n_max / n_min, at least 1.
        kind: ``exponential`` or ``step``.
        n_max: images of the largest class; 0 takes as many as the data allow.
        seed: of the selection; published results use 0.

    Attributes:
        indices: int64, positions in ``dataset``.
        targets: labels of the kept images.
        counts: int64 (K,), kept images of each class.
        sha256: of the indices (``ltlib.data.longtail.checksum``).
        published: True if these are the images of the published CIFAR-10-LT, False if CIFAR-10 or the settings are
            others, None if no sum is published for these settings.

    Raises:
        InputError: the data set shows no labels or cannot be made as long-tailed as asked, or an argument is no number.
    """

    def __init__(
        self, dataset: Labelled, imbalance_factor: float, *, kind: str = "exponential", n_max: int = 0, seed: int = 0
    ):
        _check(imbalance_factor, n_max, seed)
        labels = _labels(dataset)
        available = np.bincount(labels)
        possible = largest_n_max(available, imbalance_factor, kind)
        if n_max > possible:
            raise InputError(
                f"n_max={n_max} is more than these data allow at imbalance factor {imbalance_factor:g}: "
                f"at most {possible}."
            )
        self.counts = class_counts(len(available), n_max or possible, imbalance_factor, kind)
        kept = longtail_indices(labels, self.counts, seed)
        super().__init__(cast(Dataset, dataset), kept.tolist())
        self.targets: list[int] = labels[kept].tolist()
        self.sha256 = checksum(kept)
        known = CIFAR10_LT_SHA256.get(int(imbalance_factor)) if imbalance_factor == int(imbalance_factor) else None
        is_cifar10 = type(dataset).__name__ == "CIFAR10"
        self.published = self.sha256 == known if is_cifar10 and known else None

    def __repr__(self) -> str:
        most, fewest = self.counts.max(), self.counts.min()
        name = type(self.dataset).__name__
        return (
            f"LongTailed: {len(self):,} images of {name}, {most:,} to {fewest:,} of each of {len(self.counts)} classes"
        )

    def __getattr__(self, name: str):
        """``classes``, ``class_to_idx``, ``transform`` and the like are those of the whole data set."""
        if name.startswith("_") or name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)


def _check(imbalance_factor: object, n_max: object, seed: object) -> None:
    """Raise :class:`InputError` unless these are numbers that a long tail can have."""
    if isinstance(imbalance_factor, str) or not isinstance(imbalance_factor, SupportsFloat):
        raise InputError(f"imbalance_factor is a number, such as 100; got {imbalance_factor!r}.")
    if not math.isfinite(float(imbalance_factor)):
        raise InputError(f"imbalance_factor is a finite number, such as 100; got {imbalance_factor}.")
    for name, value, end in (("n_max", n_max, math.inf), ("seed", seed, 2**32)):
        if not isinstance(value, SupportsIndex) or not 0 <= operator.index(value) < end:
            raise InputError(
                f"{name} is a whole number from 0{' to 2**32 - 1' if end == 2**32 else ''}; got {value!r}."
            )


def _labels(dataset: Labelled) -> np.ndarray:
    """int64 (N,) labels of a data set, without opening an image.

    Raises:
        InputError: it shows none, or they are not the integers 0..K-1, each at least once.
    """
    for name in ("targets", "labels"):
        found = getattr(dataset, name, None)
        if isinstance(found, Sequence | np.ndarray) or hasattr(found, "tolist"):
            break
    else:
        found = [label for _, label in getattr(dataset, "samples", [])]
    if isinstance(dataset, str | PathLike):
        raise InputError(
            f"LongTailed needs a data set and got the path {str(dataset)!r}: open it first, as in "
            f"torchvision.datasets.ImageFolder(path)."
        )
    labels = np.asarray(found)
    what = f"LongTailed needs the labels of {type(dataset).__name__} as integers 0, 1, 2, ... in .targets or .labels"
    if labels.ndim != 1 or len(labels) != len(dataset) or not len(labels):
        raise InputError(
            f"{what}; found {labels.size} for {len(dataset)} images. Set them, as in dataset.targets = [0, 1, ...]."
        )
    if labels.dtype.kind not in "iu":
        raise InputError(f"{what}; found {labels.dtype}, such as {labels[0]!r}.")
    if labels.min() < 0 or labels.max() >= len(labels):
        raise InputError(f"{what}; found {labels.dtype} from {labels.min()} to {labels.max()}.")
    if missing := np.flatnonzero(np.bincount(labels) == 0).tolist():
        raise InputError(f"{what}; class {missing[0]} has no image.")
    return labels.astype(np.int64)
