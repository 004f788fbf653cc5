"""What this machine could do at best: a roofline of its matrix speed and its memory.

The limit of a network counts its convolutions and products alone. Each takes as long as its multiplications at the
speed of a large matrix product, or as reading its input and writing its output at the speed of a large copy, whichever
is longer; both speeds are measured in the same process. The product is measured as such and inside a large 3x3
convolution, because on some processors these come from different libraries; the faster one counts. All else
(BatchNorm, ReLU, the optimiser, augmentation) is free, and nothing is kept in caches from one layer to the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ltlib import models
from tests.benchmarks.race import race


@dataclass(frozen=True)
class Machine:
    """Operations a second (a multiplication and an addition are two), and bytes a second read or written."""

    operations: float
    bytes: float
    dtype: torch.dtype


CONVOLUTION = ((64, 256, 16, 16), (256, 256, 3, 3))  # images and kernels


def measure(dtype: torch.dtype, device: torch.device, rounds: int = 5) -> Machine:
    """The speeds of a large matrix product in ``dtype`` and of a large copy."""
    n = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    x, w = (torch.randn(size, device=device).to(dtype, memory_format=torch.channels_last) for size in CONVOLUTION)
    source = torch.ones(2**26, device=device)  # 256 MB, more than caches hold
    target = torch.empty_like(source)
    works = {
        "product": lambda: a @ b,
        "convolution": lambda: torch.nn.functional.conv2d(x, w, padding=1),
        "copy": lambda: target.copy_(source),
    }
    with torch.no_grad():
        times = race(works, rounds)
    convolution = 2 * x.numel() * w[0].numel()
    fastest = max(2 * n**3 / times["product"], convolution / times["convolution"])
    return Machine(fastest, 2 * source.nbytes / times["copy"], dtype)


def seconds_per_image(backbone: str, size: int, machine: Machine, batch: int = 2) -> float:
    """The least time for one forward pass of one image; a backward pass by inputs or by weights takes as long."""
    network, total = models.make(backbone, 10, (0.0,) * 3, (1.0,) * 3).eval(), 0.0

    def add(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal total
        weights = layer.weight
        operations = 2 * output.numel() / batch * weights[0].numel()  # one product a weight of an output's filter
        itemsize = torch.finfo(machine.dtype).bits // 8
        moved = (inputs[0].numel() + output.numel()) / batch * itemsize
        total += max(operations / machine.operations, moved / machine.bytes)

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(add)
    with torch.no_grad():
        network(torch.zeros(batch, 3, size, size))
    return total
