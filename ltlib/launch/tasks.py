"""From experiments to the runs of a sweep: every one is checked, and its run is known, before anything starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from ltlib import paths
from ltlib.errors import InputError
from ltlib.experiments.execute import build, command, describe, run_id
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.prepare import Prepared, prepare
from ltlib.experiments.recipe import Recipe, parse_overrides, resolve
from ltlib.experiments.reuse import natural_run, stage1_run
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


def plan(experiments: Iterable[Experiment]) -> list[Task]:
    """One task for each run that the experiments describe, in their order; equal runs are merged.

    Raises:
        InputError: an experiment cannot be run as it is.
    """
    settings: dict[Experiment, _Setting] = {}
    data: dict[tuple, Prepared] = {}
    tasks: dict[str, Task] = {}
    for experiment in experiments:
        without_seed = replace(experiment, seed=0)
        try:
            if without_seed not in settings:
                settings[without_seed] = _check(without_seed, data)
            run = settings[without_seed].run(experiment)
            state = run.state
        except InputError as error:
            raise InputError(f"In '{command(experiment)}': {error}") from error
        state = "in use" if state == "running" else state
        tasks.setdefault(run.id, Task(experiment, run, settings[without_seed].epochs, state))
    return list(tasks.values())


@dataclass(frozen=True)
class _Setting:
    """What the experiments that differ in nothing but the seed have in common."""

    recipe: Recipe
    own: dict[str, object]
    data: Prepared
    epochs: int

    def run(self, experiment: Experiment) -> Run:
        """The run that `execute` would make or find for this experiment."""
        identity = describe(experiment, self.recipe, self.own, self.data)
        return Run(paths.runs_root().resolve() / run_id(experiment, identity))


def _check(experiment: Experiment, known: dict[tuple, Prepared]) -> _Setting:
    """All that `execute` checks before it writes; data already in ``known`` are not prepared again."""
    recipe, own = resolve(experiment)
    key = _data_key(experiment, recipe)
    if key not in known:
        known[key] = prepare(experiment, recipe)
    data = known[key]
    stage1_run(experiment, recipe, own, data)
    natural_run(own, data)
    method = build(experiment.method, own, recipe, data)
    epochs = sum(stage.epochs for stage in method.stages(recipe.epochs, recipe.schedule))
    return _Setting(recipe, own, data, epochs)


def _data_key(experiment: Experiment, recipe: Recipe) -> tuple:
    """Equal for experiments on the same images: all but the method and how it is trained."""
    sizes = {f.name for f in fields(Recipe)} - {f.name for f in fields(TrainingOptions)}
    where = replace(experiment, method="cross_entropy", overrides="")
    return where, "n_max" in parse_overrides(experiment.overrides), *(getattr(recipe, name) for name in sorted(sizes))
