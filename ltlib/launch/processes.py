"""Training in other processes of this machine: several seeds at a time, or one run on several devices.

**Several seeds.** Small networks leave cores, and most of a GPU, idle. One process per seed fills them without touching
a line of any method: each seed has its generators, its run folder and its lock, and gives what it gives by itself.
(Training all seeds as one network with ``torch.func.vmap`` is slower on a CPU than one seed after another, because the
convolutions become grouped ones: ``python -m tests.benchmarks.seeds``.) On a GPU the processes take turns, unless
NVIDIA's MPS runs: start it with ``nvidia-cuda-mps-control -d``.

**Several devices.** This is what ``torchrun --standalone --nproc-per-node N -m ltlib train ...`` does. A run that spans
machines is started by that command.

Each process runs ``python -m ltlib.launch.processes EXPERIMENT-AS-JSON``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import joblib
import numpy as np
import torch

from ltlib.errors import InputError
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.plan import Plan, plan
from ltlib.experiments.runs import Run
from ltlib.training.device import choose_device
from ltlib.training.shapes import training_bytes


def parse_seeds(text: str) -> list[int]:
    """``"0,1,2"`` as ``[0, 1, 2]``.

    Raises:
        InputError: an item is no whole number from 0, or comes twice.
    """
    items = [item.strip() for item in text.split(",")]
    if not all(item.isascii() and item.isdecimal() for item in items):
        raise InputError(f"seeds must be whole numbers with commas between them, such as 0,1,2; got {text!r}.")
    if len(set(map(int, items))) < len(items):
        raise InputError(f"seeds must differ from each other; got {text!r}.")
    return [int(item) for item in items]


def train_seeds(experiment: Experiment, seeds: list[int]) -> list[Run]:
    """Train (or resume, or reload) the experiment with every seed; as many at once as there are cores, or as fit a GPU.

    Args:
        experiment: its own seed is not used.
        seeds: at least one.

    Returns:
        The runs, in the order of the seeds.

    Raises:
        InputError: the experiment cannot be run, or a seed failed; the others are finished then.
    """
    experiments = [replace(experiment, seed=seed) for seed in seeds]
    planned = plan(experiments[0])  # checks everything, and decodes the images once for all
    cores = joblib.cpu_count(only_physical_cores=True)
    at_once = min(len(seeds), room_for(planned, choose_device(), cores))

    def train(one: Experiment) -> int:
        return _start([sys.executable, "-m"], one, cores // at_once, label=f"seed {one.seed} | ")

    with ThreadPoolExecutor(at_once) as pool:
        statuses = list(pool.map(train, experiments))
    failed = [str(seed) for seed, status in zip(seeds, statuses, strict=True) if status]
    if failed:
        raise InputError(f"Seed {', '.join(failed)} did not finish, for the reason above; the same command resumes it.")
    return [planned.with_seed(seed).run for seed in seeds]


def room_for(planned: Plan, device: torch.device, cores: int) -> int:
    """How many trainings a device holds at the same time: one per core, or on a GPU as its free memory allows."""
    if device.type == "cpu":
        return cores
    if device.type != "cuda":
        return 1
    backbones = [planned.recipe.backbone, *([str(planned.own["natural"])] if "natural" in planned.own else [])]
    data, batch = planned.data, planned.recipe.batch_size
    needed = training_bytes(backbones, data.num_classes, data.test.pixels.shape[-1], batch)
    needed += sum(int(split.pixels.nbytes) for split in (data.train, data.test) if isinstance(split.pixels, np.ndarray))
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, free // needed)


def train_on(processes: int, experiment: Experiment) -> Run:
    """Train (or resume, or reload) one experiment with several processes, one per GPU; its log appears as it comes.

    Batch and learning rate stay those of the recipe: each process takes its share of every batch.

    Raises:
        InputError: the experiment cannot be run, or a process failed; the same call resumes it.
    """
    if processes < 1:
        raise InputError(f"processes must be at least 1; got {processes}.")
    run = plan(experiment, processes=processes).run  # checks everything before a process is started
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    cores = joblib.cpu_count(only_physical_cores=True)
    if _start(torchrun, experiment, cores // processes):
        raise InputError("A process of the run failed, for the reason above; the same command resumes the run.")
    return run


def _start(launcher: list[str], experiment: Experiment, threads: int, label: str = "") -> int:
    """Run ``launcher`` on this module and repeat what it says, line by line as it comes, each after ``label``.

    Args:
        launcher: the command that runs a module named after it, such as ``[python, "-m"]``.
        experiment: what to train.
        threads: of each process, unless ``OMP_NUM_THREADS`` is set.

    Returns:
        the exit status.
    """
    process = subprocess.Popen(
        [*launcher, "ltlib.launch.processes", json.dumps(asdict(experiment))],
        env={"OMP_NUM_THREADS": str(max(1, threads))} | os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",  # the child writes in the encoding of its terminal
    )
    with process:
        for line in process.stdout or ():
            print(f"{label}{line}", end="", flush=True)
    return process.returncode


if __name__ == "__main__":
    try:
        execute(Experiment(**json.loads(sys.argv[1])))
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped")
