"""A training step of LBGAT: ours, and as the released code is built; and the memory that an image takes.

    python tests/benchmarks/adversarial.py [--backbone resnet18] [--natural resnet18_lbgat] [--batch 32] [--rounds 3]

The released structure computes the clean logits anew in each of the ten steps of the attack, keeps the gradients of
the weights while it attacks, and runs in float32 and NCHW memory. Both take turns in one process, so that a noisy
machine disturbs them alike; the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from ltlib import methods, models
from ltlib.data.loader import Batch
from ltlib.training.device import autocast, choose_device, hardware, resolve_precision

EPSILON, STEP_SIZE, STEPS = 0.031, 0.007, 10
MEGABYTE = 2**20


def ours(backbone: str, natural: str, device: torch.device) -> Callable[[Batch], None]:
    """One step of our LBGAT as the engine takes it."""
    network = models.make(backbone, 10, (0.0,) * 3, (1.0,) * 3)
    method = methods.make("lbgat", network, torch.ones(10), natural=natural, alpha=6.0)
    method = method.to(device, memory_format=torch.channels_last).train()
    precision = resolve_precision("auto", device)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.01, momentum=0.9)

    def step(batch: Batch) -> None:
        with autocast(precision, device):
            loss = method.loss(Batch(batch.x.contiguous(memory_format=torch.channels_last), batch.y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def released(backbone: str, natural: str, device: torch.device) -> Callable[[Batch], None]:
    """The same step, built as in the released code."""
    robust, clean = (models.make(name, 10, (0.0,) * 3, (1.0,) * 3).to(device).train() for name in (backbone, natural))
    optimizer = torch.optim.SGD([*robust.parameters(), *clean.parameters()], lr=0.01, momentum=0.9)

    def kl(z: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.kl_div(z.log_softmax(1), target.softmax(1), reduction="sum")

    def step(batch: Batch) -> None:
        robust.eval()
        x_adv = batch.x + 0.001 * torch.randn_like(batch.x)
        for _ in range(STEPS):
            x_adv = x_adv.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(kl(robust(x_adv), robust(batch.x)), [x_adv])
            x_adv = x_adv.detach() + STEP_SIZE * gradient.sign()
            x_adv = x_adv.clamp(batch.x - EPSILON, batch.x + EPSILON).clamp(0, 1)
        robust.train()
        optimizer.zero_grad()
        z_adv, z, t = robust(x_adv), robust(batch.x), clean(batch.x)
        loss = F.mse_loss(z_adv, t) + F.cross_entropy(t, batch.y) + 6 * kl(z_adv, z) / len(batch.y)
        loss.backward()
        optimizer.step()

    return step


MAKE = {"ltlib": ours, "released": released}


def make_batch(size: int, device: torch.device) -> Batch:
    torch.manual_seed(0)
    return Batch(torch.rand(size, 3, 32, 32, device=device), torch.randint(0, 10, (size,), device=device))


def seconds(step: Callable[[Batch], None], batch: Batch) -> float:
    started = time.perf_counter()
    step(batch)
    if batch.x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def peak(name: str, options: argparse.Namespace, device: torch.device) -> int:
    """Most bytes in use after a step: of the GPU, or resident (Linux)."""
    MAKE[name](options.backbone, options.natural, device)(make_batch(options.batch, device))
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    # not getrusage: its maximum begins with that of the process that started this one
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def memory_per_image(name: str, options: argparse.Namespace) -> float:
    """Megabytes: the slope of the peak between two sizes of the batch, each in a process of its own."""
    peaks = []
    for batch in (2 * options.batch, 4 * options.batch):  # so large that the peak is theirs, not that of the start
        command = [sys.executable, __file__, "--peak-of", name, "--batch", str(batch)]
        command += ["--backbone", options.backbone, "--natural", options.natural]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]))
    return (peaks[1] - peaks[0]) / (2 * options.batch) / MEGABYTE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--natural", default="resnet18_lbgat")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peak-of", choices=MAKE, help="only print the peak memory of one of both")
    options = parser.parse_args()
    device = choose_device()
    if options.peak_of:
        print(peak(options.peak_of, options, device))
        return

    batch = make_batch(options.batch, device)
    steps = {name: make(options.backbone, options.natural, device) for name, make in MAKE.items()}
    for step in steps.values():
        step(batch)  # warm up
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.rounds):
        for name, step in steps.items():
            times[name].append(seconds(step, batch))
    fast, slow = (statistics.median(times[name]) for name in ("ltlib", "released"))
    precision = resolve_precision("auto", device)
    print(f"LBGAT, {options.backbone} guided by {options.natural}, batch {options.batch}, 32x32, {hardware(device)}")
    if device.type == "cuda":  # absolute speeds of a small shared CPU mean nothing
        print(f"milliseconds a step: ltlib {1000 * fast:.1f}, released structure {1000 * slow:.1f}")
    print(f"released structure / ltlib in {precision} = {slow / fast:.2f}")
    for name in MAKE:
        print(f"memory an image, {name}: {memory_per_image(name, options):.1f} MB")


if __name__ == "__main__":
    main()
