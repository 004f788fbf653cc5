"""List files: what is read, what is refused and how it is named, and the published ones."""

import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltlib.data import lists, longtail
from ltlib.data.images import Dataset, Images
from ltlib.data.lists import load_lists, read_list
from ltlib.data.presets import PRESETS
from ltlib.errors import InputError
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.prepare import prepare
from ltlib.experiments.recipe import resolve


@pytest.fixture
def listed(tmp_path):
    """Images of two classes, the smaller one with label 0, named by lists; some paths hold spaces."""
    root = tmp_path / "birds"
    paths = {"train": ["a b/x 1.png 0", "w/2.png 1", "w/10.png 1", "w/9.png 1"], "test": ["t/1.png 1", "t/0.png 0"]}
    for split, lines in paths.items():
        for shade, line in enumerate(lines):
            file = root / line.rpartition(" ")[0]
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (shade, 0, 0)).save(file)
        (root / f"birds_{split}.txt").write_text("\n".join(lines) + "\n")
    return root


def test_a_list_is_read_class_by_class_in_the_order_of_numbers(listed):
    data = load_lists("list", data_dir=str(listed))
    assert data.name == "list:birds"
    assert data.class_names == ("a b", "w")
    assert data.train.labels.tolist() == [0, 1, 1, 1]
    assert np.asarray(data.train.pixels)[:, 0, 0, 0].tolist() == [0, 1, 3, 2]  # x 1, 2, 9, 10
    assert data.test.labels.tolist() == [0, 1]


def test_the_order_of_lines_empty_lines_and_line_ends_mean_nothing(listed):
    first = load_lists("list", data_dir=str(listed)).fingerprint
    file = listed / "birds_train.txt"
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(reversed(file.read_text().splitlines())).encode())
    assert load_lists("list", data_dir=str(listed)).fingerprint == first


def test_labels_run_from_the_head_once_prepared(listed):
    """The list gives its rarer class the label 0, as ResLT does; inside, class 0 is always the head."""
    experiment = Experiment(dataset="list", data_dir=str(listed), imbalance_type="natural", profile="smoke")
    data = prepare(experiment, resolve(experiment)[0])
    assert data.counts.tolist() == [3, 1]
    assert data.class_names == ("w", "a b")
    assert data.train.labels.tolist() == [1, 0, 0, 0]
    assert data.test.labels.tolist() == [0, 1]
    assert data.test.pixels[:, 0, 0, 0].tolist() == [0, 1]  # t/1.png is of class w


def test_descending_and_ascending_lists_of_the_same_images_give_the_same_run(listed):
    def prepared():
        experiment = Experiment(dataset="list", data_dir=str(listed), imbalance_type="natural", profile="smoke")
        data = prepare(experiment, resolve(experiment)[0])
        return sorted(zip(data.train.pixels[:, 0, 0, 0].tolist(), data.train.labels.tolist(), strict=True))

    ascending = prepared()
    for file in listed.glob("*.txt"):
        file.write_text(re.sub(r" (\d)$", lambda m: f" {1 - int(m[1])}", file.read_text(), flags=re.M))
    assert prepared() == ascending


