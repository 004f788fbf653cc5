"""Tiny ImageNet in its official layout, and the same images by list files: one and the same training."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltlib import paths
from ltlib.data import longtail, shards
from ltlib.data.lists import load_lists, read_list
from ltlib.data.tiny_imagenet import load_tiny_imagenet
from ltlib.errors import InputError
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment

COUNTS = {"n02": 12, "n01": 24, "n10": 6}


@pytest.fixture
def tiny(tmp_path):
    """A small copy in the official layout, whose wnids.txt is not sorted and whose numbers have gaps, and its lists."""
    root, random = tmp_path / "tiny-imagenet-200", np.random.default_rng(0)
    wnids, train, val, boxes = sorted(COUNTS), [], [], []
    for wnid, n in COUNTS.items():
        (root / "train" / wnid / "images").mkdir(parents=True)
        for number in random.permutation(40)[:n]:
            path = f"train/{wnid}/images/{wnid}_{number}.JPEG"
            Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(root / path)
            train.append(f"{path} {wnids.index(wnid)}\n")
    (root / "val" / "images").mkdir(parents=True)
    for number in range(12):
        wnid = [*COUNTS][number % 3]
        Image.fromarray(random.integers(0, 256, (64, 64), dtype=np.uint8)).save(root / f"val/images/val_{number}.JPEG")
        val.append(f"val/images/val_{number}.JPEG {wnids.index(wnid)}\n")
        boxes.append(f"val_{number}.JPEG\t{wnid}\t0\t0\t63\t63\n")
    (root / "val" / "val_annotations.txt").write_text("".join(boxes))
    (root / "wnids.txt").write_text("\n".join(COUNTS))
    (root / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn02\tbullfrog\nn99\tother\n")
    random.shuffle(train)
    (root / "tiny_train.txt").write_text("".join(train))
    (root / "tiny_val.txt").write_text("".join(val))
    return root


def test_classes_are_sorted_and_images_stand_in_the_order_of_their_numbers(tiny):
    data = load_tiny_imagenet(str(tiny))
    assert data.class_names == ("goldfish", "bullfrog", "n10")
    assert data.train.counts(3).tolist() == [24, 12, 6]
    assert data.test.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    files = sorted((tiny / "train/n01/images").iterdir(), key=lambda file: int(file.stem.split("_")[1]))
    expected = [np.asarray(Image.open(file)).transpose(2, 0, 1) for file in files]
    assert np.array_equal(data.train.pixels[:24], expected)
    grey = np.asarray(Image.open(tiny / "val/images/val_10.JPEG"))
    assert (data.test.pixels[3] == grey).all()  # val_1, 4, 7, 10 are goldfish


def test_32_pixels_are_means_of_four_and_other_sizes_refused(tiny):
    whole, small = load_tiny_imagenet(str(tiny)), load_tiny_imagenet(str(tiny), 32)
    means = np.asarray(whole.train.pixels).astype(float).reshape(42, 3, 32, 2, 32, 2).mean(axis=(3, 5))
    assert np.abs(small.train.pixels - means).max() <= 0.5
    assert small.name == "tiny_imagenet at 32x32"
    assert load_tiny_imagenet(str(tiny), 64).fingerprint == whole.fingerprint
    with pytest.raises(InputError, match=r"must be 64 \(or 0\) or 32; got 48"):
        load_tiny_imagenet(str(tiny), 48)


def test_the_folder_is_found_by_itself_around_it_or_below_ltlib_data(tiny, monkeypatch):
    monkeypatch.setenv("LTLIB_DATA", str(tiny.parent))
    assert {load_tiny_imagenet(where).fingerprint for where in ("", str(tiny), str(tiny.parent))} == {
        load_tiny_imagenet(str(tiny)).fingerprint
    }


def test_the_same_images_by_lists_are_the_same_data_and_the_same_run(tiny, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 10 * 3 * 64 * 64)
    official = load_tiny_imagenet(str(tiny))
    pixels = np.asarray(official.train.pixels)
    shards.shutil.rmtree(paths.cache_root())  # so that both are decoded
    listed = load_lists("list", data_dir=str(tiny))
    assert np.array_equal(listed.train.pixels, pixels)
    for ours, theirs in ((official.train, listed.train), (official.test, listed.test)):
        assert ours.pixels.content() == theirs.pixels.content()
        assert np.array_equal(ours.labels, theirs.labels)
    runs = [
        execute(
            Experiment(
                dataset=dataset,
                data_dir=str(tiny),
                imbalance_factor=4,
                profile="smoke",
                overrides="epochs=1, batch_size=16, image_size=64",  # the smaller recipe averages pixels, lists resize
            )
        ).info
        for dataset in ("tiny_imagenet", "list")
    ]
    assert runs[0]["data"]["counts"] == [24, 12, 6]
    for what in ("counts", "subset_sha256", "mean", "std"):
        assert runs[0]["data"][what] == runs[1]["data"][what]
    assert runs[0]["metrics"] == runs[1]["metrics"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "wnids.txt").unlink(), r"wnids.txt cannot be read .*unpack tiny-imagenet-200.zip from"),
        (lambda root: (root / "wnids.txt").write_text("n01\nn77\n"), "n77.images cannot be read"),
        (lambda root: (root / "val" / "val_annotations.txt").write_text("<html>\n"), "Line 1 of .*'<html>'"),
        (lambda root: (root / "val" / "images" / "val_3.JPEG").unlink(), "1 of 54 images are missing"),
        (lambda root: [f.unlink() for f in (root / "train/n10/images").iterdir()], "holds no .JPEG image"),
        (lambda root: shards.shutil.rmtree(root), "is not a folder"),
    ],
)
def test_a_copy_that_is_not_whole_is_named(tiny, spoil, message):
    spoil(tiny)
    with pytest.raises(InputError, match=message):
        load_tiny_imagenet(str(tiny))


def test_without_the_data_it_says_what_to_download(tmp_path, monkeypatch):
    monkeypatch.setenv("LTLIB_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"cs231n.stanford.edu/tiny-imagenet-200.zip \(237 MB\) in LTLIB_DATA"):
        load_tiny_imagenet()


@pytest.fixture
def real_copy() -> Path:
    folder = Path(os.environ.get("LTLIB_DATA", "")) / "tiny-imagenet-200"
    if not os.environ.get("LTLIB_DATA") or not folder.is_dir():
        pytest.skip("needs Tiny ImageNet: LTLIB_DATA must hold tiny-imagenet-200 and TinyImageNet_LT_train.txt in it")
    return folder


@pytest.mark.real_data
def test_the_recipe_selects_the_listed_long_tail_of_the_whole_set(real_copy):
    """Only names and numbers: 500 images a class, as the official set has, thinned to IF 100."""
    wnids = sorted((real_copy / "wnids.txt").read_text().split())
    chosen = longtail.longtail_indices(np.repeat(np.arange(200), 500), longtail.class_counts(200, 500, 100))
    names = {f"train/{wnids[i // 500]}/images/{wnids[i // 500]}_{i % 500}.JPEG" for i in chosen.tolist()}
    assert names == set(read_list(real_copy / "TinyImageNet_LT_train.txt", 200)[0])
