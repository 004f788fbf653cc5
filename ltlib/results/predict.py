"""What a trained network says of one's own photographs: ``python -m ltlib predict RUN FOLDER``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from ltlib.data.augment import to_float
from ltlib.data.decode import decode, endings
from ltlib.errors import InputError
from ltlib.experiments import execute, runs
from ltlib.methods import Method
from ltlib.results import networks

Row = dict[str, object]


def predict_folder(name: str, folder: Path, say: Callable[[str], None] = print, batch: int = 100) -> list[Row]:
    """One row per image: ``file``, ``label``, ``confidence``, and ``second`` with ``its confidence``.

    Every image is scaled and cropped to the size that the network was trained on, and turned upright as its camera
    says. A network knows its own classes only: it names one of them whatever the image shows.

    Args:
        name: the id of a finished run or its beginning, or a stored network such as ``cifar10_lt_paper/mislas``.
        folder: images, in sub-folders too.
        say: receives one line per image that cannot be read; such images have no row.
        batch: images at a time.

    Raises:
        InputError: there is no such run or network, or no image in the folder.
    """
    method, data = _open(name)
    if "frozen" in data:
        raise InputError(f"{name} was trained on features: it cannot see photographs without the frozen network.")
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: name the one that holds your images.")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in endings())
    if not files:
        raise InputError(f"{folder} holds no image whose ending is known ({', '.join(sorted(endings()))}).")
    classes = data["class_names"]
    rows: list[Row] = []
    for part in _batches(files, data["image_size"], say, batch):
        with torch.inference_mode():
            p = method.logits(to_float(torch.from_numpy(np.stack([pixels for _, pixels in part])))).float().softmax(1)
        top = p.topk(2)
        for (file, _), values, labels in zip(part, top.values.tolist(), top.indices.tolist(), strict=True):
            rows.append(
                {
                    "file": file.relative_to(folder).as_posix(),
                    "label": classes[labels[0]],
                    "confidence": round(values[0], 4),
                    "second": classes[labels[1]],
                    "its confidence": round(values[1], 4),
                }
            )
    return rows


def _open(name: str) -> tuple[Method, dict]:
    """The network, and what it was trained on."""
    if "/" in name:
        method, record = networks.opened(name)
        return method, record.data
    run = runs.find(name)
    return execute.load(run), run.info["data"]


def _batches(
    files: list[Path], side: int, say: Callable[[str], None], size: int
) -> Iterator[list[tuple[Path, np.ndarray]]]:
    for first in range(0, len(files), size):
        read = []
        for file in files[first : first + size]:
            try:
                read.append((file, decode(str(file), side, "resize")[0]))
            except InputError as error:
                say(f"left out: {error}")
        if read:
            yield read
