"""Trainings of the sizes that the battery measures, on images that need no download."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ltlib import methods, models
from ltlib.data.longtail import class_counts
from ltlib.methods import Method
from ltlib.training.engine import Engine, Options

SIDE = 32


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        backbone, images: of the MiSLAS runs; 5,000 images of the largest class is CIFAR-10-LT at factor 100.
        batch: of all trainings.
        epochs: of each timed variant.
        whole: epochs of the two stages of the whole run.
        robust, robust_batch: backbone and batch of the LBGAT step.
        attacked: test images of the attacks.
        learning: epochs that train the network of the attacks.
    """

    backbone: str = "resnet32"
    images: int = 5000
    batch: int = 128
    epochs: int = 20
    whole: tuple[int, int] = (200, 10)
    robust: str = "wrn34_10"
    robust_batch: int = 128
    attacked: int = 500
    learning: int = 20


FULL = Size()
SMALL = Size("resnet8", 100, 64, 2, (2, 1), "resnet8", 8, 20, 3)


def images(largest: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A long tail (factor 100) of ten patterns in noise, uint8 (N, 3, 32, 32), and labels; ``largest`` of class 0."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.from_numpy(class_counts(10, largest, 100))
    labels = torch.arange(10).repeat_interleave(counts)
    patterns = torch.rand(10, 3, 4, 4, generator=torch.Generator().manual_seed(9)).repeat_interleave(8, 2)
    clean = patterns.repeat_interleave(8, 3)[labels]
    noisy = 0.5 * clean + 0.5 * torch.rand(clean.shape, generator=generator)
    return (noisy * 255).to(torch.uint8), labels


def engine(
    name: str, size: Size, device: torch.device, move: Callable, backbone: str = "", own: dict | None = None, **options
) -> Engine:
    """A training of a method on that long tail.

    Args:
        move: brings tensors and modules to the device; the pretended one has its own way.
    """
    x, y = images(size.images)
    torch.manual_seed(0)
    network = models.make(backbone or size.backbone, 10, (0.5,) * 3, (0.25,) * 3)
    method = methods.make(name, network, torch.bincount(y, minlength=10), **(own or {}))
    method = move(method.to(memory_format=torch.channels_last))
    settings = Options(epochs=size.epochs, batch_size=size.batch, evaluate_every=10**6)
    return Engine(method, (move(x), move(y)), replace(settings, **options), {})


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Of a work, from an idle device to an idle device."""
    wait(device)
    started = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - started


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def state(method: Method) -> dict[str, Tensor]:
    """Its weights and buffers on the host."""
    return {name: t.detach().cpu().clone() for name, t in method.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)
