"""The first half hour on a real GPU, in one command.

    python -m tests.gpu_battery [--minutes 25] [--out gpu_battery.json] [--small] [--pretend]

Seven steps run in order of information. Each measurement is in the JSON file as soon as it is made, so whatever cuts
the command off costs one measurement; the same command then continues with the steps that are missing. At the end
comes a table of targets beside measurements. Only torch and NumPy are needed: what needs more is left out and says so.
``--small`` tries all of it in a few minutes on a CPU, and ``--pretend`` on a CUDA device that is not there. Neither
says anything about speed.
"""

from __future__ import annotations

import argparse
import contextlib
import platform
from functools import partial
from pathlib import Path

import torch

from ltlib.training.device import choose_device, hardware, resolve_precision
from tests.gpu_battery.report import Report
from tests.gpu_battery.steps import STEPS, Machine
from tests.gpu_battery.work import FULL, SMALL, Size


def battery(file: Path, minutes: float, size: Size, pretend: bool, steps: list[str]) -> Report:
    """Run the steps and return what they found."""
    with contextlib.ExitStack() as stack:
        if pretend:
            from tests.pretended_cuda import CudaTensor, pretend_cuda

            gpu = stack.enter_context(pretend_cuda())

            def move(what):
                if isinstance(what, torch.nn.Module):
                    return gpu.move(what)
                return what if isinstance(what, CudaTensor) else gpu.tensor(what)

        device = choose_device()
        if not pretend:

            def move(what):
                return what.to(device)

        about = hardware(device) | {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "precision": resolve_precision("auto", device),
            "small": size == SMALL,
            "pretended": pretend,
        }
        report = Report(file, about, minutes)
        machine = Machine(device, move, size, real=not pretend)
        for name in steps:
            report.run(name, partial(STEPS[name], m=machine))
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=25, help="after which nothing new begins")
    parser.add_argument("--out", type=Path, default=Path("gpu_battery.json"), help="the JSON file")
    parser.add_argument("--small", action="store_true", help="sizes that a CPU can do; always so without a GPU")
    parser.add_argument("--pretend", action="store_true", help="on the pretended device of the tests, in small")
    options = parser.parse_args()
    small = options.small or options.pretend or choose_device().type != "cuda"
    report = battery(options.out, options.minutes, SMALL if small else FULL, options.pretend, list(STEPS))
    print("\n".join(["", *report.lines()]))


if __name__ == "__main__":
    main()