def test_lists_are_found_by_their_names_or_named(listed):
    (listed / "birds_val.txt").write_text("w/2.png 1\nt/0.png 0\n")  # beside a test list, val is not looked at
    assert len(load_lists("list", data_dir=str(listed)).test) == 2
    (listed / "birds_test.txt").rename(listed / "held out.txt")
    with pytest.raises(InputError, match="1 images are in birds_train.txt and in birds_val.txt, such as w/2.png"):
        load_lists("list", data_dir=str(listed))
    assert len(load_lists("list", data_dir=str(listed), test_list="held out.txt").test) == 2
    experiment = Experiment(dataset="list", data_dir=str(listed), overrides=f"test_list={listed / 'held out.txt'}")
    assert resolve(experiment)[0].test_list.endswith("held out.txt")
    (listed / "train2.txt").write_text("")
    with pytest.raises(InputError, match=r"birds_train.txt, train2.txt\): name one.*train_list=birds_train.txt"):
        load_lists("list", data_dir=str(listed), test_list="held out.txt")
    with pytest.raises(InputError, match="test_list=none.txt is no file"):
        load_lists("list", data_dir=str(listed), train_list="birds_train.txt", test_list="none.txt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("w/2.png", r"Line 1 of .*birds_train.txt must read .*; got 'w/2.png'"),
        ("w/2.png 0\nw/9.png one", "Line 2 of"),
        ("w/2.png 0\nw/9.png -1", "Line 2 of"),
        ("w/2.png 0\n17", "Line 2 of .* got '17'"),
        ("w/2.png 0\nw/9.png 1.5", "Line 2 of"),
        ("<!DOCTYPE html>\n<html>", r"Line 1 of .*'<!DOCTYPE html>'"),
        ("w/2.png 0\nw/9.png 1\n\nw/2.png 1", r"Line 4 of .* repeats line 1 \(w/2.png\)"),
        ("w/2.png 0\nw/9.png 2", r"1 of 3 classes have no image in .*, the first: 1; labels must be"),
        ("w/2.png 0\nw/9.png 99999999999", "classes have no image in .*, the first: 1, 2, 3, 4, 5; labels"),
        ("w/2.png 0\nw/9.png 0", "names one class only"),
        ("", "is empty"),
        ("w/2.png 0\nw/nine.png 1\nw/ten.png 1", r"2 of 5 images are missing in .*, the first: .*w/ten.png, .*nine"),
        ("w/2.png 0\nt/0.png 1", "1 images are in birds_train.txt and in birds_test.txt, such as t/0.png"),
        (b"w/2.png 0\n\xff\xfe 1", "cannot be read as a list"),
    ],
)
def test_a_bad_list_is_named_with_its_line(listed, text, message):
    (listed / "birds_train.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        load_lists("list", data_dir=str(listed))


def test_a_test_label_without_training_images_is_named(listed):
    (listed / "birds_test.txt").write_text("t/0.png 0\nt/1.png 2\n")
    with pytest.raises(InputError, match=r"Line 2 of .*birds_test.txt has label 2, but labels run from 0 to 1"):
        load_lists("list", data_dir=str(listed))


def test_classes_without_a_folder_of_their_own_are_numbered(listed):
    (listed / "birds_train.txt").write_text("w/2.png 0\nw/9.png 1\n")
    assert load_lists("list", data_dir=str(listed)).class_names == ("0", "1")


@pytest.mark.parametrize("name", PRESETS)
def test_a_missing_set_says_what_to_download_and_where_to_put_it(name, tmp_path, monkeypatch):
    monkeypatch.setenv("LTLIB_DATA", str(tmp_path))
    with pytest.raises(InputError, match=re.escape(f"{PRESETS[name].title} needs ")) as caught:
        load_lists(name)
    assert "https://github.com/facebookresearch/classifier-balancing" in str(caught.value)
    (tmp_path / PRESETS[name].folder).mkdir()
    with pytest.raises(InputError, match=f"holds no {PRESETS[name].train_lists[0]}.*train_list=FILE"):
        load_lists(name)


def test_published_sets_are_natural_whatever_the_default_says():
    assert Experiment(dataset="imagenet_lt").imbalance_type == "natural"
    assert Experiment(dataset="list").imbalance_type == "exponential"
    with pytest.raises(InputError, match="long-tailed as it comes"):
        Experiment(dataset="places_lt", imbalance_type="step")


@pytest.mark.parametrize("name", PRESETS)
def test_large_sets_are_seen_at_224_pixels_with_the_augmentation_of_their_papers(name):
    for method in ("mislas", "reslt"):
        recipe, _ = resolve(Experiment(dataset=name, method=method, profile="paper"))
        plain = (method, name) == ("reslt", "inaturalist2018")
        assert recipe.augmentation == ("resized_crop_flip" if plain else "resized_crop_flip_jitter")
        assert recipe.image_size == 224


def long_tail(preset) -> np.ndarray:
    """Counts with the published number of classes and images, largest and smallest class."""
    counts = np.full(preset.num_classes, preset.smallest)
    counts[0] = preset.largest
    rest = preset.train_images - counts.sum()
    counts[1:] += rest // (preset.num_classes - 1)
    counts[1 : 1 + rest % (preset.num_classes - 1)] += 1
    counts[-1], counts[1] = preset.smallest, counts[1] + counts[-1] - preset.smallest
    return counts


@pytest.fixture
def decoded(monkeypatch):
    """What would have been decoded, without any images: the arguments of ``shards.load``."""
    asked = {}

    def load(listing, **how):
        asked.update(listing=listing, how=how)
        nothing = Images(np.zeros((1, 3, 1, 1), dtype=np.uint8), np.zeros(1, dtype=np.int64))
        return Dataset(listing.name, nothing, nothing, listing.class_names)

    monkeypatch.setattr(lists.shards, "load", load)
    return asked


def write_published_sizes(folder, preset) -> Path:
    """Lists of a preset's published sizes, with invented paths; returns the training list."""
    even = np.full(preset.num_classes, preset.test_images // preset.num_classes)
    for name, counts in ((preset.test_lists[0], even), (preset.train_lists[0], long_tail(preset))):
        lines = [f"{name}/c{c}/{i}.jpg {c}\n" for c, n in enumerate(counts) for i in range(n)]
        (folder / name).write_text("".join(lines))
    return folder / preset.train_lists[0]


@pytest.mark.parametrize("name", PRESETS)
def test_lists_of_the_published_sizes_are_taken(name, decoded, tmp_path):
    preset = PRESETS[name]
    write_published_sizes(tmp_path, preset)
    data = load_lists(name, data_dir=str(tmp_path), image_size=256)
    assert (data.name, data.mean, data.std) == (name, preset.mean, preset.std)
    assert decoded["how"] == {"side": 256, "how": "resize", "whole": 0}
    assert len(decoded["listing"].train) == preset.train_images
    assert len(decoded["listing"].test) == preset.test_images
    assert decoded["listing"].class_names[1] == "c1"


def test_lists_of_other_sizes_are_refused(decoded, tmp_path):
    name = "imagenet_lt"
    file = write_published_sizes(tmp_path, PRESETS[name])
    lines = file.read_text().splitlines(keepends=True)
    for changed, message in (
        ([*lines[:-1], "x/1.jpg 0\n"], "1,281 images in its largest class; the published list of ImageNet-LT has 1,28"),
        (lines[1:], "has 115,845 images; the published list of ImageNet-LT has 115,846"),
        ([*lines[:-1], "x/1.jpg 1000\n"], "Line 115846 of .* has label 1000, but labels run from 0 to 999"),
        (lines[:-5] + [f"x/{i}.jpg 1\n" for i in range(5)], "1 of 1,000 classes have no image .* the first: 999"),
    ):
        file.write_text("".join(changed))
        with pytest.raises(InputError, match=message):
            load_lists(name, data_dir=str(tmp_path), image_size=256)


@pytest.fixture
def published_lists() -> Path:
    folder = Path(os.environ.get("LTLIB_DATA", "")) / "lists"
    if not os.environ.get("LTLIB_DATA") or not folder.is_dir():
        pytest.skip("needs the published list files: LTLIB_DATA must hold lists/Places_LT_train.txt and the others")
    return folder


PUBLISHED = {  # file: images, classes, images of each class (None: long-tailed)
    "ImageNet_LT_val.txt": (20_000, 1000, 20),
    "ImageNet_LT_test.txt": (50_000, 1000, 50),
    "Places_LT_train.txt": (62_500, 365, None),
    "Places_LT_val.txt": (7_300, 365, 20),
    "Places_LT_test.txt": (36_500, 365, 100),
    "Places_LT_v2_train.txt": (62_500, 365, None),
    "Places_LT_v2_val.txt": (7_300, 365, 20),
    "Places_LT_v2_test.txt": (36_500, 365, 100),
    "iNaturalist18_val.txt": (24_426, 8142, 3),
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_lists_parse_to_their_published_numbers(published_lists, name):
    images, classes, each = PUBLISHED[name]
    paths, labels = read_list(published_lists / name, classes)
    counts = np.bincount(labels)
    assert (len(paths), len(counts), counts.sum()) == (images, classes, images)
    assert set(counts.tolist()) == {each} if each else (counts.max(), counts.min()) == (4980, 5)
    known = {file: sha for preset in PRESETS.values() for file, sha in preset.sha256.items()}
    assert known.get(name, lists.checksum(published_lists / name)) == lists.checksum(published_lists / name)


@pytest.mark.real_data
def test_places_groups_under_both_rules(published_lists):
    counts = np.bincount(read_list(published_lists / "Places_LT_train.txt")[1])
    sizes = {rule: [len(c) for c in longtail.shot_groups(counts, rule).values()] for rule in longtail.RULES}
    assert sizes == {"threshold": [131, 163, 71], "papers": [131, 157, 77]}
    # the ranges of the papers are "at most 20" read as few
    assert (counts[longtail.shot_groups(counts, "papers")["few"]] <= 20).all()


@pytest.mark.real_data
def test_both_path_styles_of_places_name_the_same_images(published_lists):
    def images(file):
        paths, labels = read_list(published_lists / file)
        return Counter((path.split("/")[-1], label) for path, label in zip(paths, labels.tolist(), strict=True))

    for split in ("train", "val", "test"):
        assert images(f"Places_LT_{split}.txt") == images(f"Places_LT_v2_{split}.txt")


@pytest.mark.real_data
@pytest.mark.parametrize("style", ["", "v2_"])
def test_places_is_loaded_by_its_name_in_both_styles(published_lists, tmp_path, decoded, style, capsys):
    for split in ("train", "test"):
        (tmp_path / f"Places_LT_{style}{split}.txt").symlink_to(published_lists / f"Places_LT_{style}{split}.txt")
    load_lists("places_lt", data_dir=str(tmp_path), image_size=256)
    assert decoded["listing"].class_names[:2] == ("airfield", "airplane_cabin")
    assert len({name.rpartition("/")[2] for name in decoded["listing"].class_names}) < 365 if style else True
    assert capsys.readouterr().out == ""
    file = tmp_path / f"Places_LT_{style}test.txt"
    text = file.read_text().replace("val", "images")
    file.unlink()
    file.write_text(text)
    load_lists("places_lt", data_dir=str(tmp_path), image_size=256)
    assert f"note: {file} has the published counts, but not the published text" in capsys.readouterr().out
