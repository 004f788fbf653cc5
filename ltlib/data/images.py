"""The two values every data set becomes: `Images` (one split) and `Dataset` (both splits and their names)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from ltlib.data.stored import StoredPixels
from ltlib.errors import InputError

# A split of at most so many bytes rests in memory (and on the device); a larger one stays in files and is streamed.
RESTING_BYTES = 2 * 2**30


@dataclass(frozen=True, eq=False)
class Images:
    """One split, in memory or in files; or the features of one, see :mod:`ltlib.models.features`.

    Attributes:
        pixels: uint8, (N, 3, H, W); an array, or `StoredPixels` where they rest in files. Features are float16,
            (N, D, 1, 1): images of one pixel with D channels, so everything that handles images handles them.
        labels: int64, (N,), 0..K-1.
        shapes: int64, (N, 2), height and width of the files, if whole images were squeezed to squares; else None.
    """

    pixels: np.ndarray | StoredPixels
    labels: np.ndarray
    shapes: np.ndarray | None = None

    def __post_init__(self) -> None:
        p = self.pixels
        if self.is_features and (p.ndim != 4 or p.shape[2:] != (1, 1) or not np.isfinite(np.asarray(p)).all()):
            raise InputError(f"Features must be finite and have shape (N, D, 1, 1); got {p.shape}.")
        if p.dtype != np.uint8 and not self.is_features:
            finite = "" if p.dtype.kind != "f" or np.isfinite(p).all() else " and hold NaN or infinite values"
            raise InputError(
                f"Images must be uint8 (0..255); these are {p.dtype}{finite}: repair and convert them first."
            )
        if not self.is_features and (p.ndim != 4 or p.shape[1] != 3):
            raise InputError(f"Images must have shape (N, 3, height, width); got {p.shape}.")
        if self.labels.shape != (len(p),):
            raise InputError(
                f"Every image needs one label; got {len(p)} images and labels of shape {self.labels.shape}."
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def is_features(self) -> bool:
        """Whether these are features and not images."""
        return self.pixels.dtype == np.float16

    def take(self, indices: np.ndarray) -> Images:
        """The images at ``indices``, in that order: copied in memory, only chosen in files."""
        p = self.pixels
        pixels = replace(p, rows=p.rows[indices]) if isinstance(p, StoredPixels) else p[indices]
        return Images(pixels, self.labels[indices], None if self.shapes is None else self.shapes[indices])

    def center_crop(self, side: int) -> Images:
        """The middle ``side`` x ``side`` pixels of every image, rounded as torchvision's ``CenterCrop``."""
        p = self.pixels
        first = round((p.shape[-1] - side) / 2)
        if isinstance(p, StoredPixels):
            return Images(replace(p, margin=(first, p.side - side - first)), self.labels)
        return Images(np.ascontiguousarray(p[..., first : first + side, first : first + side]), self.labels)

    def resting(self) -> Images:
        """These images in memory, if they take at most ``RESTING_BYTES``; else as they are."""
        return replace(self, pixels=np.asarray(self.pixels)) if self.pixels.nbytes <= RESTING_BYTES else self

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
        as_tested: gives training images as test images are stored, if ``train`` holds whole images; else None.
        official: int64, (N,): position of each training image in the published set, if these images are what the
            field's recipe selects from it, in its order. A smaller subset is then the beginning of each class.
        frozen: of features: the backbone, the SHA-256 of its weights and the side of the images; empty of images.
    """

    name: str
    train: Images
    test: Images
    class_names: tuple[str, ...]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    as_tested: Callable[[Images], Images] | None = None
    official: np.ndarray | None = None
    frozen: dict[str, str | int] = field(default_factory=dict)

    def check(self) -> None:
        """Raise :class:`InputError` unless every label has a name, every class is trained and tested, names differ."""
        if len(set(self.class_names)) < max(2, len(self.class_names)):
            raise InputError(f"{self.name} must have at least 2 classes with different names; got {self.class_names}.")
        for what, split in (("training", self.train), ("test", self.test)):
            if not len(split):
                raise InputError(f"{self.name} has no {what} image.")
            low, high = int(split.labels.min()), int(split.labels.max())
            if low < 0 or high >= self.num_classes:
                raise InputError(
                    f"{self.name} has {what} labels from {low} to {high}, but {self.num_classes} class names: "
                    f"labels must run from 0 to {self.num_classes - 1}."
                )
            if empty := np.flatnonzero(split.counts(self.num_classes) == 0).tolist():
                raise InputError(
                    f"{self.name} has no {what} image of {len(empty):,} of {self.num_classes:,} classes, such as "
                    f"{self.class_names[empty[0]]!r}: add images or remove the class."
                )

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_size(self) -> int:
        """Side of the test images in pixels; all images are stored as squares."""
        return self.test.pixels.shape[-1]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of all pixels, labels and class names: the same data give the same value anywhere.

        Pixels in files are represented by the hash that was taken when they were written, and are not read.
        """
        digest = hashlib.sha256("\n".join(self.class_names).encode())
        for split in (self.train, self.test):
            p = split.pixels
            digest.update(str(p.shape).encode())
            digest.update(p.content() if isinstance(p, StoredPixels) else np.ascontiguousarray(p).data)
            digest.update(split.labels.astype("<i8").tobytes())
            if split.shapes is not None:
                digest.update(split.shapes.astype("<i8").tobytes())
        return digest.hexdigest()


def split_off_test(images: Images, per_class: int) -> tuple[Images, Images]:
    """Training and test images of a set that comes in one piece: the last ``per_class`` of each class are tested."""
    classes = np.unique(images.labels)
    test = np.concatenate([np.flatnonzero(images.labels == c)[-per_class:] for c in classes])
    return images.take(np.setdiff1d(np.arange(len(images)), test)), images.take(test)


def channel_statistics(pixels: np.ndarray | StoredPixels) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 images, in [0, 1].

    Of pixels in files the sums of each whole image are known since they were written, and nothing is read.
    """
    if isinstance(pixels, StoredPixels):
        return _from_sums(pixels.sums[pixels.rows].sum(axis=0), len(pixels) * pixels.side**2)
    # Exact integer histograms: no rounding, no float copy of the images; some images at a time, as bincount copies.
    histograms = np.zeros((pixels.shape[1], 256), dtype=np.int64)
    for first in range(0, len(pixels), 1024):
        for c, histogram in enumerate(histograms):
            histogram += np.bincount(pixels[first : first + 1024, c].ravel(), minlength=256)
    value = np.arange(256) / 255
    mean = [float(h @ value / h.sum()) for h in histograms]
    std = [float(np.sqrt(max(h @ (value - m) ** 2 / h.sum(), 1e-6))) for h, m in zip(histograms, mean, strict=True)]
    return tuple(mean), tuple(std)


def feature_statistics(features: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Zero and one common scale for features (N, D, 1, 1), which become 1 in the root of their mean square.

    Directions and the ratios of distances stay as the backbone made them.
    """
    scale = float(np.sqrt(np.square(features, dtype=np.float64).mean()))
    return (0.0,) * features.shape[1], (float(f"{scale:.6g}"),) * features.shape[1]


def _from_sums(sums: np.ndarray, n: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation from the sum and the sum of squares of n values a channel; Python's integers are exact."""
    mean, std = [], []
    for total, squares in zip(*sums.tolist(), strict=True):
        mean.append(total / n / 255)
        std.append(max((n * squares - total**2) / n**2 / 255**2, 1e-6) ** 0.5)
    return tuple(mean), tuple(std)
