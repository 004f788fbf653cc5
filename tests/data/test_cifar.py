"""The binary version of CIFAR: every byte checked, no pickle, preferred to the python version."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ltlib.data import cifar, longtail
from ltlib.data.cifar import load_cifar
from ltlib.errors import InputError


@pytest.fixture
def binary_files(tmp_path, monkeypatch):
    """Small files in the binary format, with the loader told their size and checksums; returns a writer."""

    def write(name: str, per_file: int = 20) -> tuple[Path, dict[str, np.ndarray]]:
        version = cifar.BINARY[name]
        folder = tmp_path / version.folder
        folder.mkdir()
        random, records = np.random.default_rng(0), {}
        for file in (*version.train, *version.test):
            r = random.integers(0, 256, (per_file, version.label_bytes + 3072), dtype=np.uint8)
            r[:, version.label_bytes - 1] = np.arange(per_file) % version.num_classes
            (folder / file).write_bytes(r.tobytes())
            records[file] = r
        sums = {file: hashlib.md5(r.tobytes()).hexdigest() for file, r in records.items()}
        small = replace(
            version,
            images=(per_file, per_file),
            train={file: sums[file] for file in version.train},
            test={file: sums[file] for file in version.test},
        )
        if name == "cifar100":
            (folder / "fine_label_names.txt").write_text("".join(f"name{c}\n" for c in range(100)))
            monkeypatch.setattr(cifar, "_check_cifar100", lambda *_: None)
        monkeypatch.setitem(cifar.BINARY, name, small)
        return folder, records

    return write


@pytest.mark.parametrize(("name", "label_bytes"), [("cifar10", 1), ("cifar100", 2)])
def test_pixels_and_labels_are_those_of_the_file(binary_files, tmp_path, name, label_bytes):
    folder, records = binary_files(name)
    data = load_cifar(name, str(tmp_path))
    first, test = next(iter(records.values())), list(records.values())[-1]
    assert np.array_equal(data.train.pixels[7], first[7, label_bytes:].reshape(3, 32, 32))
    assert data.train.labels[:20].tolist() == first[:, label_bytes - 1].tolist()
    assert np.array_equal(data.test.pixels[-1], test[-1, label_bytes:].reshape(3, 32, 32))
    assert len(data.train) == 20 * (len(records) - 1)
    assert load_cifar(name, str(folder)).fingerprint == data.fingerprint, "the folder itself may be named too"


def test_one_changed_byte_is_found_and_the_file_is_named(binary_files, tmp_path):
    folder, _ = binary_files("cifar10")
    file = folder / "data_batch_3.bin"
    content = bytearray(file.read_bytes())
    content[5000] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"data_batch_3.bin is damaged: its MD5"):
        load_cifar("cifar10", str(tmp_path))


def test_a_cifar100_file_with_another_sum_is_named_but_read(binary_files, tmp_path, capsys):
    """One source knows these two sums; size, images per class and test labels are checked without it."""
    folder, _ = binary_files("cifar100")
    load_cifar("cifar100", str(tmp_path))
    assert capsys.readouterr().out == ""
    content = bytearray((folder / "train.bin").read_bytes())
    content[5000] ^= 1
    (folder / "train.bin").write_bytes(content)
    load_cifar("cifar100", str(tmp_path))
    assert f"note: {folder / 'train.bin'} does not have the MD5" in capsys.readouterr().out


def test_a_cut_or_missing_file_is_named(binary_files, tmp_path):
    folder, _ = binary_files("cifar10")
    file = folder / "test_batch.bin"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"test_batch.bin has 61,459 bytes; the official file has 61,460"):
        load_cifar("cifar10", str(tmp_path))
    file.unlink()
    with pytest.raises(InputError, match=r"test_batch.bin cannot be read"):
        load_cifar("cifar10", str(tmp_path))


def test_labels_of_cifar100_are_checked():
    train, test = np.repeat(np.arange(100), 500), np.arange(10_000) % 100
    with pytest.raises(InputError, match="its labels are not the official ones"):
        cifar._check_cifar100(train, test, Path("x"))
    train[0] = 1
    with pytest.raises(InputError, match="not every class has 500 images"):
        cifar._check_cifar100(train, test, Path("x"))


@pytest.fixture(scope="module")
def official():
    root = os.environ.get("LTLIB_DATA", "")
    if not root or not (Path(root) / "cifar-10-batches-bin").is_dir():
        pytest.skip("needs the official CIFAR-10: LTLIB_DATA must hold cifar-10-batches-bin")
    return load_cifar("cifar10")


@pytest.mark.real_data
def test_official_cifar10_has_the_published_statistics(official):
    assert (official.train.counts(10) == 5000).all()
    assert (official.test.counts(10) == 1000).all()
    pixels = official.train.pixels
    assert pixels.mean(axis=(0, 2, 3)) / 255 == pytest.approx([0.4914, 0.4822, 0.4465], abs=5e-5)
    assert pixels.std(axis=(0, 2, 3)) / 255 == pytest.approx([0.2470, 0.2435, 0.2616], abs=5e-5)
    # The first training image is a frog. These three pixels are quoted in many tutorials.
    assert official.class_names[official.train.labels[0]] == "frog"
    assert pixels[0, :, 0, 0].tolist() == [59, 62, 63]


# Images of each published subset, and SHA-256 of its indices, taken from the index lists of LDAM-DRW's recipe.
SUBSETS = {
    10: (20_431, "a17d69f192b1cf6df09676b6c424e2ad5e7d7863ccc4b9ba70ef128885973218"),
    20: (17_023, "fed8b23a7a778a4094b8c5301522600105c4441811d1ef239ae7fc72c42f7fe5"),
    50: (13_996, "d7edcfaf02772bee1e2310a33be8b6c46232f043641158348b9de3ec731e26ac"),
    100: (12_406, "4bf45bff8878d2786e47dccd702f96ff33b2b11d8c7da3b5015f10937290f866"),
    200: (11_203, "a88004a1d13610934f4f0b642dab5e5df26f0d0ef20408bd092f25ab81103334"),
}


@pytest.mark.real_data
@pytest.mark.parametrize("factor", SUBSETS)
def test_published_subsets_of_the_official_images(official, factor):
    size, sha256 = SUBSETS[factor]
    counts = longtail.class_counts(10, 5000, factor, "exponential")
    indices = longtail.longtail_indices(official.train.labels, counts)
    assert len(indices) == size
    assert longtail.checksum(indices) == sha256


@pytest.mark.real_data
def test_known_pixels_of_cifar100():
    """The first 20 official test images, where a file with them is at hand beside the official data."""
    root = Path(os.environ.get("LTLIB_DATA", ""))
    known = root / "cifar100_tiny_lossless.npz"
    if not known.is_file() or not any((root / folder).is_dir() for folder in cifar.CIFAR100.folders):
        pytest.skip("needs the official CIFAR-100 and cifar100_tiny_lossless.npz in LTLIB_DATA")
    data, images = load_cifar("cifar100"), np.load(known)["test_first20_images"]
    assert np.array_equal(data.test.pixels[:20].transpose(0, 2, 3, 1), images)
