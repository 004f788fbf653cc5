"""How the cost grows: time against the number of images, classes, the batch, and the steps of the attack.

Each is a straight line fitted by least squares, and is told as a share: relative(x) = fixed + slope * x / first, where
relative is the time over that of the first x. A cost that does not depend on x has slope 0, one that is proportional
has slope 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from tests.benchmarks.race import race
from tests.benchmarks.rows import make_batch, make_engine, make_method


def measure(device: torch.device, rounds: int) -> list[dict]:
    """One entry a quantity: its values, the relative times, and the line."""
    return [
        _line("training images", "epoch of ResNet-8, batch 128", (512, 1024, 2048, 4096), _images, device, rounds),
        _line("classes", "step of ResNet-32, batch 128", (10, 100, 1000, 8142), _classes, device, rounds),
        _line("batch", "step of ResNet-32", (32, 64, 128, 256), _batch, device, rounds),
        _line("attack steps", "step of AT, ResNet-32, batch 32", (1, 2, 5, 10), _steps, device, rounds),
    ]


def _line(
    quantity: str,
    of: str,
    values: tuple[int, ...],
    make: Callable[[int, torch.device], Callable[[], object]],
    device: torch.device,
    rounds: int,
) -> dict:
    times = race({str(value): make(value, device) for value in values}, rounds)
    relative = [times[str(value)] / times[str(values[0])] for value in values]
    slope, fixed = np.polyfit(np.array(values) / values[0], relative, 1)
    measured = {"values": list(values), "relative": [round(t, 3) for t in relative]}
    return {"quantity": quantity, "of": of} | measured | {"slope": round(slope, 4), "fixed": round(fixed, 4)}


def _images(images: int, device: torch.device) -> Callable[[], object]:
    return make_engine(make_method("cross_entropy", "resnet8", device), images, 128, device)._epoch


def _step(method, images: int, device: torch.device) -> Callable[[], object]:
    engine, batch = make_engine(method.train(), images, images, device), make_batch(images, device)
    return lambda: engine._step(batch)


def _classes(classes: int, device: torch.device) -> Callable[[], object]:
    return _step(make_method("cross_entropy", "resnet32", device, classes), 128, device)


def _batch(images: int, device: torch.device) -> Callable[[], object]:
    return _step(make_method("cross_entropy", "resnet32", device), images, device)


def _steps(steps: int, device: torch.device) -> Callable[[], object]:
    return _step(make_method("at", "resnet32", device, attack_steps=steps), 32, device)
