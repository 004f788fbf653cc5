"""From experiments to the runs of a sweep: every one is checked, and its run is known, before anything starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ltlib import paths
from ltlib.errors import InputError
from ltlib.experiments.experiment import Experiment, command
from ltlib.experiments.plan import Plan, plan
from ltlib.experiments.prepare import Prepared, same_images
from ltlib.experiments.recipe import resolve
from ltlib.experiments.runs import Run


@dataclass
class Task:
    """One run of a sweep, and how it fares.

    Attributes:
        experiment: what is trained.
        run: where it is kept.
        epochs: of all stages.
        state: ``finished``, ``in use`` (by a process outside this sweep), ``new``, ``interrupted`` or ``failed`` as it
            was found; then ``running``, and how it ended.
        reason: why it failed last, or why no report was made; empty if all went well.
        attempts: in this sweep.
        after: the id of the run that it starts from, which is another task of this sweep and not finished; or empty.
    """

    experiment: Experiment
    run: Run
    epochs: int
    state: str
    reason: str = ""
    attempts: int = 0
    after: str = ""

    @property
    def settled(self) -> bool:
        """Whether there is nothing to do."""
        return self.state in ("finished", "in use")


def tasks_of(experiments: Iterable[Experiment]) -> list[Task]:
    """One task for each run that the experiments describe, in their order; equal runs are merged.

    Experiments that differ only in their seed are checked once, and images are prepared once.

    Raises:
        InputError: an experiment cannot be run as it is.
    """
    plans: dict[Experiment, Plan] = {}  # of the experiments with seed 0
    data: dict[tuple, Prepared] = {}
    tasks: dict[str, Task] = {}
    for experiment in experiments:
        without_seed = replace(experiment, seed=0)
        try:
            if without_seed not in plans:
                images = same_images(without_seed, resolve(without_seed)[0])
                root = paths.runs_root().resolve()
                plans[without_seed] = plan(without_seed, data=data.get(images), runs_dir=root, pending=True)
                data[images] = plans[without_seed].data
            planned = plans[without_seed].with_seed(experiment.seed)
            state = planned.run.state
        except InputError as error:
            raise InputError(f"In '{command(experiment)}': {error}") from error
        state = "in use" if state == "running" else state
        after = planned.waits_for.id if planned.waits_for else ""
        tasks.setdefault(planned.run.id, Task(experiment, planned.run, planned.epochs, state, after=after))
    for task in tasks.values():
        if task.after and task.after not in tasks:
            raise InputError(
                f"'{command(task.experiment)}' starts from {task.after}, which is not finished and not in this sweep: "
                f"add its experiment, or train it first."
            )
    return list(tasks.values())
