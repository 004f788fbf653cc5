"""A full run as a report: papermill executes ``notebooks/full_run.ipynb`` and the result stays in the run folder."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from ltlib import paths
from ltlib.errors import InputError
from ltlib.experiments import runs
from ltlib.experiments.execute import describe, run_id
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.prepare import prepare
from ltlib.experiments.profiles import resolve, with_method
from ltlib.experiments.reuse import stage1_run

NOTEBOOK = "full_run.ipynb"


def report(*, baseline: str = "", **fields: object) -> runs.Run:
    """Execute the report notebook for an experiment.

    Everything is checked here first, because papermill takes minutes to find what a check finds at once.

    Args:
        baseline: a method to train beside it under the same recipe; empty for none.
        fields: of `Experiment`.

    Raises:
        InputError: a value is not allowed, or the notebook failed; the message says where to look.
    """
    experiment = Experiment.parse(**fields)
    found = [expected_run(with_method(experiment, name)) for name in (baseline, experiment.method) if name]
    run = found[-1]
    output = paths.make_folder(run.folder, "LTLIB_RUNS") / "report.ipynb"
    notebook = paths.project() / "notebooks" / NOTEBOOK
    if not notebook.exists():
        raise InputError(f"{notebook} is missing: run from a checkout of the project.")
    _papermill(notebook, output, asdict(experiment) | {"baseline": baseline})
    print(f"\n{runs.as_text(runs.table(found))}")
    print(f"groups by the threshold rule\nexecuted notebook: {output}\nrun folder:        {run.folder}")
    return run


def expected_run(experiment: Experiment, processes: int = 1) -> runs.Run:
    """The run that `execute` would make or find for this experiment, trained by so many processes.

    Raises:
        InputError: the experiment cannot be run as it is.
    """
    recipe, own = resolve(experiment)
    data = prepare(experiment, recipe)
    stage1_run(experiment, recipe, own, data)
    identity = describe(experiment, recipe, own, data, processes)
    return runs.Run(paths.runs_root() / run_id(experiment, identity))


def _papermill(notebook: Path, output: Path, parameters: dict[str, object]) -> None:
    try:
        import papermill
        from nbclient.exceptions import DeadKernelError
    except ImportError as error:
        raise InputError("papermill is not installed: pip install 'ltlib[notebooks]'.") from error
    options = {
        "kernel_name": "python3",
        "progress_bar": False,
        "stdout_file": sys.stdout,  # what the cells print is the progress
        "extra_arguments": ["--IPKernelApp.log_level=ERROR"],  # the kernel listens on this machine alone
    }
    try:
        papermill.execute_notebook(str(notebook), str(output), parameters, **options)
    except papermill.PapermillExecutionError as error:
        raise InputError(f"The report failed in cell {error.exec_count}: {error.evalue} (see {output}).") from error
    except DeadKernelError as error:
        raise InputError(
            "The notebook's kernel was killed, perhaps for want of memory: start the same command again, it resumes."
        ) from error
