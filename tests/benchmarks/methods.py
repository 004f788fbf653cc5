"""What a method adds to plain cross-entropy on the same network: parameters, and time for a training step.

    python -m tests.benchmarks.methods [--backbone resnet32] [--batches 10] [--rounds 5]

All take turns in one process, so that a noisy machine disturbs them alike; a ratio is that of the medians.
"""

from __future__ import annotations

import argparse

import torch

from ltlib import methods, models
from ltlib.data.cifar import MEAN, STD
from ltlib.data.longtail import class_counts
from ltlib.methods import Method
from ltlib.results.formats import as_text
from ltlib.training.device import choose_device, hardware
from ltlib.training.engine import Engine, Options
from tests.benchmarks.race import race

ROWS = {
    "cross-entropy": ("cross_entropy", {}),
    "Balanced Softmax": ("balanced_softmax", {}),
    "mixup": ("mixup", {}),
    "ResLT": ("reslt", {"groups": "paper"}),
    "ResLT, convolution branches": ("reslt", {"groups": "paper", "transform": "convolution"}),
}


def engine(backbone: str, name: str, own: dict, images: int, device: torch.device) -> Engine:
    """An engine that trains on as many images of noise with the labels of CIFAR-10-LT at IF 100."""
    counts = torch.from_numpy(class_counts(10, 5000, 100))
    torch.manual_seed(0)
    method = methods.make(name, models.make(backbone, 10, MEAN, STD), counts, **own)
    labels = torch.multinomial(counts.double(), images, replacement=True).to(device)
    pixels = torch.randint(0, 256, (images, 3, 32, 32), dtype=torch.uint8, device=device)
    return Engine(method.to(device, memory_format=torch.channels_last), (pixels, labels), Options(epochs=100), {})


def parameters(method: Method) -> int:
    return sum(p.numel() for p in method.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet32")
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    device = choose_device()
    engines = {
        label: engine(options.backbone, name, own, 128 * options.batches, device) for label, (name, own) in ROWS.items()
    }
    medians = race({label: trained._epoch for label, trained in engines.items()}, options.rounds)
    plain = engines["cross-entropy"]
    print(f"{options.backbone}, batch 128, 32x32, {hardware(device)}, {plain.precision}")
    print(
        as_text(
            [
                {
                    "method": label,
                    "parameters": f"{parameters(trained.method):,}",
                    "added": f"{parameters(trained.method) - parameters(plain.method):,}",
                    "time / cross-entropy": f"{medians[label] / medians['cross-entropy']:.3f}",
                }
                for label, trained in engines.items()
            ]
        )
    )


if __name__ == "__main__":
    main()
