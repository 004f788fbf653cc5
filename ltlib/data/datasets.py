"""Data sets by name. Each loader returns a `Dataset`; making it long-tailed is the business of `longtail`."""

from __future__ import annotations

from typing import Any

from ltlib.data import cifar, digits, features, folder, glyphs, lists, mnist5k, tiny_imagenet
from ltlib.data.entry import Entry, Request
from ltlib.data.images import Dataset
from ltlib.errors import check_choice

DATASETS: dict[str, Entry] = {
    "glyphs": glyphs.ENTRY,
    "digits": digits.ENTRY,
    "mnist5k": mnist5k.ENTRY,
    "cifar10": cifar.CIFAR10,
    "cifar100": cifar.CIFAR100,
    features.NAME: features.ENTRY,
    "tiny_imagenet": tiny_imagenet.ENTRY,
    "imagenet_lt": lists.IMAGENET_LT,
    "places_lt": lists.PLACES_LT,
    "inaturalist2018": lists.INATURALIST2018,
    "folder": folder.ENTRY,
    "list": lists.ENTRY,
}


def load(name: str, request: Request | None = None, **fields: Any) -> Dataset:
    """Load a data set, balanced or as it comes. What a loader returns is checked here, once.

    Args:
        name: a key of ``DATASETS``.
        request: what is asked of the loader, or its fields by name: ``load("glyphs", n_max=50)``.

    Raises:
        InputError: the name is unknown, the files are missing or damaged, or labels and class names disagree.
    """
    check_choice("dataset", name, DATASETS)
    data = DATASETS[name].load(request or Request(**fields))
    data.check()
    return data
