"""`ltlib.LongTailed` around data sets of torchvision's form."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import FakeData, ImageFolder
from torchvision.transforms import ToTensor

import ltlib
from ltlib.data.longtail import CIFAR10_LT_SHA256
from ltlib.errors import InputError


class CIFAR10:
    """Labels of a balanced set in a shuffled order; image i is the number i."""

    classes = tuple("abcdefghij")
    transform = None

    def __init__(self, labels):
        self.targets = labels

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return index, self.targets[index]


@pytest.fixture
def balanced():
    return CIFAR10(np.random.default_rng(0).permutation(np.repeat(np.arange(10), 50)).tolist())


def reference(labels, factor):
    """The recipe of ``imbalance_cifar.py`` (LDAM-DRW), written from its description."""
    np.random.seed(0)  # noqa: NPY002
    labels, kept = np.array(labels), []
    largest = len(labels) / 10
    for c in range(10):
        index = np.where(labels == c)[0]
        np.random.shuffle(index)  # noqa: NPY002
        kept.extend(index[: int(largest * (1 / factor) ** (c / 9))])
    return kept


@pytest.mark.parametrize("factor", [1, 10, 50])
def test_it_keeps_the_images_of_the_recipe_in_its_order(balanced, factor):
    tail = ltlib.LongTailed(balanced, factor)
    assert tail.indices == reference(balanced.targets, factor)
    assert [tail[i] for i in range(len(tail))] == [(i, balanced.targets[i]) for i in tail.indices]
    assert tail.targets == [balanced.targets[i] for i in tail.indices]
    assert tail.counts.tolist() == np.bincount(tail.targets).tolist()


def test_attributes_are_those_of_the_whole_set_and_loaders_take_it(balanced):
    tail = ltlib.LongTailed(balanced, 10)
    assert tail.classes == balanced.classes
    assert not hasattr(tail, "no_such_attribute")
    batches = list(DataLoader(tail, batch_size=64, num_workers=1))
    assert torch.cat([y for _, y in batches]).tolist() == tail.targets


def test_an_image_folder_and_svhn_style_labels_are_taken(image_folder):
    folder = ImageFolder(str(image_folder((8, 8)) / "train"), transform=ToTensor())
    tail = ltlib.LongTailed(folder, 4)
    assert (tail.counts.tolist(), tail[0][0].shape, tail.published) == ([8, 2], (3, 8, 8), None)
    folder.labels = np.array(folder.targets)
    del folder.targets
    assert ltlib.LongTailed(folder, 4).indices == tail.indices
    del folder.labels
    assert ltlib.LongTailed(folder, 4).indices == tail.indices, "samples hold the labels too"


def test_the_published_subsets_are_recognised(balanced, monkeypatch):
    assert ltlib.LongTailed(balanced, 10).published is False
    monkeypatch.setitem(CIFAR10_LT_SHA256, 10, ltlib.LongTailed(balanced, 10).sha256)
    assert ltlib.LongTailed(balanced, 10).published is True
    assert ltlib.LongTailed(balanced, 10, seed=1).published is False
    assert ltlib.LongTailed(balanced, 7).published is None


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([0, 1, 1, 0], {"imbalance_factor": 3}, "imbalance_factor 3 is larger than these data allow"),
        ([0, 1] * 50, {"imbalance_factor": 2, "n_max": 60}, "n_max=60 is more than these data allow .* at most 50"),
        ([0, 2] * 50, {"imbalance_factor": 2}, "class 1 has no image"),
        ([0.5, 1.0] * 50, {"imbalance_factor": 2}, "found float64"),
        (["a", "b"] * 50, {"imbalance_factor": 2}, "as integers 0, 1, 2"),
        ([[0, 1]] * 50, {"imbalance_factor": 2}, "as integers 0, 1, 2"),
        ([0, -1] * 50, {"imbalance_factor": 2}, "from -1 to 0"),
        ([0, 1] * 50, {"imbalance_factor": 0.5}, "at least 1"),
        ([0, 1] * 50, {"imbalance_factor": 2, "kind": "expo"}, "Did you mean 'exponential'"),
        ([], {"imbalance_factor": 2}, "found 0 for 0 images"),
        ([0, 1] * 50, {"imbalance_factor": "2"}, "imbalance_factor is a number, such as 100; got '2'"),
        ([0, 1] * 50, {"imbalance_factor": None}, "imbalance_factor is a number, such as 100; got None"),
        ([0, 1] * 50, {"imbalance_factor": float("nan")}, "a finite number"),
        ([0, 1] * 50, {"imbalance_factor": float("inf")}, "a finite number"),
        ([0, 1] * 50, {"imbalance_factor": 2, "seed": -1}, "seed is a whole number"),
        ([0, 1] * 50, {"imbalance_factor": 2, "n_max": 2.5}, "n_max is a whole number from 0; got 2.5"),
    ],
)
def test_what_cannot_be_is_a_sentence(labels, options, message):
    with pytest.raises(InputError, match=message):
        ltlib.LongTailed(CIFAR10(labels), **options)


def test_a_set_without_labels_says_what_is_needed():
    with pytest.raises(InputError, match=r"labels of FakeData as integers .* found 0 for 9 images"):
        ltlib.LongTailed(FakeData(9), 2)
    with pytest.raises(InputError, match=r"got the path 'images': open it first"):
        ltlib.LongTailed("images", 2)


def test_it_is_shown_with_its_sizes():
    shown = repr(ltlib.LongTailed(CIFAR10([0, 1] * 50), imbalance_factor=5))
    assert shown == "LongTailed: 60 images of CIFAR10, 50 to 10 of each of 2 classes"


def test_importing_ltlib_stays_instant():
    code = "import ltlib, sys; print('torch' in sys.modules, 'LongTailed' in dir(ltlib))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.real_data
def test_the_published_cifar10_lt_is_that_of_the_official_images():
    from ltlib import paths
    from ltlib.data.cifar import load_cifar

    if not (paths.data_root() / "cifar-10-batches-bin").is_dir():
        pytest.skip("needs the official CIFAR-10: LTLIB_DATA must hold cifar-10-batches-bin")
    labels = load_cifar("cifar10").train.labels.tolist()
    for factor in CIFAR10_LT_SHA256:
        assert ltlib.LongTailed(CIFAR10(labels), factor).published is True
