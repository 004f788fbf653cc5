"""How much work a GPU is asked to start: operators of one training step, counted on the pretended device.

    python -m tests.benchmarks.operators

A small network on a fast GPU waits for its operators to be started, not for its arithmetic. The number of operators
does not depend on the machine, so a test keeps it from growing. It is not the number of kernels: some operators start
several, such as a convolution with a bias, which cuDNN adds in a second kernel.
"""

from __future__ import annotations

from collections import Counter

import torch

from ltlib.training.engine import Engine, Options
from ltlib.training.step import counted_together
from tests.benchmarks.rows import make_method, noise
from tests.pretended_cuda import pretend_cuda

BATCH = 4

# What is counted, and how many operators a step may have at most.
STEPS = {
    "CE ResNet-32": ("cross_entropy", "resnet32", {}, 330),
    "AT-10 ResNet-32": ("at", "resnet32", {}, 2300),
}


def count(method: str, backbone: str, **own: object) -> Counter[str]:
    """Operators of one step in bfloat16 by name, from drawing the batch to the new weights."""
    with pretend_cuda() as gpu:
        options = Options(epochs=1, batch_size=BATCH, precision="bfloat16", capture=False)
        train = tuple(gpu.tensor(torch.from_numpy(array)) for array in noise(2 * BATCH))
        engine = Engine(gpu.move(make_method(method, backbone, torch.device("cpu"), **own)), train, options, {})
        engine.method.train()
        batches = engine.loader.epoch(0)
        with counted_together(engine.method, 2):
            engine.take_step(next(batches), BATCH)  # the first step also makes the momentum
            gpu.reset()
            engine.take_step(next(batches), BATCH)
            return Counter(gpu.kernels)


def all_counts() -> dict[str, int]:
    """Operators per step of everything in ``STEPS``."""
    return {name: count(method, backbone, **own).total() for name, (method, backbone, own, _) in STEPS.items()}


def main() -> None:
    for name, number in all_counts().items():
        print(f"{name}: {number} operators per step (at most {STEPS[name][-1]})")


if __name__ == "__main__":
    main()
