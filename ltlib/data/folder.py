"""Anyone's own images: one folder a class below ``train`` and ``test`` (or ``val``).

    my_birds/train/robin/0001.jpg   my_birds/test/robin/0001.jpg
    my_birds/train/wren/a.png       my_birds/test/wren/b.png

Labels follow the sorted folder names, images the sorted file names. Images in sub-folders of a class belong to the
class. Files that are not read are counted in a line. `shards` decodes the images once.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np

from ltlib.data import shards
from ltlib.data.decode import endings
from ltlib.data.entry import Entry
from ltlib.data.images import Dataset
from ltlib.data.listing import Listing, find_root, shown
from ltlib.errors import InputError

LAYOUT = "it must hold train/<class>/<image> and test/<class>/<image> (or val/ for test/)"
NAMED = 5  # kinds of files that a message names


def load_folder(data_dir: str, image_size: int = 0, whole: int = 0) -> Dataset:
    """Load an image folder, from the cache where possible.

    Args:
        data_dir: the folder that holds ``train`` and ``test`` (or ``val``); relative paths are looked up from
            the working directory, then below ``LTLIB_DATA``.
        image_size: side in pixels to resize and centre-crop all images to; 0 keeps them, and then they must
            all be squares of one size.
        whole: see :func:`ltlib.data.shards.load`.

    Raises:
        InputError: the folder, a class or an image is not as it must be; the message names it.
    """
    root = find_root("folder", data_dir, LAYOUT)
    class_names, splits, files = _list_files(root)
    (train, train_labels), (test, test_labels) = (_in_one_row(root, classes) for classes in files)
    name = f"folder:{root.resolve().name}"
    listing = Listing(name, root, class_names, train, train_labels, test, test_labels, splits)
    return shards.load(listing, side=image_size, how="resize" if image_size else "keep", whole=whole)


def _in_one_row(root: Path, classes: list[list[str]]) -> tuple[list[str], np.ndarray]:
    """Paths below ``root``, class after class, and their labels."""
    paths = [os.path.relpath(path, root) for images in classes for path in images]
    return paths, np.repeat(np.arange(len(classes)), [len(images) for images in classes])


def _list_files(root: Path) -> tuple[tuple[str, ...], tuple[str, str], list[list[list[str]]]]:
    """Class names, the names of the two split folders, and for each split the image files of each class."""
    test = next((name for name in ("test", "val") if (root / name).is_dir()), None)
    if not (root / "train").is_dir() or test is None:
        neither = test is None and not (root / "train").is_dir()
        missing = "neither a train nor a test" if neither else f"no {'test' if test is None else 'train'}"
        move = "; with one folder per class only, move about a fifth of each class below test and the rest below train"
        raise InputError(f"{shown(root)} has {missing} folder: {LAYOUT}{move if neither else ''}.")
    seen = Seen(root)
    found = {split: _classes(root / split, seen) for split in ("train", test)}
    names = {split: set(classes) for split, classes in found.items()}
    if names["train"] != names[test]:
        only = sorted(names["train"] ^ names[test])
        where = "train" if only[0] in names["train"] else test
        raise InputError(
            f"train and {test} in {shown(root)} must hold the same classes; {only[0]!r} is only in {where} "
            f"({len(only)} such): add the missing folder or remove this one."
        )
    class_names = tuple(sorted(names["train"]))
    if len(class_names) < 2:
        raise InputError(
            f"{shown(root / 'train')} holds {len(class_names)} class folders; at least 2 are needed: {LAYOUT}."
        )
    seen.tell()
    return class_names, ("train", test), [[found[split][c] for c in class_names] for split in ("train", test)]


class Seen:
    """What is worth a line about the files of a folder: counts per class are the experiment here."""

    def __init__(self, root: Path):
        self.root = root
        self.passed_over: Counter[tuple[str, str]] = Counter()  #: (folder, ending) of files that are not read
        self.deeper: list[str] = []  #: images in sub-folders of their class

    def pass_over(self, path: str) -> None:
        folder, name = os.path.split(os.path.relpath(path, self.root))
        self.passed_over[folder, os.path.splitext(name)[1].lower() or "files without an ending"] += 1

    def tell(self) -> None:
        """Print one line for each kind of file that is not read, and one for images in sub-folders."""
        if self.deeper:
            first = shown(os.path.relpath(self.deeper[0], self.root))
            print(f"note: {len(self.deeper):,} images are in sub-folders of their class and are read, such as {first}.")
        most = self.passed_over.most_common(NAMED)
        groups = [f"{n:,} {shown(ending)} in {shown(folder)}" for (folder, ending), n in most]
        if groups:
            more = len(self.passed_over) - len(groups)
            print(
                f"note: {self.passed_over.total():,} files of {shown(self.root)} are not read as images: "
                f"{', '.join(groups)}{f' and {more} other kinds or folders' if more else ''}.",
                flush=True,
            )


def _entries(folder: str | Path) -> list[os.DirEntry]:
    """What a folder holds, without names that begin with a dot, sorted; accents count in their composed form."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if e.name[0] != "."), key=lambda e: composed(e.name))
    except OSError as error:
        raise InputError(f"{shown(folder)} cannot be read ({error.strerror}): make the folder readable.") from error


def composed(name: str) -> str:
    """One spelling of letters with accents (Unicode NFC): archives made on macOS hold the other one (NFD)."""
    return unicodedata.normalize("NFC", name)


def _classes(split: Path, seen: Seen) -> dict[str, list[str]]:
    """Class name -> paths of its images."""
    classes: dict[str, list[str]] = {}
    for entry in _entries(split):
        name = composed(entry.name)
        if not entry.is_dir():
            seen.pass_over(entry.path)
            continue
        if any(unicodedata.category(letter) in ("Cs", "Cc") for letter in name):
            raise InputError(
                f"The name of the class folder {shown(entry.path)!r} holds bytes that are not UTF-8, or a control "
                f"character: rename it."
            )
        if name in classes:
            raise InputError(
                f"{shown(split)} holds two folders called {name!r}, with the accents spelt in two ways (Unicode NFC "
                f"and NFD): merge them into one."
            )
        classes[name] = _images(entry.path, seen)
        if not classes[name]:
            raise InputError(f"The class folder {shown(entry.path)} holds no image ({_known()}): fill or remove it.")
    return classes


def _known() -> str:
    return ", ".join(sorted(endings()))


def _images(folder: str, seen: Seen, depth: int = 0) -> list[str]:
    """Paths of all images in a class folder and below it. Plain texts: a Path object per file would cost seconds."""
    found = []
    for entry in _entries(folder):
        if entry.is_dir():
            # A link to a folder might lead back to where it is.
            if entry.is_symlink():
                seen.pass_over(entry.path)
            else:
                found += _images(entry.path, seen, depth + 1)
        elif os.path.splitext(entry.name)[1].lower() in endings():
            found.append(entry.path)
            if depth:
                seen.deeper.append(entry.path)
        else:
            seen.pass_over(entry.path)
    return found


ENTRY = Entry(
    "your own images, one folder per class, in data_dir",
    lambda request: load_folder(request.data_dir, request.image_size, request.whole),
    needs=f"data_dir: {LAYOUT}",
)
