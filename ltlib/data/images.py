"""The two values every data set becomes: `Images` (one split) and `Dataset` (both splits and their names)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ltlib.errors import InputError


@dataclass(frozen=True, eq=False)
class Images:
    """One split, in memory.

    Attributes:
        pixels: uint8, (N, 3, H, W).
        labels: int64, (N,), 0..K-1.
    """

    pixels: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        p = self.pixels
        if p.dtype != np.uint8:
            finite = "" if p.dtype.kind != "f" or np.isfinite(p).all() else " and hold NaN or infinite values"
            raise InputError(
                f"Images must be uint8 (0..255); these are {p.dtype}{finite}: repair and convert them first."
            )
        if p.ndim != 4 or p.shape[1] != 3:
            raise InputError(f"Images must have shape (N, 3, height, width); got {p.shape}.")
        if self.labels.shape != (len(p),):
            raise InputError(
                f"Every image needs one label; got {len(p)} images and labels of shape {self.labels.shape}."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> Images:
        """The images at ``indices``, copied, in that order."""
        return Images(self.pixels[indices], self.labels[indices])

    def counts(self, num_classes: int) -> np.ndarray:
        """Images of each class, (K,)."""
        return np.bincount(self.labels, minlength=num_classes)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set before it is made long-tailed.

    Attributes:
        name: what a result on it must be called.
        train, test: the two splits.
        class_names: K names; label i is ``class_names[i]``.
        mean, std: per-channel statistics the papers normalise with, in [0, 1]; None to take them from the
            training images.
    """

    name: str
    train: Images
    test: Images
    class_names: tuple[str, ...]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_size(self) -> int:
        """Side in pixels; all images are square."""
        return self.train.pixels.shape[-1]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of all pixels, labels and class names: the same data give the same value anywhere."""
        digest = hashlib.sha256("\n".join(self.class_names).encode())
        for split in (self.train, self.test):
            digest.update(str(split.pixels.shape).encode())
            digest.update(np.ascontiguousarray(split.pixels))
            digest.update(split.labels.astype("<i8").tobytes())
        return digest.hexdigest()


def channel_statistics(pixels: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 images, in [0, 1]."""
    # Exact integer histograms: no rounding, no float copy of the images.
    histograms = [np.bincount(pixels[:, c].ravel(), minlength=256) for c in range(pixels.shape[1])]
    value = np.arange(256) / 255
    mean = [float(h @ value / h.sum()) for h in histograms]
    std = [float(np.sqrt(max(h @ (value - m) ** 2 / h.sum(), 1e-6))) for h, m in zip(histograms, mean, strict=True)]
    return tuple(mean), tuple(std)
