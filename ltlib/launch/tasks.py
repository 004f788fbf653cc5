"""From experiments to the runs of a sweep: every one is checked, and its run is known, before anything starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from ltlib import paths
from ltlib.errors import InputError
from ltlib.experiments.experiment import Experiment, command
from ltlib.experiments.plan import Plan, plan
from ltlib.experiments.prepare import Prepared
from ltlib.experiments.recipe import Recipe, parse_overrides, resolve
from ltlib.experiments.runs import Run
from ltlib.training.engine import Options as TrainingOptions


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
    """

    experiment: Experiment
    run: Run
    epochs: int
    state: str
    reason: str = ""
    attempts: int = 0

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
                images = _images(without_seed)
                plans[without_seed] = plan(without_seed, data=data.get(images), runs_dir=paths.runs_root().resolve())
                data[images] = plans[without_seed].data
            planned = plans[without_seed].with_seed(experiment.seed)
            state = planned.run.state
        except InputError as error:
            raise InputError(f"In '{command(experiment)}': {error}") from error
        state = "in use" if state == "running" else state
        tasks.setdefault(planned.run.id, Task(experiment, planned.run, planned.epochs, state))
    return list(tasks.values())


def _images(experiment: Experiment) -> tuple:
    """Equal for experiments on the same images: all but the method and how it is trained."""
    recipe, _ = resolve(experiment)
    sizes = {f.name for f in fields(Recipe)} - {f.name for f in fields(TrainingOptions)}
    where = replace(experiment, method="cross_entropy", overrides="")
    return where, "n_max" in parse_overrides(experiment.overrides), *(getattr(recipe, name) for name in sorted(sizes))
