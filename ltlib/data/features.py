"""Features of CIFAR-10-LT that travel with the project, so heads for photographs can be trained without a download.

The frozen network is EfficientNet-Lite0 with its ImageNet weights (:mod:`ltlib.models.efficientnet_lite`). The pack has
the 12,406 training images of CIFAR-10-LT at imbalance factor 100 and all 10,000 test images, reduced from 1,280 to 128
dimensions by a principal component analysis of the training features. ``cifar10_lt.json`` beside it says how it was
made; :func:`write_pack` makes it.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np

from ltlib import paths
from ltlib.data.entry import Entry, Request
from ltlib.data.images import Dataset, Images
from ltlib.errors import InputError
from ltlib.files import write_atomic

NAME = "cifar10_features"
DIMENSIONS = 128


def pack_file() -> Path:
    """The pack, in a checkout or in an installed wheel."""
    return paths.resources() / "data" / "features" / "cifar10_lt.npz"


def load_pack(_: Request) -> Dataset:
    """The pack as a data set of features; a smaller subset of it is the published one for its size.

    Raises:
        InputError: the file is missing or damaged.
    """
    file = pack_file()
    try:
        content = file.read_bytes()
        about = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"The feature pack {file} cannot be read ({error}): get the project again.") from error
    if hashlib.sha256(content).hexdigest() != about["sha256"]:
        raise InputError(f"The feature pack {file} is damaged (its SHA-256 differs): get the project again.")
    with np.load(io.BytesIO(content)) as stored:
        train, test = (
            Images(stored[split][:, :, None, None], stored[f"{split}_labels"].astype(np.int64))
            for split in ("train", "test")
        )
        official = stored["official"].astype(np.int64)
    names = tuple(about["class_names"])
    return Dataset(NAME, train, test, names, official=official, frozen=about["frozen"])


def reduced(train: np.ndarray, test: np.ndarray, dimensions: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Principal components of features, fitted on the training features.

    The mean is not subtracted: the components are those of the second moments, so the angle between two features stays
    what it is as far as the components hold it.

    Args:
        train, test: (N, D).
        dimensions: how many are kept.

    Returns:
        float16 (N, dimensions) of both, and the share of the training features' mean square that is kept.
    """
    moments = train.astype(np.float64).T @ train.astype(np.float64)
    values, vectors = np.linalg.eigh(moments)
    basis = vectors[:, ::-1][:, :dimensions]
    # The sign of an eigenvector is arbitrary: its largest entry is positive here, so a pack can be made again.
    basis = basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(dimensions)])
    kept = float(values[::-1][:dimensions].sum() / values.sum())
    return (train @ basis).astype(np.float16), (test @ basis).astype(np.float16), kept


def write_pack(file: Path, train: Images, test: Images, official: np.ndarray, about: dict) -> None:
    """Reduce features of both splits and write them with what is known of them.

    Args:
        file: ``.npz``; the description is the ``.json`` beside it.
        train, test: features, (N, D, 1, 1).
        official: (N,) position of each training image in the published set.
        about: class names, the frozen network and where all of it comes from.
    """
    few, few_test, kept = reduced(np.asarray(train.pixels)[:, :, 0, 0], np.asarray(test.pixels)[:, :, 0, 0], DIMENSIONS)
    content = io.BytesIO()
    np.savez_compressed(
        content,
        train=few,
        test=few_test,
        official=official.astype(np.uint16),
        train_labels=train.labels.astype(np.uint8),
        test_labels=test.labels.astype(np.uint8),
    )
    about = about | {
        "dimensions": f"{DIMENSIONS} of {train.pixels.shape[1]}, {kept:.2%} of the training features' mean square",
        "sha256": hashlib.sha256(content.getvalue()).hexdigest(),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, content.getvalue())
    write_atomic(file.with_suffix(".json"), (json.dumps(about, indent=1) + "\n").encode())


ENTRY = Entry(
    "features of CIFAR-10-LT at imbalance factor 100 by a frozen ImageNet network, 128 dimensions",
    load_pack,
    needs="nothing: the features travel with the project",
    features=True,
)
