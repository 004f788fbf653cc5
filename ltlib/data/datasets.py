"""Data sets by name. Each loader returns a `Dataset`; making it long-tailed is the business of `longtail`."""

from __future__ import annotations

import numpy as np

from ltlib.data import glyphs
from ltlib.data.cifar import load_cifar
from ltlib.data.folder import load_folder
from ltlib.data.images import Dataset, Images
from ltlib.data.lists import load_lists
from ltlib.data.presets import PRESETS
from ltlib.data.tiny_imagenet import load_tiny_imagenet
from ltlib.errors import check_choice

DATASETS = {
    "glyphs": "letters in many fonts, drawn on the spot; no download",
    "digits": "handwritten digits that ship with scikit-learn; no download",
    "cifar10": "CIFAR-10, downloaded once (170 MB)",
    "cifar100": "CIFAR-100, downloaded once (169 MB)",
    "tiny_imagenet": "Tiny ImageNet, 200 classes, 64 or 32 pixels; you download it (237 MB)",
    "imagenet_lt": "ImageNet-LT, 1000 classes; you download images and lists",
    "places_lt": "Places-LT, 365 classes; you download images and lists",
    "inaturalist2018": "iNaturalist 2018, 8142 classes; you download images and lists",
    "folder": "your own images, one folder a class, in data_dir",
    "list": "your own images, named by list files ('path label' lines), in data_dir",
}


def load(
    name: str,
    *,
    data_dir: str = "",
    num_classes: int = 10,
    n_max: int = 500,
    test_per_class: int = 100,
    image_size: int = 0,
    train_list: str = "",
    test_list: str = "",
) -> Dataset:
    """Load a data set, balanced or as it comes.

    Args:
        name: a key of ``DATASETS``.
        data_dir: where the files are; empty means ``LTLIB_DATA`` (``folder`` and ``list`` always need it).
        num_classes, n_max, test_per_class: size of ``glyphs``; the other sets come whole.
        image_size: side of ``glyphs`` (0: 16), or the side that images from files are resized to (0: as they are).
        train_list, test_list: list files, see :func:`ltlib.data.lists.load_lists`.

    Raises:
        InputError: the name is unknown or the files are missing or damaged.
    """
    check_choice("dataset", name, DATASETS)
    if name == "glyphs":
        return _glyphs(num_classes, n_max, test_per_class, image_size or 16)
    if name == "digits":
        return _digits()
    if name == "folder":
        return load_folder(data_dir, image_size)
    if name == "tiny_imagenet":
        return load_tiny_imagenet(data_dir, image_size)
    if name == "list" or name in PRESETS:
        return load_lists(name, data_dir=data_dir, image_size=image_size, train_list=train_list, test_list=test_list)
    return load_cifar(name, data_dir)


def _glyphs(num_classes: int, n_max: int, test_per_class: int, size: int) -> Dataset:
    def split(per_class: int, seed: int) -> Images:
        labels = np.repeat(np.arange(num_classes), per_class)
        return Images(glyphs.render(labels, num_classes, size, seed), labels)

    train, test = split(n_max, seed=0), split(test_per_class, seed=1)
    return Dataset("glyphs", train, test, tuple(glyphs.ALPHABET[:num_classes]))


def _digits(test_per_class: int = 50) -> Dataset:
    """1,797 scans of 8x8 pixels, doubled to 16x16; the last 50 of each class are the test set."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = (bunch.images * (255 / 16)).round().astype(np.uint8)
    pixels = np.repeat(grey.repeat(2, axis=1).repeat(2, axis=2)[:, None], 3, axis=1)
    labels = bunch.target.astype(np.int64)
    test = np.concatenate([np.flatnonzero(labels == c)[-test_per_class:] for c in range(10)])
    train = np.setdiff1d(np.arange(len(labels)), test)
    everything = Images(pixels, labels)
    return Dataset("digits", everything.take(train), everything.take(test), tuple("0123456789"))
