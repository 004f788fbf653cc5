"""Handwritten digits that ship with scikit-learn (Alpaydin and Kaynak 1998)."""

from __future__ import annotations

import numpy as np

from ltlib.data.entry import Entry, Request
from ltlib.data.images import Dataset, Images, split_off_test

TEST_PER_CLASS = 50


def load_digits(_: Request) -> Dataset:
    """1,797 scans of 8x8 pixels, doubled to 16x16; the last 50 of each class are the test set."""
    from sklearn import datasets  # takes a second to import

    levels, labels = datasets.load_digits(return_X_y=True)
    grey = (np.asarray(levels).reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8)
    pixels = np.repeat(grey.repeat(2, axis=1).repeat(2, axis=2)[:, None], 3, axis=1)
    train, test = split_off_test(Images(pixels, np.asarray(labels).astype(np.int64)), TEST_PER_CLASS)
    return Dataset("digits", train, test, tuple("0123456789"))


ENTRY = Entry("handwritten digits that ship with scikit-learn, 16 pixels; no download", load_digits, mirror=False)
