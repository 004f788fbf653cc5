"""Images named by list files, one ``relative/path.jpg 17`` a line: the format of ImageNet-LT, Places-LT, iNaturalist.

The label is what follows the last space, so paths may hold spaces. The order of the lines means nothing: images stand
class by class, by the numbers in their names, so that every copy of a list gives the same data.
Labels are those of the list here; `prepare` numbers classes from head to tail, whatever a list does.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np

from ltlib.data import shards
from ltlib.data.entry import Entry, Request
from ltlib.data.images import Dataset
from ltlib.data.listing import Listing, by_number, find_root, found_or_none, shown
from ltlib.data.pace import as_size
from ltlib.data.presets import PRESETS, Preset
from ltlib.errors import InputError

LAYOUT = "it must hold the images and two list files of 'relative/path.jpg 17' lines"
NAMED = 5  # classes or lines that a message names
LABEL_DIGITS = 18  # more do not fit an int64
LIST_BYTES = 2**30  # the list of iNaturalist 2018 has 30 MB


def load_lists(
    name: str, *, data_dir: str = "", image_size: int = 0, whole: int = 0, train_list: str = "", test_list: str = ""
) -> Dataset:
    """Load ``list``, or one of the published sets that are defined by lists.

    Args:
        name: ``list`` or a key of `PRESETS`.
        data_dir: folder that the paths of the lists start from; empty takes the preset's folder below ``LTLIB_DATA``.
        image_size: side in pixels to resize and centre-crop all images to; 0 keeps them, and then they must
            all be squares of one size.
        whole: see :func:`ltlib.data.shards.load`.
        train_list, test_list: the list files, looked up from ``data_dir``, then from the working directory. Empty
            takes the published names of a preset; for ``list`` the only ``*train*.txt`` in ``data_dir``, and the
            only ``*test*.txt``, or, if there is none, the only ``*val*.txt``.

    Raises:
        InputError: a file is missing or ambiguous, a list is not what it should be, or an image cannot be used.
    """
    preset = PRESETS.get(name)
    root = find_root(name, data_dir, preset.needs if preset else LAYOUT, preset.folder if preset else "")
    train_file = _find(root, train_list, "train_list", preset.train_lists if preset else (), preset)
    test_file = _find(root, test_list, "test_list", preset.test_lists if preset else (), preset)
    train, train_labels = read_list(train_file, preset.num_classes if preset else 0, root)
    num_classes = preset.num_classes if preset else int(train_labels[-1]) + 1
    _check_no_gaps(train_file, train_labels, num_classes)
    test, test_labels = read_list(test_file, num_classes, root)
    _check_no_gaps(test_file, test_labels, num_classes)
    if preset:
        _check_published(preset, train_file, train_labels, test_file, test_labels)
    listing = Listing(
        name=name if preset else f"list:{root.resolve().name}",
        root=root,
        class_names=_class_names(train, train_labels, num_classes),
        train=train,
        train_labels=train_labels,
        test=test,
        test_labels=test_labels,
        splits=(train_file.name, test_file.name),
        outside=bool(train_list and test_list),
        upright=not preset,
    )
    data = shards.load(listing, side=image_size, how="resize" if image_size else "keep", whole=whole)
    return replace(data, mean=preset.mean, std=preset.std) if preset else data


def read_list(file: Path, num_classes: int = 0, root: Path | None = None) -> tuple[list[str], np.ndarray]:
    """Paths and labels of a list file, class after class, sorted within a class.

    Args:
        file: text, one ``path label`` per line; empty lines are passed over.
        num_classes: labels must be below it; 0 allows any.
        root: where the images are. A path that leads nowhere there is read as other systems write it, see `_on_disk`.

    Returns:
        n paths, and int64 labels (n,).

    Raises:
        InputError: a line is not ``path label``, or a path comes twice; the message gives its number.
    """
    found: list[tuple[int, int, str]] = []
    line_of: dict[str, int] = {}
    for number, line in enumerate(_lines(file), 1):
        path, _, label = line.strip().rpartition(" ")
        path = path.rstrip()
        if not line.strip():
            continue
        if not (path and label.isascii() and label.isdigit()) or "\0" in path:
            raise InputError(
                f"Line {number} of {shown(file)} must read 'relative/path.jpg 17', a path and its label; "
                f"got {line[:80]!r}."
            )
        if len(label) > LABEL_DIGITS:
            raise InputError(f"Line {number} of {shown(file)} has a label of {len(label):,} digits: is it a label?")
        if num_classes and int(label) >= num_classes:
            raise InputError(
                f"Line {number} of {shown(file)} has label {label}, but labels run from 0 to {num_classes - 1}: "
                f"is this the right list?"
            )
        path = _on_disk(root, path) if root else path
        if path in line_of:
            raise InputError(
                f"Line {number} of {shown(file)} repeats line {line_of[path]} ({path}): remove one of them."
            )
        line_of[path] = number
        found.append((int(label), *by_number(path)))
    if not found:
        raise InputError(f"{shown(file)} is empty: it must hold 'relative/path.jpg 17' lines.")
    found.sort()
    return [path for *_, path in found], np.array([label for label, *_ in found], dtype=np.int64)


def _lines(file: Path) -> list[str]:
    """Lines by line feed only: a file name might hold the rarer characters at which Python ends a line too."""
    try:
        if file.stat().st_size > LIST_BYTES:
            raise InputError(f"{shown(file)} is larger than {as_size(LIST_BYTES)}: is it a list of images?")
        return file.read_text(encoding="utf-8-sig").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{shown(file)} cannot be read as a list of images: save it as UTF-8 ({error}).") from error
    except OSError as error:
        raise InputError(f"{shown(file)} cannot be read as a list of images ({error.strerror}).") from error


def _on_disk(root: Path, path: str) -> str:
    """The path as the disk spells it: without quotes, with / for a backslash, with the disk's form of accents.

    Lists come from spreadsheets, from Windows and from macOS. What is there as it is written stays so.
    """
    plain = path.isascii() and "\\" not in path and path[0] not in "'\""
    if plain or os.path.exists(root / path):
        return path
    unquoted = path[1:-1] if path[0] == path[-1] and path[0] in "'\"" else path
    for separators in (unquoted, unquoted.replace("\\", "/")):
        for form in ("NFC", "NFD"):
            if os.path.exists(root / (candidate := unicodedata.normalize(form, separators))):
                return candidate
    return path


def _find(root: Path, given: str, field: str, names: tuple[str, ...], preset: Preset | None) -> Path:
    """The list file that the user named, or the only one that can be meant."""
    if given:
        for candidate in (lambda: root / Path(given).expanduser(), lambda: Path(given).expanduser()):
            if found := found_or_none(candidate, Path.is_file):
                return found
        where = f"neither in {shown(root)} nor from the working directory"
        raise InputError(f"{field}={shown(given[:200])} is no file, {where}.")
    try:
        texts = sorted(file for file in root.iterdir() if file.suffix.lower() == ".txt" and file.is_file())
    except OSError as error:
        raise InputError(f"{shown(root)} cannot be read ({error.strerror}): make the folder readable.") from error
    if preset:
        candidates = [file for file in texts if file.name in names]
    else:
        words = ("train",) if field == "train_list" else ("test", "val")
        rest = [file for file in texts if field == "train_list" or "train" not in file.name.lower()]
        by_word = ([file for file in rest if word in file.name.lower()] for word in words)
        candidates = next(filter(None, by_word), [])
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise InputError(
            f"{shown(root)} holds {len(candidates)} files that can be meant "
            f"({', '.join(shown(file.name) for file in candidates)}): "
            f"name one in the overrides, such as {field}={shown(candidates[0].name)}."
        )
    wanted = " or ".join(names) if preset else "*train*.txt" if field == "train_list" else "*test*.txt or *val*.txt"
    raise InputError(
        f"{shown(root)} holds no {wanted}: {preset.needs if preset else LAYOUT}; "
        f"a list with another name or place is named in the overrides, {field}=FILE."
    )


def _check_no_gaps(file: Path, labels: np.ndarray, num_classes: int) -> None:
    """Raise :class:`InputError` unless every class has an image."""
    present = np.unique(labels)
    if len(present) < num_classes:
        # Labels may be absurdly large, so the gaps are looked for near the start only.
        missing = np.setdiff1d(np.arange(min(num_classes, len(present) + NAMED)), present)[:NAMED]
        raise InputError(
            f"{num_classes - len(present):,} of {num_classes:,} classes have no image in {file}, the first: "
            f"{', '.join(map(str, missing))}; labels must be 0, 1, 2, ... without gaps."
        )
    if num_classes < 2:
        raise InputError(f"{file} names one class only; at least 2 are needed.")


def _check_published(
    preset: Preset, train_file: Path, train_labels: np.ndarray, test_file: Path, test_labels: np.ndarray
) -> None:
    """Raise :class:`InputError` unless the lists have the published numbers; note a text that is not the published."""
    counts, test_counts = np.bincount(train_labels), np.bincount(test_labels, minlength=preset.num_classes)
    facts = (
        (train_file, "images", len(train_labels), preset.train_images),
        (train_file, "images in its largest class", int(counts.max()), preset.largest),
        (train_file, "images in its smallest class", int(counts.min()), preset.smallest),
        (test_file, "images", len(test_labels), preset.test_images),
        (test_file, "images in its smallest class", int(test_counts.min()), preset.test_images // preset.num_classes),
    )
    for file, what, got, published in facts:
        if got != published:
            raise InputError(
                f"{file} has {got:,} {what}; the published list of {preset.title} has {published:,}: download it "
                f"again, or use dataset 'list' for your own split."
            )
    for file in (train_file, test_file):
        published = preset.sha256.get(file.name)
        if published and published != checksum(file):
            print(f"note: {file} has the published counts, but not the published text (SHA-256 {published}).")


def checksum(file: Path) -> str:
    """SHA-256 (hex) of a text file, with the line ends of Unix."""
    return hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


def _class_names(train: list[str], labels: np.ndarray, num_classes: int) -> tuple[str, ...]:
    """The deepest folder that tells the classes apart, else the deepest folders, else numbers.

    ``train/n01443537/images/1.JPEG`` is n01443537. Where there is ``data_256/a/apartment_building/outdoor/1.jpg``,
    ``data_256/a/airfield/1.jpg`` is airfield and the other apartment_building/outdoor.
    """
    folders = [path.split("/")[:-1] for path in train]
    depths = range(min(map(len, folders)) - 1, -1, -1)
    for last in (1, None):
        for depth in depths:
            named = ("/".join(parts[depth : depth + last if last else None]) for parts in folders)
            names = set(zip(labels.tolist(), named, strict=True))
            if len(names) == num_classes == len({name for _, name in names}):
                return tuple(name for _, name in sorted(names))
    return tuple(map(str, range(num_classes)))


def _entry(name: str, description: str, needs: str, **facts) -> Entry:
    def load(request: Request) -> Dataset:
        return load_lists(
            name,
            data_dir=request.data_dir,
            image_size=request.image_size,
            whole=request.whole,
            train_list=request.train_list,
            test_list=request.test_list,
        )

    return Entry(description, load, needs, **facts)


def _published(name: str) -> Entry:
    preset = PRESETS[name]
    description = f"{preset.title}, {preset.num_classes} classes"
    return _entry(name, description, preset.needs, natural=True, folders=(preset.folder,))


ENTRY = _entry("list", "your own images, named by list files of 'path label' lines, in data_dir", f"data_dir: {LAYOUT}")
IMAGENET_LT = _published("imagenet_lt")
PLACES_LT = _published("places_lt")
INATURALIST2018 = _published("inaturalist2018")
