"""Train one experiment in a process that another one started: ``python -m ltlib.launch.child FIELDS-AS-JSON``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict

from ltlib.errors import InputError
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment


def start(launcher: list[str], experiment: Experiment, threads: int, label: str = "") -> int:
    """Run ``launcher`` on this module and repeat what it says, line by line as it comes, each after ``label``.

    Args:
        launcher: the command that runs a module named after it, such as ``[python, "-m"]``.
        experiment: what to train.
        threads: of each process, unless ``OMP_NUM_THREADS`` is set.

    Returns:
        the exit status.
    """
    process = subprocess.Popen(
        [*launcher, "ltlib.launch.child", json.dumps(asdict(experiment))],
        env={"OMP_NUM_THREADS": str(max(1, threads))} | os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        for line in process.stdout:
            print(f"{label}{line}", end="", flush=True)
    return process.returncode


if __name__ == "__main__":
    try:
        execute(Experiment(**json.loads(sys.argv[1])))
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped")
