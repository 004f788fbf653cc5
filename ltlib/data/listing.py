"""What a data set on disk is before an image is opened: which files there are, and which label each one has.

`folder`, `tiny_imagenet` and `lists` make a `Listing`; `real_files` checks it, and `shards` decodes it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ltlib import paths
from ltlib.errors import InputError


@dataclass(frozen=True, eq=False)
class Listing:
    """The files of a data set.

    Attributes:
        name: what a result on it must be called.
        root: folder that the paths start from.
        class_names: K names; label i is ``class_names[i]``.
        train, test: paths of the images, relative to ``root``.
        train_labels, test_labels: int64, one label per path, 0..K-1.
        splits: what the two splits are called in messages: two folders, or two list files.
        outside: images outside ``root`` are allowed, because the user named the list that names them.
        upright: turn each photograph as its camera's orientation tag says. The published sets are read without,
            because the papers read them so.
    """

    name: str
    root: Path
    class_names: tuple[str, ...]
    train: list[str]
    train_labels: np.ndarray
    test: list[str]
    test_labels: np.ndarray
    splits: tuple[str, str] = ("train", "test")
    outside: bool = False
    upright: bool = True


def by_number(path: str) -> tuple[int, str]:
    """Sort key that puts ``val_9.JPEG`` before ``val_10.JPEG``: shorter paths first, then by the alphabet."""
    return len(path), path


def shown(path: str | Path) -> str:
    """A path for a message. Bytes of its name that are not UTF-8 become ``\\xe9``, which any terminal can print."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def find_root(dataset: str, data_dir: str, needs: str, default: str = "") -> Path:
    """The folder of a data set: ``data_dir``, looked up from the working directory, then below ``LTLIB_DATA``.

    Args:
        dataset: its name, for the message.
        data_dir: what the user gave; empty takes ``default``.
        needs: half a sentence that says what the folder must hold, for the message.
        default: name of the folder below ``LTLIB_DATA``; empty if ``data_dir`` must be given.

    Raises:
        InputError: there is no such folder.
    """
    if not (data_dir or default):
        raise InputError(f"dataset {dataset!r} needs data_dir, the path of your images; {needs}.")
    below = paths.data_root() / (data_dir or default)
    for candidate in (lambda: Path(data_dir).expanduser() if data_dir else below, lambda: below):
        if found := found_or_none(candidate):
            return found
    if not data_dir:
        raise InputError(f"dataset {dataset!r} is not in {shown(below)}: {needs}.")
    given = shown(data_dir) if len(data_dir) <= 100 else f"{shown(data_dir[:100])}..."
    raise InputError(f"data_dir {given!r} is not a folder, nor is it one below {shown(paths.data_root())}; {needs}.")


def found_or_none(path: Callable[[], Path], is_wanted: Callable[[Path], bool] = Path.is_dir) -> Path | None:
    """The path if it is there. Names that cannot be one (an unknown ``~user``, too long, a NUL byte) give None."""
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        if is_wanted(found := path()):
            return found
    return None
