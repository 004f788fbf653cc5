"""What two settings of the process do for training on a CPU: how threads wait, and what becomes of freed memory.

    python -m tests.benchmarks.cpu [--rounds 3]

Each contestant is a process of its own, because the settings hold for a whole process. They take turns, and the ratio
is the time without the setting over the time with it: above 1, the setting is faster. "Busy" means that another program
computes on one core meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator

from ltlib.training.device import choose_device, hardware, use_available_cores

STEPS = """
import sys, torch
from ltlib.training import device
backbone, size, side, steps, keeps = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5] == "keeps"
from tests.benchmarks.race import race
from tests.benchmarks.rows import make_batch, make_engine, make_method
device.use_available_cores()
if keeps: device.keep_freed_memory()
cpu = torch.device("cpu")
engine = make_engine(make_method("cross_entropy", backbone, cpu), size, size, cpu)
batch = make_batch(size, cpu)
batch = batch._replace(x=batch.x[..., :side, :side].contiguous(memory_format=torch.channels_last))
print(race({"steps": lambda: [engine._step(batch) for _ in range(steps)]}, 3)["steps"])
"""
GNUS = {"GOMP_SPINCOUNT": "300000"}  # what GNU's OpenMP takes if nothing is set
WAITS = (("resnet8", 128, 16, 20), ("resnet32", 128, 32, 4))  # backbone, batch, side of an image, steps
LARGE = (("resnet32", 128, 32, 4), ("resnet32", 512, 32, 2), ("resnet18", 128, 32, 2))


def seconds(step: tuple[str, int, int, int], keeps: bool, **variables: str) -> float:
    """Median seconds of so many steps in a process of its own."""
    command = [sys.executable, "-c", STEPS, *map(str, step), "keeps" if keeps else "frees"]
    done = subprocess.run(command, env=os.environ | variables, check=True, capture_output=True, text=True)
    return float(done.stdout)


@contextlib.contextmanager
def busy_core() -> Iterator[None]:
    """Another program that computes all the time, on one core."""
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        neighbour.kill()
        neighbour.wait()


def told(step: tuple[str, int, int, int]) -> str:
    return "{}, batch {}, {} pixels, {} steps".format(*step)


def ratio(without: list[float], with_it: list[float]) -> str:
    parts = statistics.median(without), statistics.median(with_it)
    return f"{parts[0] / parts[1]:.2f} ({parts[0]:.3f} s / {parts[1]:.3f} s)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    use_available_cores()
    print(f"{hardware(choose_device())}; float32 or bfloat16 as the recipe chooses")
    for step, busy in itertools.product(WAITS, (False, True)):
        with busy_core() if busy else contextlib.nullcontext():
            pairs = [(seconds(step, True, **GNUS), seconds(step, True)) for _ in range(options.rounds)]
        about = f"{told(step)}, {'busy' if busy else 'quiet'}"
        print(f"threads wait by sleeping: {about}: {ratio(*map(list, zip(*pairs, strict=True)))}", flush=True)
    for step in LARGE:
        pairs = [(seconds(step, False), seconds(step, True)) for _ in range(options.rounds)]
        print(f"freed memory is kept: {told(step)}: {ratio(*map(list, zip(*pairs, strict=True)))}", flush=True)


if __name__ == "__main__":
    main()
