"""Write a data set as anyone's images are: one PNG file per image, one folder per class below ``train`` and ``test``.

The inverse of :func:`ltlib.data.folder.load_folder`, for lessons and tests that need such a folder.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from ltlib.data.images import Images
from ltlib.errors import InputError


def write_folder(folder: Path, class_names: tuple[str, ...], **splits: Images) -> Path:
    """Write ``folder/<split>/<class>/<number>.png``; returns the folder. A folder that is there stays as it is.

    Args:
        folder: a new folder. It appears when all files are written.
        class_names: K names, which become folders.
        splits: ``train`` and ``test``, uint8 images (N, 3, H, W) with labels (N,).

    Raises:
        InputError: the folder cannot be written.
    """
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
            new = Path(beside) / folder.name
            for split, images in splits.items():
                _write(new / split, class_names, images)
            new.rename(folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}): name a folder that can.") from error
    return folder


def _write(root: Path, class_names: tuple[str, ...], images: Images) -> None:
    for name in class_names:
        (root / name).mkdir(parents=True)
    for i, label in enumerate(images.labels):
        pixels = np.asarray(images.pixels[i]).transpose(1, 2, 0)
        Image.fromarray(np.ascontiguousarray(pixels)).save(root / class_names[label] / f"{i:05d}.png")
