"""Real SIGKILLs, at random instants, of a process that trains or saves.

The test suite kills a few times; the long version is

    python -m tests.reliability training --kills 50
    python -m tests.reliability saving --kills 100

Processes come from a fork server that has already imported torch, so that a kill costs a fraction of a second.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import random
import time
from pathlib import Path

import torch

from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.runs import Run, all_runs
from ltlib.training import checkpoint

# Six epochs of 245 letters: long enough to be hit anywhere, short enough to be repeated.
EXPERIMENT = Experiment(method="mixup", profile="smoke", overrides="epochs=6, evaluate_every=2")

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["tests.reliability.kill", "tests.reliability.ranks"])


def train(folder: str, ready) -> None:
    """Train or resume; tells when the imports are over and training begins."""
    torch.set_num_threads(1)
    ready.set()
    with contextlib.redirect_stdout(io.StringIO()):
        execute(EXPERIMENT, Path(folder))


def save_for_ever(folder: str, ready) -> None:
    """Write checkpoints of 4 MB over the same file."""
    torch.set_num_threads(1)
    number = 0
    while True:
        number += 1
        checkpoint.save(
            Path(folder) / "checkpoint.pt", {"number": number, "weight": torch.full((1_000_000,), float(number))}, {}
        )
        ready.set()


def start(target, folder: Path):
    """A process that has begun ``target``."""
    ready = context.Event()
    process = context.Process(target=target, args=(str(folder), ready))
    process.start()
    ready.wait(120)
    return process


def outcome(run: Run) -> dict[str, object]:
    """What must be bitwise equal: weights, optimiser, generators and metrics; times apart."""
    state = torch.load(run.checkpoint, weights_only=True)["state"]
    history = [{k: v for k, v in r.items() if k not in ("seconds", "images_per_second")} for r in run.metrics]
    del state["history"]
    return {
        "checkpoint": {name: t.numpy().tobytes() for name, t in flatten(state)},
        "weights": (run.folder / "weights.safetensors").read_bytes(),
        "metrics": history,
        "card": run.info["metrics"],
    }


def flatten(value, name=""):
    """Every tensor of a nested state, with its path; plain values as tensors of their own."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from flatten(inner, f"{name}/{key}")
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from flatten(inner, f"{name}/{i}")
    elif isinstance(value, int | float):
        yield name, torch.tensor(value, dtype=torch.float64)


def kill_training(kills: int, folder: Path, seed: int = 0) -> int:
    """Kill training ``kills`` times at random instants; returns how many trajectories were completed.

    Raises:
        AssertionError: a resumed trajectory differs from the uninterrupted one.
    """
    instants = random.Random(seed)
    torch.set_num_threads(1)
    started = time.monotonic()
    start(train, folder / "whole").join()
    length = time.monotonic() - started
    (whole,) = all_runs(folder / "whole")
    expected = outcome(whole)

    done = trajectories = 0
    while done < kills:
        trajectories += 1
        place = folder / f"killed{trajectories}"
        finished = False
        while not finished:
            process = start(train, place)
            process.join(instants.uniform(0, length / 2) if done < kills else None)
            if process.exitcode is None:
                process.kill()
                process.join()
                done += 1
            finished = process.exitcode == 0
        (run,) = all_runs(place)
        assert outcome(run) == expected, f"trajectory {trajectories} differs from the uninterrupted run"
    return trajectories


def kill_saving(kills: int, folder: Path, seed: int = 0) -> int:
    """Kill a saving process ``kills`` times; returns how many checkpoints it had written in all.

    Raises:
        InputError: the newest checkpoint does not load.
        AssertionError: it is not whole.
    """
    instants = random.Random(seed)
    written = 0
    for _ in range(kills):
        process = start(save_for_ever, folder)
        process.join(instants.uniform(0, 0.1))
        process.kill()
        process.join()
        state = checkpoint.load(folder / "checkpoint.pt", {})
        assert (state["weight"] == state["number"]).all()
        written += state["number"]
    return written
