"""Two seeds at once: as two processes of one thread each, and as one network by ``torch.func.vmap``, against one seed.

    python -m tests.benchmarks.seeds [--backbone resnet32] [--rounds 5]

A ratio of 2 is as long as one seed after the other. Float32 for vmap, which cannot run BatchNorm in bfloat16 on a CPU.
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from ltlib.training.device import choose_device, hardware, use_available_cores
from tests.benchmarks import plain
from tests.benchmarks.race import race
from tests.benchmarks.rows import make_batch

STEPS = 30
ONE_SEED = f"""
import sys, torch
from ltlib.training.device import choose_device
from tests.benchmarks.race import race
from tests.benchmarks.rows import make_batch, make_engine, make_method
torch.set_num_threads(int(sys.argv[2]))
device = choose_device()
engine = make_engine(make_method("cross_entropy", sys.argv[1], device), 128, 128, device)
batch = make_batch(128, device)
print(race({{"steps": lambda: [engine._step(batch) for _ in range({STEPS})]}}, 1)["steps"])
"""


def processes(backbone: str, number: int, threads: int) -> float:
    """Seconds of ``STEPS`` steps, the slowest of so many processes that run at once."""
    command = [sys.executable, "-c", ONE_SEED, backbone, str(threads)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(number)]
    return max(float(process.communicate()[0]) for process in started)


def together(backbone: str, seeds: int, device: torch.device) -> Callable[[], object]:
    """Loss and gradients of so many networks as one."""
    networks = [plain.network(backbone, device).train() for _ in range(seeds)]
    weights, buffers = stack_module_state(networks)
    shape, (x, y) = copy.deepcopy(networks[0]), make_batch(128, device)

    def loss(w: dict, b: dict) -> torch.Tensor:
        return F.cross_entropy(functional_call(shape, (w, b), (x,)), y)

    return lambda: vmap(grad_and_value(loss))(weights, buffers)


def alone(backbone: str, device: torch.device) -> Callable[[], object]:
    """Loss and gradients of one network, in float32 too."""
    network, (x, y) = plain.network(backbone, device).train(), make_batch(128, device)
    return lambda: F.cross_entropy(network(x), y).backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet32")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    device = choose_device()
    use_available_cores()
    times = race(
        {"vmap": together(options.backbone, 2, device), "one": alone(options.backbone, device)}, options.rounds
    )
    print(f"{options.backbone}, batch 128, {hardware(device)}; time for two seeds / time for one")
    print(f"one network by vmap: {times['vmap'] / times['one']:.2f}")
    cores = torch.get_num_threads()
    pairs, singles = [], []
    for _ in range(options.rounds):
        singles.append(processes(options.backbone, 1, cores))
        pairs.append(processes(options.backbone, 2, max(1, cores // 2)))
    print(f"two processes: {sorted(pairs)[len(pairs) // 2] / sorted(singles)[len(singles) // 2]:.2f}")


if __name__ == "__main__":
    main()
