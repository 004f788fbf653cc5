"""What a data set on disk is before an image is opened: which files there are, and which label each one has.

`folder`, `tiny_imagenet` and `lists` make a `Listing`; `shards` decodes it.
"""

from __future__ import annotations

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
        train_labels, test_labels: int64, one label a path, 0..K-1.
    """

    name: str
    root: Path
    class_names: tuple[str, ...]
    train: list[str]
    train_labels: np.ndarray
    test: list[str]
    test_labels: np.ndarray


def by_number(path: str) -> tuple[int, str]:
    """Sort key that puts ``val_9.JPEG`` before ``val_10.JPEG``: shorter paths first, then by the alphabet."""
    return len(path), path


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
    given = Path(data_dir).expanduser() if data_dir else below
    for candidate in (given, below):
        if candidate.is_dir():
            return candidate
    if not data_dir:
        raise InputError(f"dataset {dataset!r} is not in {below}: {needs}.")
    raise InputError(f"data_dir {data_dir!r} is not a folder (nor is {below}); {needs}.")
