"""Two processes that train one run, one of which is killed.

The test suite kills twice; the long version is

    python -m tests.reliability ranks --kills 10
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.runs import all_runs
from tests.reliability.kill import context, outcome
from tests.waiting import PATIENCE, free_port

RANKS = 2
TIMEOUT = 30  # seconds that a rank waits for another, where one is killed
EXPERIMENT = Experiment(method="mixup", profile="smoke", overrides="epochs=6, evaluate_every=2")


def join_ranks(work: Callable, folder: str, ready, rank: int, port: int, timeout: int) -> None:
    """Be one of the ranks, as torchrun would tell by the environment, and do the work."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": str(RANKS)}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "LTLIB_TIMEOUT": str(timeout), "OMP_NUM_THREADS": "1"}
    ready.set()
    with contextlib.redirect_stdout(io.StringIO()):
        work(Path(folder))


def train(folder: Path) -> None:
    """Train or resume. A rank whose partner died ends at once, as under torchrun, which ends all."""
    try:
        execute(EXPERIMENT, folder)
    except RuntimeError:  # the connection is gone
        os._exit(3)
    sys.stdout.flush()


def start_ranks(work: Callable, folder: Path, timeout: int) -> list:
    """All ranks of a run, begun; each waits ``timeout`` seconds for another."""
    port, processes = free_port(), []
    for rank in range(RANKS):
        ready = context.Event()
        process = context.Process(target=join_ranks, args=(work, str(folder), ready, rank, port, timeout))
        process.start()
        processes.append((process, ready))
    for _, ready in processes:
        ready.wait(PATIENCE)
    return [process for process, _ in processes]


def run_ranks(work: Callable, folder: Path) -> None:
    """Do the work on all ranks, and wait.

    Raises:
        AssertionError: a rank failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    processes = start_ranks(work, folder, int(PATIENCE))
    for process in processes:
        process.join(2 * PATIENCE)
    assert [process.exitcode for process in processes] == [0] * RANKS


def kill_ranks(kills: int, folder: Path, seed: int = 0) -> float:
    """Kill one of two ranks ``kills`` times at random instants, and start both again each time.

    Returns:
        the longest time in seconds that the other rank outlived it.

    Raises:
        AssertionError: the resumed run differs from the uninterrupted one, or the other rank hung.
    """
    instants = random.Random(seed)
    started = time.monotonic()
    run_ranks(train, folder / "whole")
    length = time.monotonic() - started
    (whole,) = all_runs(folder / "whole")
    expected = outcome(whole)

    longest, done, trajectories = 0.0, 0, 0
    while done < kills:
        trajectories += 1
        place = folder / f"killed{trajectories}"
        finished = False
        while not finished:
            last = done == kills
            processes = start_ranks(train, place, int(PATIENCE) if last else TIMEOUT)
            patience = 2 * PATIENCE  # of a run that is not killed, however busy the machine is
            if not last:
                victim = instants.randrange(RANKS)
                processes[victim].join(instants.uniform(length / 4, length))
                if processes[victim].exitcode is None:
                    processes[victim].kill()
                    done, patience = done + 1, TIMEOUT + PATIENCE
            killed = time.monotonic()
            for rank, process in enumerate(processes):
                process.join(patience)
                assert process.exitcode is not None, f"rank {rank} has not ended after {patience} s ({done} kills)"
            finished = all(process.exitcode == 0 for process in processes)
            assert finished or not last, "a run in which no rank was killed has failed"
            longest = longest if finished else max(longest, time.monotonic() - killed)
        (run,) = all_runs(place)
        assert outcome(run) == expected, f"trajectory {trajectories} differs from the uninterrupted run"
    return longest
