"""Photographs that travel with the project: a few test images of CIFAR-10, for lessons that show what they count.

``data/excerpts/<name>.png`` is a sheet of images without gaps, one row per class. ``<name>.json`` beside it has the
name of each class, the official index of each image, the rule by which they were chosen, the source, and a checksum
of the pixels. The rule looks at no prediction: the first twenty test images of each class in the official order.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", University of Toronto, 2009.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ltlib import paths
from ltlib.data.images import Images
from ltlib.errors import InputError, check_choice


@dataclass(frozen=True, eq=False)
class Excerpt:
    """Test images of a data set, sorted by class and within a class by their official index.

    Attributes:
        name: of the data set, such as ``cifar10``.
        images: pixels uint8 (N, 3, H, W) and labels (N,); every class has equally many images.
        indices: (N,) position of each image in the official test set.
        class_names: of the K classes.
        rule: how the images were chosen, in words.
        source: citation.
    """

    name: str
    images: Images
    indices: np.ndarray
    class_names: tuple[str, ...]
    rule: str
    source: str

    @property
    def per_class(self) -> int:
        """Images of each class."""
        return len(self.images) // len(self.class_names)

    def of_class(self, name: str) -> np.ndarray:
        """The images of a class, uint8 (``per_class``, 3, H, W).

        Raises:
            InputError: no class is called so.
        """
        check_choice("class", name, self.class_names)
        return self.images.pixels[self.images.labels == self.class_names.index(name)]

    def places(self, labels: np.ndarray) -> np.ndarray:
        """Where these images are among test images of which only the labels are known, (N,).

        The test set is the official one or a copy of it, whole or a part that begins at the first image. Its images
        may be sorted by class, as those of a folder are, but the images of one class are in the official order.

        Args:
            labels: (M,) of the test set.

        Raises:
            InputError: a class has fewer images there than in the excerpt.
        """
        classes = range(len(self.class_names))
        found = [np.flatnonzero(np.asarray(labels) == c)[: self.per_class] for c in classes]
        for name, positions in zip(self.class_names, found, strict=True):
            if len(positions) < self.per_class:
                raise InputError(
                    f"The excerpt of {self.name} holds {self.per_class} images of class {name!r}, and these test "
                    f"images have {len(positions)}: use the predictions of a run on the whole test set."
                )
        return np.concatenate(found)


def excerpt(name: str = "cifar10") -> Excerpt:
    """The stored excerpt of a data set; needs no download.

    Raises:
        InputError: there is no such excerpt, or its file is damaged.

    >>> photographs = excerpt()
    >>> trucks = photographs.of_class("truck")  # uint8 (20, 3, 32, 32)
    """
    check_choice("excerpt", name, sorted(file.stem for file in folder().glob("*.json")))
    told = json.loads((folder() / f"{name}.json").read_text(encoding="utf-8"))
    pixels = _cut(folder() / f"{name}.png", len(told["class_names"]), told["side"])
    if hashlib.sha256(pixels.tobytes()).hexdigest() != told["sha256"]:
        raise InputError(
            f"{folder() / name}.png is damaged: restore it with 'git checkout data/excerpts', or install again."
        )
    indices = np.array(told["indices"])
    labels = np.repeat(np.arange(len(indices)), indices.shape[1])
    names = tuple(told["class_names"])
    return Excerpt(name, Images(pixels, labels), indices.ravel(), names, told["rule"], told["source"])


def folder() -> Path:
    """Where excerpts are stored."""
    return paths.resources() / "data" / "excerpts"


def _cut(sheet: Path, classes: int, side: int) -> np.ndarray:
    """The images of a sheet, uint8 (N, 3, side, side), row by row."""
    with Image.open(sheet) as image:
        pixels = np.asarray(image.convert("RGB"))
    rows = pixels.reshape(classes, side, -1, side, 3)
    return np.ascontiguousarray(rows.transpose(0, 2, 4, 1, 3)).reshape(-1, 3, side, side)
