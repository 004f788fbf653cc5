"""The photographs that travel with the project are the official ones, chosen by the rule, and join with predictions."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltlib import paths
from ltlib.data.cifar import load_cifar
from ltlib.data.excerpt import excerpt, folder
from ltlib.errors import InputError

PER_CLASS = 20


def first_of_each(labels):
    return np.concatenate([np.flatnonzero(labels == c)[:PER_CLASS] for c in range(10)])


def test_it_is_the_first_images_of_each_class_pixel_by_pixel():
    if not (paths.data_root() / "cifar-10-batches-bin").is_dir():
        pytest.skip("the official CIFAR-10 is not in LTLIB_DATA")
    test, photographs = load_cifar("cifar10").test, excerpt()
    assert photographs.indices.tolist() == first_of_each(test.labels).tolist()
    assert (np.asarray(test.pixels)[photographs.indices] == photographs.images.pixels).all()


def test_it_has_at_most_200_images_and_its_source():
    photographs = excerpt()
    assert len(photographs.images) == 200 == len(np.unique(photographs.indices))
    assert photographs.per_class == PER_CLASS
    assert photographs.images.pixels.shape == (200, 3, 32, 32)
    assert "Krizhevsky" in photographs.source
    assert "first 20" in photographs.rule
    assert sum(file.stat().st_size for file in folder().iterdir()) < 500_000


def test_a_class_is_found_by_its_name():
    photographs = excerpt()
    assert (photographs.of_class("truck") == photographs.images.pixels[-PER_CLASS:]).all()
    with pytest.raises(InputError, match="lorry"):
        photographs.of_class("lorry")


def test_a_sheet_that_changed_is_refused(tmp_path, monkeypatch):
    shutil.copytree(folder(), tmp_path / "data" / "excerpts")
    monkeypatch.setattr(paths, "resources", lambda: tmp_path)
    sheet = tmp_path / "data" / "excerpts" / "cifar10.png"
    with Image.open(sheet) as image:
        image.putpixel((3, 4), (0, 0, 0))
        image.save(sheet)
    with pytest.raises(InputError, match="damaged"):
        excerpt()


def test_images_are_found_among_labels_in_official_and_in_folder_order():
    photographs, random = excerpt(), np.random.default_rng(0)
    official = random.permutation(np.repeat(np.arange(10), 30))
    assert photographs.places(official).tolist() == first_of_each(official).tolist()
    by_folder = photographs.places(np.sort(official))
    assert by_folder.reshape(10, -1)[:, 0].tolist() == list(range(0, 300, 30))
    with pytest.raises(InputError, match="'airplane'.* have 3:"):
        photographs.places(np.repeat(np.arange(10), 3))


def test_the_folder_of_official_indices_gives_the_same_images():
    """The runs on ``cifar10-exact`` were tested on files that are called by their official index."""
    root = paths.data_root() / "cifar10-exact" / "test"
    if not root.is_dir():
        pytest.skip("cifar10-exact is not in LTLIB_DATA")
    files = sorted(root.glob("*/*.png"))
    photographs = excerpt()
    labels = np.array([photographs.class_names.index(file.parent.name) for file in files])
    found = [int(Path(files[i]).stem) for i in photographs.places(labels)]
    assert found == photographs.indices.tolist()


def test_the_description_is_plain_json():
    told = json.loads((folder() / "cifar10.json").read_text())
    assert set(told) == {"source", "rule", "side", "class_names", "indices", "sha256"}
