"""Decoding once: what is accepted, what is refused by name, what a second start reads, what a kill leaves."""

import os
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from ltlib import paths
from ltlib.data import shards
from ltlib.data.decode import decode
from ltlib.data.folder import load_folder
from ltlib.data.images import Images, channel_statistics
from ltlib.errors import InputError


@pytest.fixture
def small_shards(monkeypatch):
    """Five images of 8x8 pixels a shard."""
    monkeypatch.setattr(shards, "SHARD_BYTES", 5 * 3 * 8 * 8)


def photo(width=90, height=61) -> Image.Image:
    """Smooth colours and some noise, as a photograph has."""
    random = np.random.default_rng(width)
    base = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((width, height))
    return Image.fromarray(np.clip(np.asarray(base) + random.normal(0, 8, (height, width, 3)), 0, 255).astype(np.uint8))


@pytest.mark.parametrize("size", [(90, 61), (61, 90), (64, 64), (32, 40), (300, 33)])
@pytest.mark.parametrize("side", [32, 31])
def test_resizing_is_that_of_torchvision(tmp_path, size, side):
    photo(*size).save(tmp_path / "a.png")
    theirs = v2.Compose([v2.Resize(side), v2.CenterCrop(side)])(Image.open(tmp_path / "a.png"))
    assert np.array_equal(decode(str(tmp_path / "a.png"), side, "resize")[0], np.asarray(theirs).transpose(2, 0, 1))


def test_halving_averages_four_pixels(tmp_path):
    photo(64, 64).save(tmp_path / "a.png")
    pixels = np.asarray(photo(64, 64)).astype(float).reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    ours = decode(str(tmp_path / "a.png"), 32, "halve")[0].transpose(1, 2, 0)
    assert np.abs(ours - pixels).max() <= 0.5


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_other_modes_become_rgb(tmp_path, mode):
    file = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    photo(8, 8).convert(mode).save(file)
    assert np.array_equal(
        decode(str(file), 8, "keep")[0], np.asarray(photo(8, 8).convert(mode).convert("RGB")).transpose(2, 0, 1)
    )


def test_sixteen_bits_are_refused_rather_than_cut_off(tmp_path):
    Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png cannot be decoded.*I;16 is none that 8-bit RGB can hold"):
        decode(str(tmp_path / "a.png"), 8, "keep")


def test_shards_hold_every_image_and_any_choice_of_them(image_folder, small_shards):
    root = image_folder((12, 6))
    data = load_folder(str(root))
    files = sorted((root / "train").rglob("*.png"))
    expected = np.stack([np.asarray(Image.open(file)).transpose(2, 0, 1) for file in files])
    assert len(list(paths.cache_root().rglob("*.npy"))) == 5
    assert np.array_equal(data.train.pixels, expected)
    chosen = np.array([17, 0, 5, 4, 5])
    taken = data.train.take(chosen)
    assert np.array_equal(taken.pixels, expected[chosen])
    assert np.array_equal(taken.take(np.array([3, 1])).pixels[0], expected[4])
    assert np.array_equal(data.train.pixels[data.train.labels == 1], expected[12:])
    assert taken.labels.tolist() == [1, 0, 0, 0, 0]
    assert np.array_equal(taken.center_crop(5).pixels, Images(expected[chosen], taken.labels).center_crop(5).pixels)


def test_center_crop_is_that_of_torchvision():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16), dtype=np.uint8)
    for side in (14, 13, 16):
        theirs = v2.CenterCrop(side)(torch.from_numpy(pixels))
        assert np.array_equal(Images(pixels, np.zeros(2, dtype=np.int64)).center_crop(side).pixels, theirs.numpy())


def test_statistics_of_stored_pixels_are_exact(image_folder, small_shards):
    train = load_folder(str(image_folder((12, 6)))).train.take(np.array([1, 1, 16]))
    pixels = np.asarray(train.pixels) / 255
    mean, std = channel_statistics(train.pixels)
    assert mean == pytest.approx(pixels.mean(axis=(0, 2, 3)), abs=1e-14)
    assert std == pytest.approx(pixels.std(axis=(0, 2, 3)), abs=1e-14)


def test_choosing_changes_the_fingerprint_and_reads_nothing(image_folder, small_shards, monkeypatch):
    data = load_folder(str(image_folder((12, 6))))
    monkeypatch.setattr(shards.StoredPixels, "_read", lambda *arguments: pytest.fail("pixels were read"))
    prints = {type(data)("x", data.train.take(np.array(c)), data.test, ()).fingerprint for c in ([0, 1], [1, 0], [1])}
    assert len(prints) == 3


def decoded(out: str) -> list[str]:
    """How many images each preparation said it decodes."""
    return re.findall(r"Decoding ([\d,]+) images", out)


def test_only_the_shard_of_an_edited_file_is_decoded_anew(image_folder, small_shards, capsys):
    root = image_folder((12, 6))
    first = load_folder(str(root))
    os.utime(root / "train" / "class1" / "000.png", (1, 1))
    assert load_folder(str(root)).fingerprint == first.fingerprint
    Image.new("RGB", (8, 8)).save(root / "train" / "class1" / "000.png")
    assert load_folder(str(root)).train.pixels[12].max() == 0
    assert load_folder(str(root)).fingerprint != first.fingerprint
    assert decoded(capsys.readouterr().out) == ["24", "5", "5"]


