"""Every test writes into folders of its own; real data are used where LTLIB_DATA holds them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from ltlib import models
from ltlib.data.datasets import load

left_out = pytest.StashKey[list[str]]()


def pytest_deselected(items):
    """Remember the slow tests that ``-m "not slow"`` takes out; under pytest-xdist, in each worker."""
    slow = [item.nodeid for item in items if item.get_closest_marker("slow")]
    if slow:
        config = items[0].config
        config.stash[left_out] = slow
        if hasattr(config, "workeroutput"):
            config.workeroutput["left_out"] = slow


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """A worker of pytest-xdist has ended and hands over what it left out, which all workers left out alike."""
    node.config.stash[left_out] = getattr(node, "workeroutput", {}).get("left_out", [])


def pytest_terminal_summary(terminalreporter, config):
    """Name the tests that were left out, and how to run them."""
    if slow := config.stash.get(left_out, []):
        terminalreporter.section(f"{len(slow)} slow tests left out; `make test-slow` runs them")
        terminalreporter.write_line("\n".join(slow))


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("LTLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("LTLIB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def cifar10_jpeg() -> Path:
    """The JPEG copy of CIFAR-10 as folders, files named by official index."""
    folder = Path(os.environ.get("LTLIB_DATA", "")) / "cifar10-jpeg"
    if not os.environ.get("LTLIB_DATA") or not folder.is_dir():
        pytest.skip("needs the real images: LTLIB_DATA must hold cifar10-jpeg/{train,test}/<class>/<index>.jpg")
    return folder


@pytest.fixture
def image_folder(tmp_path):
    """A small data set of one's own: call it to write one with so many training images a class."""

    def write(counts=(12, 6), size=8, name="mine", test=3) -> Path:
        random = np.random.default_rng(0)
        root = tmp_path / name
        for split, numbers in (("train", counts), ("test", [test] * len(counts))):
            for c, n in enumerate(numbers):
                folder = root / split / f"class{c}"
                folder.mkdir(parents=True)
                for i in range(n):
                    pixels = random.integers(0, 256, (size, size, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(folder / f"{i:03d}.png")
        return root

    return write


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own: call it with mount options; skipped where mounting is not allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
        try:
            subprocess.run(command, capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("mounting a small disk needs root on Linux")
        return disk

    yield mount
    subprocess.run(["umount", str(disk)], capture_output=True, check=False)


@pytest.fixture(scope="session")
def trained():
    """A small network that tells four letters apart, its float test images and their labels."""
    data = load("glyphs", num_classes=4, n_max=150, test_per_class=25, image_size=16)
    torch.manual_seed(0)
    network = models.make("resnet8", 4, (0.5,) * 3, (0.25,) * 3)
    x, y = torch.from_numpy(data.train.pixels) / 255, torch.from_numpy(data.train.labels)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 15)
    for _ in range(15):
        for index in torch.randperm(len(x)).split(50):
            # some noise on the images, so that the smallest change does not fool it already
            noisy = (x[index] + 0.1 * torch.randn_like(x[index])).clamp(0, 1)
            optimizer.zero_grad()
            F.cross_entropy(network(noisy), y[index]).backward()
            optimizer.step()
        scheduler.step()
    network.eval().requires_grad_(False)
    return network, torch.from_numpy(data.test.pixels) / 255, torch.from_numpy(data.test.labels)
