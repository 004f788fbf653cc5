"""One run on several devices of this machine, started from a notebook or a single command.

It is what ``torchrun --standalone --nproc-per-node N -m ltlib train ...`` does, which is the way to start a run that
spans machines.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import asdict

import joblib

from ltlib.errors import InputError
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.report import expected_run
from ltlib.experiments.runs import Run


def train_on(processes: int, experiment: Experiment) -> Run:
    """Train (or resume, or reload) one experiment with so many processes, one a GPU; its log appears as it is written.

    Batch and learning rate stay those of the recipe: each process takes its share of every batch.

    Raises:
        InputError: the experiment cannot be run, or a process failed; the same call resumes it.
    """
    if processes < 1:
        raise InputError(f"processes must be at least 1; got {processes}.")
    run = expected_run(experiment, processes)  # checks everything before a process is started
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in asdict(experiment).items() if value != ""]
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, joblib.cpu_count() // processes))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    process = subprocess.Popen(
        [*torchrun, "-m", "ltlib", "train", *flags],
        env=os.environ | {"OMP_NUM_THREADS": threads},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        for line in process.stdout:
            print(line, end="", flush=True)
    if process.returncode:
        raise InputError("A process of the run failed, for the reason above; the same command resumes the run.")
    return run