def test_a_copied_cache_is_trusted_a_damaged_one_is_not(image_folder, small_shards, capsys):
    root = image_folder((12, 6))
    first = load_folder(str(root))
    shard = sorted(paths.cache_root().rglob("*.npy"))[1]
    os.utime(shard, (1, 1))
    assert load_folder(str(root)).fingerprint == first.fingerprint
    for spoil in (lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b[:-100], lambda b: b""):
        shard.write_bytes(spoil(shard.read_bytes()))
        assert load_folder(str(root)).fingerprint == first.fingerprint
        assert np.array_equal(load_folder(str(root)).train.pixels, first.train.pixels)
    record = shard.with_suffix(".about.npz")
    record.write_bytes(record.read_bytes()[:50])
    assert load_folder(str(root)).fingerprint == first.fingerprint
    assert decoded(capsys.readouterr().out) == ["24", "5", "5", "5", "5"]


def test_all_bad_images_are_counted_the_first_named_and_good_shards_kept(image_folder, small_shards, capsys):
    root = image_folder((12, 6))
    bad = [root / "train" / "class0" / f"{i:03d}.png" for i in (1, 2, 7)] + [root / "test" / "class1" / "002.png"]
    for file in bad[:3]:
        file.write_bytes(file.read_bytes()[:60])
    Image.new("RGB", (9, 8)).save(bad[3])
    with pytest.raises(InputError) as caught:
        load_folder(str(root))
    message = str(caught.value)
    assert message.startswith("4 of 24 images cannot be used; the first: ")
    assert all(str(file) in message for file in bad[:3])
    assert str(bad[3]) not in message
    for file in bad:
        photo(8, 8).save(file)
    assert len(load_folder(str(root)).train) == 18
    assert decoded(capsys.readouterr().out) == ["24", "14"]  # shards 0, 1 and the four images of the last


def test_after_many_bad_images_the_rest_are_not_looked_for(image_folder, small_shards, monkeypatch):
    monkeypatch.setattr(shards, "GIVE_UP", 2)
    root = image_folder((12, 6))
    for file in (root / "train" / "class0").glob("00[1-9].png"):
        file.write_bytes(b"")
    with pytest.raises(InputError, match=r"At least 4 of 24 images cannot be used"):
        load_folder(str(root))


def test_very_many_files_are_looked_at_in_part(image_folder, small_shards, monkeypatch, capsys):
    monkeypatch.setattr(shards, "LOOKED_AT", 8)  # of 24: every third
    root = image_folder((12, 6))
    load_folder(str(root))
    os.utime(root / "train" / "class0" / "001.png", (1, 1))
    load_folder(str(root))
    os.utime(root / "train" / "class0" / "006.png", (1, 1))
    load_folder(str(root))
    assert decoded(capsys.readouterr().out) == ["24", "5"]


def test_too_little_space_is_said_before_decoding(image_folder, monkeypatch, capsys):
    usage = type(shards.shutil.disk_usage("/"))
    monkeypatch.setattr(shards.shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 4000, 4000))
    with pytest.raises(InputError, match=r"need 4,608 bytes in .*cache, where only 4,000 bytes are free.*LTLIB_CACHE"):
        load_folder(str(image_folder()))
    assert decoded(capsys.readouterr().out) == []


def test_full_and_read_only_disks_are_named(image_folder, small_disk, monkeypatch):
    root = image_folder()
    monkeypatch.setenv("LTLIB_CACHE", str(small_disk("ro") / "cache"))
    with pytest.raises(InputError, match="Read-only file system.*set LTLIB_CACHE"):
        load_folder(str(root))


def test_a_disk_that_fills_while_writing_keeps_what_was_decoded(image_folder, small_shards, small_disk, monkeypatch):
    root, disk = image_folder((12, 6)), small_disk("size=40k")
    monkeypatch.setenv("LTLIB_CACHE", str(disk))
    monkeypatch.setattr(shards.Store, "_check_space", lambda store, images: None)
    (disk / "filler").write_bytes(b"0" * 20_000)
    with pytest.raises(InputError, match="No space left on device.*what was decoded is kept"):
        load_folder(str(root))
    kept = {file: file.stat().st_mtime_ns for file in disk.rglob("*.npy")}
    assert 0 < len(kept) < 5
    assert not list(disk.rglob(".*.tmp"))
    (disk / "filler").unlink()
    monkeypatch.undo()
    monkeypatch.setenv("LTLIB_CACHE", str(disk))
    monkeypatch.setattr(shards, "SHARD_BYTES", 5 * 3 * 8 * 8)
    load_folder(str(root))
    # a shard without its record, written last, does not count
    whole = [file for file in kept if file.stat().st_mtime_ns == kept[file]]
    assert len(whole) >= len(kept) - 1
