"""CIFAR-10 and CIFAR-100, in either version that their author publishes.

The binary version (``cifar-10-batches-bin``, ``cifar-100-binary``) holds plain bytes and needs no pickle, and every
file of it is checked here. It is preferred where both versions are present. The python version is read, checked and,
where necessary, downloaded by torchvision. Both give the same pixels, labels and class names, and so the same runs.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", University of Toronto, 2009.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ltlib import paths
from ltlib.data.entry import Entry
from ltlib.data.images import Dataset, Images
from ltlib.errors import InputError

# MiSLAS and ResLT normalise CIFAR-100 with the statistics of CIFAR-10 too.
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
PIXELS = 3 * 32 * 32  # bytes of an image: the red plane, then green, then blue, each row by row


@dataclass(frozen=True)
class Binary:
    """The binary version of one data set.

    Attributes:
        folder: as in the published archive.
        archive: the file to download, for error messages.
        train, test: file name -> MD5 of the official file.
        certain: several programs check the official files against these sums. Otherwise one does, and a file with
            another sum is named and read if everything else about it is right.
        label_bytes: bytes before the pixels of each record. The last of them is the class.
        images: records in each training file and in the test file.
        class_names: a file with one name per line; or the names.
    """

    folder: str
    archive: str
    train: dict[str, str]
    test: dict[str, str]
    certain: bool
    label_bytes: int
    images: tuple[int, int]
    class_names: str | tuple[str, ...]
    num_classes: int


BINARY = {
    "cifar10": Binary(
        folder="cifar-10-batches-bin",
        archive="cifar-10-binary.tar.gz",
        train={
            "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
            "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
            "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
            "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
            "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
        },
        test={"test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d"},
        certain=True,
        label_bytes=1,
        images=(10_000, 10_000),
        class_names=(
            "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
        ),
        num_classes=10,
    ),
    "cifar100": Binary(
        folder="cifar-100-binary",
        archive="cifar-100-binary.tar.gz",
        train={"train.bin": "6172c7755cfe09b2fe270c85cebc1b15"},
        test={"test.bin": "4499cfba6c016c1be1438163640a0898"},
        certain=False,
        label_bytes=2,  # the superclass, then the class
        images=(50_000, 10_000),
        class_names="fine_label_names.txt",
        num_classes=100,
    ),
}  # fmt: skip

# The folder of the python version.
PYTHON = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}

# SHA-256 of the 10,000 official test labels of CIFAR-100, one byte each.
CIFAR100_TEST_LABELS = "4dad7d09c7c97d33f6cb928d705cf4196221316fd6e31bdd978a08ed9103ee0b"


def load_cifar(name: str, data_dir: str = "") -> Dataset:
    """CIFAR-10 or CIFAR-100 from the folder ``data_dir`` (empty: ``LTLIB_DATA``), whichever version is there.

    Args:
        name: ``cifar10`` or ``cifar100``.
        data_dir: the folder that holds ``cifar-10-batches-bin`` (or ``-py``), or that folder itself.

    Raises:
        InputError: a file is damaged, or nothing is there and it cannot be downloaded.
    """
    root = paths.user_path(data_dir, "data_dir") if data_dir else paths.data_root()
    folder = BINARY[name].folder
    for candidate in (root / folder, root):
        if candidate.name == folder and candidate.is_dir():
            return _binary(name, candidate)
    return _python(name, root)


def _binary(name: str, folder: Path) -> Dataset:
    version = BINARY[name]
    train = _join([_read(folder / file, md5, version, version.images[0]) for file, md5 in version.train.items()])
    test = _join([_read(folder / file, md5, version, version.images[1]) for file, md5 in version.test.items()])
    if name == "cifar100":
        _check_cifar100(train.labels, test.labels, folder)
    return Dataset(name, train, test, _class_names(version, folder), mean=MEAN, std=STD)


def _read(file: Path, md5: str, version: Binary, images: int) -> Images:
    """One file of the binary version.

    Raises:
        InputError: it is missing, has another size or another MD5, or holds a label that does not exist.
    """
    remedy = f"Download {version.archive} again and unpack it there."
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}). {remedy}") from error
    size = images * (version.label_bytes + PIXELS)
    if len(content) != size:
        raise InputError(f"{file} has {len(content):,} bytes; the official file has {size:,}. {remedy}")
    if _md5(content) != md5:
        if version.certain:
            raise InputError(f"{file} is damaged: its MD5 is not that of the official file ({md5}). {remedy}")
        print(f"note: {file} does not have the MD5 that is known of the official file ({md5}); its pixels may differ.")
    records = np.frombuffer(content, dtype=np.uint8).reshape(images, -1)
    labels = records[:, version.label_bytes - 1].astype(np.int64)
    if labels.max() >= version.num_classes:
        raise InputError(f"{file} is damaged: it holds label {labels.max()} of {version.num_classes} classes. {remedy}")
    return Images(records[:, version.label_bytes :].reshape(-1, 3, 32, 32), labels)


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _join(parts: list[Images]) -> Images:
    return Images(np.concatenate([p.pixels for p in parts]), np.concatenate([p.labels for p in parts]))


def _check_cifar100(train: np.ndarray, test: np.ndarray, folder: Path) -> None:
    """Raise :class:`InputError` unless the labels are the official ones, as far as they are known."""
    remedy = f"Download {BINARY['cifar100'].archive} again and unpack it there."
    if (np.bincount(train, minlength=100) != 500).any():
        raise InputError(f"{folder / 'train.bin'} is damaged: not every class has 500 images. {remedy}")
    if hashlib.sha256(test.astype(np.uint8).tobytes()).hexdigest() != CIFAR100_TEST_LABELS:
        raise InputError(f"{folder / 'test.bin'} is damaged: its labels are not the official ones. {remedy}")


def _class_names(version: Binary, folder: Path) -> tuple[str, ...]:
    if not isinstance(version.class_names, str):
        return version.class_names
    file = folder / version.class_names
    names = tuple(file.read_text(encoding="utf-8").split()) if file.is_file() else ()
    if len(names) != version.num_classes:
        raise InputError(
            f"{file} is missing or does not hold {version.num_classes} names. "
            f"Download {version.archive} again and unpack it there."
        )
    return names


def _python(name: str, root: Path) -> Dataset:
    """The python version, which torchvision checks and downloads."""
    # torchvision takes a second to import, so it is imported only where it is used.
    from torchvision import datasets as tv

    kind = {"cifar10": tv.CIFAR10, "cifar100": tv.CIFAR100}[name]
    try:
        parts = [kind(paths.make_folder(root, "LTLIB_DATA"), train=train, download=True) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        if damaged := _damaged(kind, root / kind.base_folder):
            raise InputError(
                f"{damaged}, and {kind.filename} could not be downloaded again ({error}): unpack it in {root} "
                f"yourself, or the binary version {BINARY[name].archive}."
            ) from error
        raise InputError(
            f"{name} is not in {root} and could not be downloaded ({error}): put {kind.filename} (python version) "
            f"there yourself, or unpack the binary version {BINARY[name].archive} there, point LTLIB_DATA or data_dir "
            f"at a folder that has one of them, or choose dataset 'glyphs' (no download)."
        ) from error
    train, test = (Images(np.ascontiguousarray(p.data.transpose(0, 3, 1, 2)), np.array(p.targets)) for p in parts)
    return Dataset(name, train, test, tuple(parts[0].classes), mean=MEAN, std=STD)


def _damaged(kind: Any, folder: Path) -> str:
    """What is wrong with the first bad file of the python version; empty if there is no such folder or no such file."""
    for file, md5 in (*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])):
        try:
            content = (folder / file).read_bytes()
        except OSError as error:
            return f"{folder / file} cannot be read ({error.strerror})" if folder.is_dir() else ""
        if _md5(content) != md5:
            return f"{folder / file} is damaged: its MD5 is not that of the official file ({md5})"
    return ""


def _entry(name: str, title: str, megabytes: int, python: str) -> Entry:
    version = BINARY[name]
    return Entry(
        f"{title}, {version.num_classes} classes, 32 pixels",
        lambda request: load_cifar(name, request.data_dir),
        needs=(
            f"{python} is downloaded once ({megabytes} MB) to LTLIB_DATA; or unpack {version.archive} there, which is "
            f"preferred and read without pickle"
        ),
        folders=(version.folder, PYTHON[name]),
    )


CIFAR10 = _entry("cifar10", "CIFAR-10", 170, "cifar-10-python.tar.gz")
CIFAR100 = _entry("cifar100", "CIFAR-100", 169, "cifar-100-python.tar.gz")
