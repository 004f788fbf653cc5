"""One run on several devices of this machine, started from a notebook or a single command.

It is what ``torchrun --standalone --nproc-per-node N -m ltlib train ...`` does, which is the way to start a run that
spans machines.
"""

from __future__ import annotations

import sys

import joblib

from ltlib.errors import InputError
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.runs import Run
from ltlib.launch import child
from ltlib.launch.report import expected_run


def train_on(processes: int, experiment: Experiment) -> Run:
    """Train (or resume, or reload) one experiment with so many processes, one a GPU; its log appears as it is written.

    Batch and learning rate stay those of the recipe: each process takes its share of every batch.

    Raises:
        InputError: the experiment cannot be run, or a process failed; the same call resumes it.
    """
    if processes < 1:
        raise InputError(f"processes must be at least 1; got {processes}.")
    run = expected_run(experiment, processes)  # checks everything before a process is started
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    cores = joblib.cpu_count(only_physical_cores=True)
    if child.start(torchrun, experiment, cores // processes):
        raise InputError("A process of the run failed, for the reason above; the same command resumes the run.")
    return run
