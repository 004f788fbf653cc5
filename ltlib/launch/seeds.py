"""Several seeds of one experiment at once, each in a process of its own.

Small networks leave cores, and most of a GPU, idle. One process a seed fills them without touching a line of any
method: each seed has its generators, its run folder and its lock, and gives what it gives alone. (Training all seeds
as one network, by ``torch.func.vmap``, is slower on a CPU than one seed after another, because the convolutions become
grouped ones: ``python -m tests.benchmarks.seeds``.) On a GPU the processes take turns, unless NVIDIA's MPS runs:
start it with ``nvidia-cuda-mps-control -d``.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import joblib

from ltlib.errors import InputError
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.runs import Run
from ltlib.launch import child
from ltlib.launch.tasks import plan
from ltlib.training.device import choose_device


def parse_seeds(text: str) -> list[int]:
    """``"0,1,2"`` as ``[0, 1, 2]``.

    Raises:
        InputError: an item is no whole number from 0, or comes twice.
    """
    items = [item.strip() for item in text.split(",")]
    if not all(item.isdecimal() for item in items):
        raise InputError(f"seeds must be whole numbers with commas between them, such as 0,1,2; got {text!r}.")
    if len(set(map(int, items))) < len(items):
        raise InputError(f"seeds must differ from each other; got {text!r}.")
    return [int(item) for item in items]


def train_together(experiment: Experiment, seeds: list[int]) -> list[Run]:
    """Train (or resume, or reload) the experiment with every seed; as many at once as there are cores, or on a GPU all.

    Args:
        experiment: its own seed is not used.
        seeds: at least one.

    Returns:
        The runs, in the order of the seeds.

    Raises:
        InputError: the experiment cannot be run, or a seed failed; the others are finished then.
    """
    experiments = [replace(experiment, seed=seed) for seed in seeds]
    found = [task.run for task in plan(experiments)]  # checks everything, and decodes the data once for all
    cores = joblib.cpu_count(only_physical_cores=True)
    at_once = min(len(seeds), cores) if choose_device().type == "cpu" else len(seeds)
    with ThreadPoolExecutor(at_once) as pool:
        status = list(pool.map(lambda e: _train(e, cores // at_once), experiments))
    failed = [seed for seed, error in zip(seeds, status, strict=True) if error]
    if failed:
        raise InputError(
            f"Seed {', '.join(map(str, failed))} did not finish, for the reason above; the same command resumes it."
        )
    return found


def _train(experiment: Experiment, threads: int) -> int:
    """Train one seed in a process of its own; returns its exit status."""
    return child.start([sys.executable, "-m"], experiment, threads, label=f"seed {experiment.seed} | ")
