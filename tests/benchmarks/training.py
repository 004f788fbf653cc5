"""Images a second of our loop and of the plain recipe that long-tail repositories use, as a ratio.

    python tests/benchmarks/training.py [--backbone resnet32] [--batches 40] [--rounds 3]

Plain is a DataLoader with PIL transforms, float32, eager mode and NCHW memory, on the same model, batch size and
images. The two alternate in one process, so that a noisy machine disturbs both; the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from ltlib import methods, models
from ltlib.data.datasets import CIFAR_MEAN, CIFAR_STD
from ltlib.training.device import choose_device, hardware
from ltlib.training.engine import Engine, Options


class PilImages(Dataset):
    """As torchvision's CIFAR classes: one PIL image at a time through PIL transforms."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray):
        self.pixels, self.labels = pixels.transpose(0, 2, 3, 1), labels
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(CIFAR_MEAN, CIFAR_STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int):
        return self.transform(Image.fromarray(self.pixels[i])), int(self.labels[i])


class Plain:
    """The usual training script."""

    def __init__(self, backbone: str, pixels: np.ndarray, labels: np.ndarray, device: torch.device):
        self.model = models.make(backbone, 10, (0.0,) * 3, (1.0,) * 3).to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9, weight_decay=2e-4)
        workers = min(4, os.cpu_count() or 1)
        self.loader = DataLoader(
            PilImages(pixels, labels),
            batch_size=128,
            shuffle=True,
            num_workers=workers,
            pin_memory=device.type == "cuda",
        )
        self.device = device

    def epoch(self) -> None:
        self.model.train()
        for x, y in self.loader:
            x, y = x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)
            loss = F.cross_entropy(self.model(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            loss.item()


def ours(backbone: str, pixels: np.ndarray, labels: np.ndarray, device: torch.device) -> Engine:
    """Our engine with its automatic precision."""
    network = models.make(backbone, 10, CIFAR_MEAN, CIFAR_STD)
    counts = torch.bincount(torch.from_numpy(labels))
    method = methods.make("cross_entropy", network, counts).to(device, memory_format=torch.channels_last)
    train = (torch.from_numpy(pixels).to(device), torch.from_numpy(labels).to(device))
    return Engine(method, train, Options(epochs=100), {})


def images_per_second(epoch, images: int, device: torch.device) -> float:
    started = time.perf_counter()
    epoch()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return images / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet32")
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    device, n = choose_device(), 128 * options.batches
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)
    labels = random.integers(0, 10, n)
    engine, plain = (make(options.backbone, pixels, labels, device) for make in (ours, Plain))

    loops = {"ltlib": engine._epoch, "plain": plain.epoch}
    for epoch in loops.values():
        epoch()  # warm up
    speeds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(options.rounds):
        for name, epoch in loops.items():
            speeds[name].append(images_per_second(epoch, n, device))
    fast, slow = (statistics.median(speeds[name]) for name in ("ltlib", "plain"))
    print(f"{options.backbone}, batch 128, 32x32, {hardware(device)}, ltlib in {engine.precision}")
    if device.type == "cuda":  # absolute speeds of a small shared CPU mean nothing
        print(f"images a second: ltlib {fast:,.0f}, plain {slow:,.0f}")
    print(f"ltlib / plain = {fast / slow:.2f}")


if __name__ == "__main__":
    main()
