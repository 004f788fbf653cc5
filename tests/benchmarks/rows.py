"""The rows of the table: what ltlib and the plain recipe do, and how many passes through which network it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ltlib import methods, models
from ltlib.attacks.apgd import APGD
from ltlib.data.cifar import MEAN, STD
from ltlib.data.loader import Batch
from ltlib.evaluation.evaluate import predict
from ltlib.methods import Method
from ltlib.training.engine import Engine, Options
from tests.benchmarks import plain

Work = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        name: for the table.
        images: that one call of either contestant works on.
        passes: (backbone, passes) of an image: forward, and backward by inputs and by weights, count one each.
        reduced: whether ltlib may compute it in bfloat16.
        make: contestant ("ltlib" or "plain") and device -> the work.
    """

    name: str
    images: int
    passes: tuple[tuple[str, int], ...]
    reduced: bool
    make: Callable[[str, torch.device], Work]


def table(gpu: bool, batches: int) -> list[Row]:
    """All rows; a CPU gets smaller batches where a step would take minutes."""
    small, large = (128, 128) if gpu else (16, 4)
    attack = 1 + 2 * plain.STEPS  # clean logits once, then forward and backward by the image in each step
    return [
        *(
            Row(f"train ResNet-32, batch {b}", b * batches, (("resnet32", 3),), True, _training("resnet32", b, batches))
            for b in (128, 512)
        ),
        *(
            Row(
                f"LBGAT step, {name} guided by ResNet-18, batch {images}",
                images,
                ((backbone, attack + 6), ("resnet18_lbgat", 3)),
                True,
                _lbgat(backbone, "resnet18_lbgat", images),
            )
            for name, backbone, images in (("ResNet-18", "resnet18", small), ("WRN-34-10", "wrn34_10", large))
        ),
        Row("evaluate ResNet-32", 512 * batches, (("resnet32", 1),), False, _evaluation("resnet32", 512 * batches)),
        Row("APGD, 10 steps, ResNet-18", 4 * small, (("resnet18", 22),), False, _apgd("resnet18", 4 * small)),
    ]


def noise(images: int) -> tuple[np.ndarray, np.ndarray]:
    """Random pixels and labels in the shapes of CIFAR-10: speed does not depend on what is on them."""
    random = np.random.default_rng(0)
    return random.integers(0, 256, (images, 3, 32, 32), dtype=np.uint8), random.integers(0, 10, images)


def make_batch(images: int, device: torch.device) -> Batch:
    pixels, labels = noise(images)
    return Batch(torch.from_numpy(pixels).to(device) / 255, torch.from_numpy(labels).to(device))


def make_method(name: str, backbone: str, device: torch.device, num_classes: int = 10, **own: object) -> Method:
    torch.manual_seed(0)
    network = models.make(backbone, num_classes, MEAN, STD)
    method = methods.make(name, network, torch.ones(num_classes), **own)
    return method.to(device, memory_format=torch.channels_last)


def make_engine(method: Method, images: int, batch: int, device: torch.device) -> Engine:
    train = tuple(torch.from_numpy(array).to(device) for array in noise(images))
    return Engine(method, train, Options(epochs=1000, batch_size=batch), {})


def _training(backbone: str, batch: int, batches: int) -> Callable[[str, torch.device], Work]:
    def make(contestant: str, device: torch.device) -> Work:
        if contestant == "plain":
            return plain.training(backbone, *noise(batch * batches), batch, device)
        return make_engine(make_method("cross_entropy", backbone, device), batch * batches, batch, device)._epoch

    return make


def _lbgat(backbone: str, natural: str, images: int) -> Callable[[str, torch.device], Work]:
    def make(contestant: str, device: torch.device) -> Work:
        batch = make_batch(images, device)
        if contestant == "plain":
            return plain.lbgat(backbone, natural, batch, device)
        method = make_method("lbgat", backbone, device, natural=natural, alpha=6.0).train()
        batch = Batch(batch.x.contiguous(memory_format=torch.channels_last), batch.y)
        engine = make_engine(method, images, images, device)
        return lambda: engine._step(batch)

    return make


def _evaluation(backbone: str, images: int) -> Callable[[str, torch.device], Work]:
    def make(contestant: str, device: torch.device) -> Work:
        pixels, labels = noise(images)
        if contestant == "plain":
            return plain.evaluation(backbone, pixels, labels, device)
        method, x = make_method("cross_entropy", backbone, device), torch.from_numpy(pixels).to(device)
        return lambda: predict(method, x)

    return make


def _apgd(backbone: str, images: int) -> Callable[[str, torch.device], Work]:
    """The same attack; the plain network is in NCHW memory and also computes the gradients of its weights."""

    def make(contestant: str, device: torch.device) -> Work:
        x = make_batch(images, device).x
        attack = APGD(steps=10)
        if contestant == "plain":
            network = plain.network(backbone, device).eval()
        else:
            network = make_method("cross_entropy", backbone, device).eval().requires_grad_(False).logits
        # labels that the network agrees with: an image that is wrong already is not attacked
        with torch.no_grad():
            y = network(x).argmax(1)
        return lambda: attack(network, x, y)

    return make
