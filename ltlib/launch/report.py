"""A full run as a report: papermill executes ``notebooks/full_run.ipynb`` and the result stays in the run folder."""

from __future__ import annotations

import sys
from dataclasses import asdict

from ltlib import paths
from ltlib.experiments import runs
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.plan import plan
from ltlib.experiments.recipe import with_method
from ltlib.launch.fill_in import fill_in
from ltlib.results import views

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
    found = [plan(with_method(experiment, name)).run for name in (baseline, experiment.method) if name]
    run = found[-1]
    output = paths.make_folder(run.folder, "LTLIB_RUNS") / "report.ipynb"
    notebook = paths.resources() / "notebooks" / NOTEBOOK
    # what the cells print is the progress
    fill_in(notebook, output, asdict(experiment) | {"baseline": baseline}, sys.stdout)
    print(f"\n{views.of_runs(found)}\nexecuted notebook: {output}\nrun folder:        {run.folder}")
    return run
