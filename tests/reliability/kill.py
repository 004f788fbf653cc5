"""Real SIGKILLs, at random instants, of a process that trains, saves or prepares images.

The test suite kills a few times; the long version is

    python -m tests.reliability training --kills 50
    python -m tests.reliability saving --kills 100
    python -m tests.reliability preparing --kills 100

Processes come from a fork server that has already imported torch, so that a kill costs a fraction of a second.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import random
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ltlib.data import shards
from ltlib.data.folder import load_folder
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.runs import Run, all_runs
from ltlib.training import checkpoint
from tests.waiting import PATIENCE

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


def prepare(folder: str, ready) -> None:
    """Decode the images in ``folder`` into its cache, ten a shard."""
    os.environ["LTLIB_CACHE"] = str(Path(folder) / "cache")
    shards.SHARD_BYTES = 10 * 3 * 32 * 32
    ready.set()
    with contextlib.redirect_stdout(io.StringIO()):
        load_folder(str(Path(folder) / "images"), image_size=32)


def start(target, folder: Path):
    """A process that has begun ``target``."""
    ready = context.Event()
    process = context.Process(target=target, args=(str(folder), ready))
    process.start()
    ready.wait(PATIENCE)
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


def kill_preparing(kills: int, folder: Path, seed: int = 0) -> int:
    """Kill the preparation of 600 images ``kills`` times; returns how often it came to its end.

    Raises:
        AssertionError: what was prepared with kills differs from what was prepared without.
    """
    instants, noise = random.Random(seed), np.random.default_rng(0)
    for split, c, i in ((split, c, i) for split in ("train", "test") for c in range(2) for i in range(150)):
        file = folder / "images" / split / str(c) / f"{i}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (50, 40, 3), dtype=np.uint8)).save(file)
    for _ in range(2):  # the first also waits for the server to import
        shutil.rmtree(folder / "cache", ignore_errors=True)
        process, started = start(prepare, folder), time.monotonic()
        process.join()
        length = time.monotonic() - started
    expected = prepared(folder)
    done = trajectories = 0
    while done < kills:
        trajectories += 1
        shutil.rmtree(folder / "cache")
        finished = False
        while not finished:
            process = start(prepare, folder)
            process.join(instants.uniform(0, length) if done < kills else None)
            if process.exitcode is None:
                process.kill()
                process.join()
                done += 1
            finished = process.exitcode == 0
        assert prepared(folder) == expected, f"preparation {trajectories} differs from the uninterrupted one"
    return trajectories


def prepared(folder: Path) -> dict[str, bytes]:
    """Every shard, by name, as it lies on the disk; what a killed process left must be gone."""
    assert not list(folder.rglob(".*.tmp"))
    return {file.name: file.read_bytes() for file in (folder / "cache").rglob("*.npy")}
