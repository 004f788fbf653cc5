"""Every entry says what it is, and whatever a loader returns is checked once. ``tests/test_recipes.py`` adds one."""

import numpy as np
import pytest
import torch

from ltlib.data import datasets
from ltlib.data.datasets import DATASETS, load
from ltlib.data.entry import Entry
from ltlib.data.images import Dataset, Images
from ltlib.data.stored import StoredPixels
from ltlib.data.stream import Split, Stream, on_device
from ltlib.errors import InputError
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.recipe import resolve


@pytest.mark.parametrize("name", DATASETS)
def test_every_entry_says_what_it_is_and_decides_flips_and_subsets(name):
    entry = DATASETS[name]
    assert entry.description
    assert name in ("glyphs", "digits") or entry.needs, "what you must download or install is said"
    experiment = Experiment(dataset=name, profile="smoke")
    assert (experiment.imbalance_type == "natural") == entry.natural
    assert (resolve(experiment)[0].augmentation == "crop") == (not entry.mirror)


def images(labels) -> Images:
    return Images(np.zeros((len(labels), 3, 8, 8), dtype=np.uint8), np.array(labels, dtype=np.int64))


@pytest.mark.parametrize(
    ("train", "test", "names", "message"),
    [
        ([0, 1], [0, 2], "ab", "test labels from 0 to 2, but 2 class names"),
        ([0, -1], [0, 1], "ab", "training labels from -1 to 0"),
        ([0, 0], [0, 1], "ab", "no training image of 1 of 2 classes, such as 'b'"),
        ([0, 1], [1, 1], "ab", "no test image of 1 of 2 classes, such as 'a'"),
        ([0, 1], [], "ab", "has no test image"),
        ([], [0, 1], "ab", "has no training image"),
        ([0, 1], [0, 1], "aa", "2 classes with different names"),
        ([0, 0], [0, 0], "a", "at least 2 classes"),
    ],
)
def test_what_a_loader_returns_is_checked_once(monkeypatch, train, test, names, message):
    wrong = Dataset("wrong", images(train), images(test), tuple(names))
    monkeypatch.setitem(datasets.DATASETS, "wrong", Entry("wrong", lambda request: wrong))
    with pytest.raises(InputError, match=f"wrong .*{message}"):
        load("wrong")


def test_a_split_is_a_tensor_or_a_stream_and_says_which():
    held = on_device(images([0, 1]), torch.device("cpu"))
    assert isinstance(held, Split)
    assert isinstance(held.images, torch.Tensor)
    stored = StoredPixels((), 1, 8, np.zeros((2, 2, 3), dtype=np.int64), "", np.arange(2), np.full((2, 2), 8))
    streamed = on_device(Images(stored, np.array([1, 0])), torch.device("cpu"))
    assert isinstance(streamed.images, Stream)
    assert (streamed.images.shape, streamed.labels.tolist()) == ((2, 3, 8, 8), [1, 0])


def test_a_slip_in_the_number_of_letters_is_refused_before_any_is_drawn():
    with pytest.raises(InputError, match=r"would take 768\.\d GB of memory; at most 4\.3 GB are drawn: lower n_max"):
        load("glyphs", n_max=100_000_000)
