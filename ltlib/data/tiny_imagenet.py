"""Tiny ImageNet as it is downloaded: 200 classes of 64x64 pixels, 500 training and 50 validation images each. ::

    tiny-imagenet-200/wnids.txt                                  tiny-imagenet-200/words.txt
    tiny-imagenet-200/train/n01443537/images/n01443537_0.JPEG    tiny-imagenet-200/val/val_annotations.txt
                                                                 tiny-imagenet-200/val/images/val_0.JPEG

The validation images are the test set: the labels of the official test images were never published. Classes are the
sorted wnids, and the images of a class stand in the order of their numbers, so that the long-tailed recipe always
selects the same ones. A copy with fewer training images is taken as it is.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ltlib.data import shards
from ltlib.data.entry import Entry
from ltlib.data.images import Dataset
from ltlib.data.listing import Listing, by_number, find_root
from ltlib.errors import InputError

FOLDER = "tiny-imagenet-200"
NEEDS = (
    f"unpack {FOLDER}.zip from http://cs231n.stanford.edu/{FOLDER}.zip (237 MB) in LTLIB_DATA, "
    f"or give the unpacked folder as data_dir"
)
SIDE = 64


def load_tiny_imagenet(data_dir: str = "", image_size: int = 0) -> Dataset:
    """Load Tiny ImageNet, from the cache where possible.

    Args:
        data_dir: the unpacked folder, or the one it lies in; empty takes ``tiny-imagenet-200`` below ``LTLIB_DATA``.
        image_size: 64 (or 0) keeps the images, 32 averages 2x2 pixels, as Pillow's ``Image.reduce(2)``.

    Raises:
        InputError: the folder is missing or not laid out as the official one, or the size is another.
    """
    if image_size not in (0, SIDE, SIDE // 2):
        raise InputError(f"image_size of tiny_imagenet must be {SIDE} (or 0) or {SIDE // 2}; got {image_size}.")
    root = find_root("tiny_imagenet", data_dir, NEEDS, FOLDER)
    root = root / FOLDER if (root / FOLDER).is_dir() else root
    wnids = sorted(_lines(root / "wnids.txt"))
    train = [_train_images(root, wnid) for wnid in wnids]
    test, test_labels = _validation_images(root, wnids)
    small = image_size == SIDE // 2
    listing = Listing(
        name="tiny_imagenet at 32x32" if small else "tiny_imagenet",
        root=root,
        class_names=_names(root, wnids),
        train=[path for images in train for path in images],
        train_labels=np.repeat(np.arange(len(wnids)), [len(images) for images in train]),
        test=test,
        test_labels=test_labels,
    )
    return shards.load(listing, side=image_size or SIDE, how="halve" if small else "keep")


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): {NEEDS}.") from error


def _names(root: Path, wnids: list[str]) -> tuple[str, ...]:
    """The first word of each class in words.txt: ``n01443537 <tab> goldfish, Carassius auratus`` is goldfish."""
    words = dict(line.split("\t", 1) for line in _lines(root / "words.txt") if "\t" in line)
    return tuple(words.get(wnid, wnid).split(",")[0] for wnid in wnids)


def _train_images(root: Path, wnid: str) -> list[str]:
    folder = os.path.join("train", wnid, "images")
    try:
        names = [name for name in os.listdir(root / folder) if name.endswith(".JPEG")]
    except OSError as error:
        raise InputError(f"{root / folder} cannot be read ({error.strerror}): {NEEDS}.") from error
    if not names:
        raise InputError(f"{root / folder} holds no .JPEG image, but wnids.txt names its class: {NEEDS}.")
    return [os.path.join(folder, name) for name in sorted(names, key=by_number)]


def _validation_images(root: Path, wnids: list[str]) -> tuple[list[str], np.ndarray]:
    """Paths and labels from val_annotations.txt (file, wnid and a box, parted by tabs), class after class."""
    label = {wnid: i for i, wnid in enumerate(wnids)}
    found = []
    file = root / "val" / "val_annotations.txt"
    for number, line in enumerate(_lines(file), 1):
        name, _, rest = line.partition("\t")
        wnid = rest.split("\t")[0]
        if wnid not in label:
            raise InputError(f"Line {number} of {file} names no class of wnids.txt: {line[:80]!r}; {NEEDS}.")
        found.append((label[wnid], *by_number(os.path.join("val", "images", name))))
    found.sort()
    return [path for *_, path in found], np.array([y for y, *_ in found], dtype=np.int64)


ENTRY = Entry(
    "Tiny ImageNet, 200 classes, 64 or 32 pixels",
    lambda request: load_tiny_imagenet(request.data_dir, request.image_size),
    needs=NEEDS,
    folders=(FOLDER,),
)
