"""Anyone's own images: one folder a class below ``train`` and ``test`` (or ``val``).

    my_birds/train/robin/0001.jpg   my_birds/test/robin/0001.jpg
    my_birds/train/wren/a.png       my_birds/test/wren/b.png

Labels follow the sorted folder names, images the sorted file names. `shards` decodes them once.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ltlib.data import shards
from ltlib.data.entry import Entry
from ltlib.data.images import Dataset
from ltlib.data.listing import Listing, find_root
from ltlib.errors import InputError

EXTENSIONS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp"}
LAYOUT = "it must hold train/<class>/<image> and test/<class>/<image> (or val/ for test/)"


def load_folder(data_dir: str, image_size: int = 0) -> Dataset:
    """Load an image folder, from the cache where possible.

    Args:
        data_dir: the folder that holds ``train`` and ``test`` (or ``val``); relative paths are looked up from
            the working directory, then below ``LTLIB_DATA``.
        image_size: side in pixels to resize and centre-crop all images to; 0 keeps them, and then they must
            all be squares of one size.

    Raises:
        InputError: the folder, a class or an image is not as it must be; the message names it.
    """
    root = find_root("folder", data_dir, LAYOUT)
    class_names, files = _list_files(root)
    (train, train_labels), (test, test_labels) = (_in_one_row(root, files[split]) for split in ("train", "test"))
    name = f"folder:{root.resolve().name}"
    listing = Listing(name, root, class_names, train, train_labels, test, test_labels)
    return shards.load(listing, side=image_size, how="resize" if image_size else "keep")


def _in_one_row(root: Path, classes: list[list[os.DirEntry]]) -> tuple[list[str], np.ndarray]:
    """Paths below ``root``, class after class, and their labels."""
    paths = [os.path.relpath(entry.path, root) for images in classes for entry in images]
    return paths, np.repeat(np.arange(len(classes)), [len(images) for images in classes])


def _list_files(root: Path) -> tuple[tuple[str, ...], dict[str, list[list[os.DirEntry]]]]:
    """Class names, and for each split the image files of each class."""
    test = next((name for name in ("test", "val") if (root / name).is_dir()), None)
    if not (root / "train").is_dir() or test is None:
        raise InputError(f"{root} has no {'test' if test is None else 'train'} folder: {LAYOUT}.")
    found = {split: _classes(root / split) for split in ("train", test)}
    names = {split: set(classes) for split, classes in found.items()}
    if names["train"] != names[test]:
        only = sorted(names["train"] ^ names[test])
        where = "train" if only[0] in names["train"] else test
        raise InputError(
            f"train and {test} in {root} must hold the same classes; {only[0]!r} is only in {where} "
            f"({len(only)} such): add the missing folder or remove this one."
        )
    class_names = tuple(sorted(names["train"]))
    if len(class_names) < 2:
        raise InputError(f"{root / 'train'} holds {len(class_names)} class folders; at least 2 are needed: {LAYOUT}.")
    return class_names, {
        "train": [found["train"][c] for c in class_names],
        "test": [found[test][c] for c in class_names],
    }


def _classes(split: Path) -> dict[str, list[os.DirEntry]]:
    """Class name -> its image files. Plain directory entries: a Path object a file would cost seconds."""
    classes = {}
    for folder in sorted(p for p in split.iterdir() if p.is_dir() and not p.name.startswith(".")):
        with os.scandir(folder) as entries:
            images = [e for e in entries if os.path.splitext(e.name)[1].lower() in EXTENSIONS and e.name[0] != "."]
        if not images:
            raise InputError(
                f"The class folder {folder} holds no image ({', '.join(sorted(EXTENSIONS))}): fill or remove it."
            )
        classes[folder.name] = sorted(images, key=lambda e: e.name)
    return classes


ENTRY = Entry(
    "your own images, one folder per class, in data_dir",
    lambda request: load_folder(request.data_dir, request.image_size),
    needs=f"data_dir: {LAYOUT}",
)
