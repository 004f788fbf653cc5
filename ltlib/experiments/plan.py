"""From an experiment to its plan: what would be trained, on which images, and where the run is kept.

A plan is made and checked before anything is written. Training, reports, sweeps and ``train --dry-run`` all start from
one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from ltlib import methods, models, paths
from ltlib.errors import InputError
from ltlib.experiments import checks, costs, reuse
from ltlib.experiments.experiment import Experiment, command
from ltlib.experiments.prepare import Prepared, prepare, same_images
from ltlib.experiments.recipe import Recipe, is_small, parse_overrides, settle, with_method
from ltlib.experiments.runs import Run
from ltlib.methods import Method
from ltlib.methods.method import Stage, hyperparameters
from ltlib.models import Network
from ltlib.models.pretrained import load_pretrained

# Raise this when the same settings give another result than before: a mended loss, another default.
# It is part of the identity of a run, so results before and after are never taken for each other.
REVISION = 2

# Fields of the recipe that do not change the result. What was in the lists, the fingerprint of the data says.
# A recorded step does what the plain one does.
DECIDES_NOTHING = ("train_list", "test_list", "keep_every", "capture")


@dataclass(frozen=True, eq=False)
class Plan:
    """An experiment with everything it resolves to. Made by :func:`plan`.

    Attributes:
        experiment: what was asked for.
        recipe: the training options and sizes.
        own: the hyper-parameters of the method.
        sources: for each name of both, where its value comes from, see ``ltlib.experiments.recipe.Settings``; or the id
            of the run from which it follows.
        data: the images.
        stages: of the training.
        first: the finished run whose network a second stage starts from; None if both stages are trained.
        natural: the finished run whose network guides the training; None if there is none.
        processes: that train it together.
        runs_dir: folder of the run folders.
    """

    experiment: Experiment
    recipe: Recipe
    own: dict[str, object]
    sources: dict[str, str]
    data: Prepared
    stages: tuple[Stage, ...]
    first: Run | None
    natural: Run | None
    processes: int
    runs_dir: Path

    @property
    def epochs(self) -> int:
        """Of all stages."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def waits_for(self) -> Run | None:
        """The run that must be finished before this one can start; None if it can start."""
        return next((run for run in (self.first, self.natural) if run and run.state != "finished"), None)

    @property
    def run(self) -> Run:
        """The run that the training makes, resumes or finds."""
        return Run(self.runs_dir / self.run_id())

    def identity(self) -> dict[str, object]:
        """All that decides the result: plans with equal identities are one run.

        A setting at its default is left out. So a new setting, whose default changes nothing, keeps the runs known.
        """
        e, usual = self.experiment, asdict(Recipe()) | hyperparameters(methods.METHODS[self.experiment.method])
        settings = {n: v for n, v in asdict(self.recipe).items() if n not in DECIDES_NOTHING} | self.own
        return {
            "revision": REVISION,
            "method": e.method,
            "dataset": e.dataset,
            "imbalance_type": e.imbalance_type,
            "imbalance_factor": e.imbalance_factor,
            "seed": e.seed,
            **{name: value for name, value in settings.items() if value != usual[name]},
            "data": self.data.fingerprint,
            **({"processes": self.processes} if self.processes > 1 else {}),
        }

    def run_id(self) -> str:
        """A readable name, made unique by a hash of the identity."""
        e = self.experiment
        kind = {"natural": "natural", "step": f"step{e.imbalance_factor:g}"}
        tail = kind.get(e.imbalance_type, f"if{e.imbalance_factor:g}")
        digest = hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()[:8]
        return f"{e.method}-{e.dataset}-{tail}-{e.profile}-s{e.seed}-{digest}"

    def with_seed(self, seed: int) -> Plan:
        """The same plan for another seed, on the same images.

        Raises:
            InputError: the run that it starts from is damaged.
        """
        experiment = replace(self.experiment, seed=seed)
        if any(parse_overrides(experiment.overrides).get(name) in methods.METHODS for name in ORIGINS):
            # It starts from another run for each seed.
            return plan(experiment, data=self.data, processes=self.processes, runs_dir=self.runs_dir, pending=True)
        return replace(self, experiment=experiment)

    def build(self) -> Method:
        """The untrained method, on the CPU.

        Raises:
            InputError: ImageNet weights cannot be had.
        """
        made = _untrained(self.experiment.method, self.recipe, self.own, self.data)
        if self.recipe.pretrained:
            load_pretrained(made.network, self.recipe.backbone)
        return made


def plan(
    experiment: Experiment,
    *,
    data: Prepared | None = None,
    processes: int = 1,
    runs_dir: Path | None = None,
    pending: bool = False,
) -> Plan:
    """Resolve an experiment, prepare its data and check all of it. No run folder is made.

    Args:
        experiment: what to train.
        data: its images, where they are prepared already.
        processes: that would train it together.
        runs_dir: folder of the run folders; default ``LTLIB_RUNS``.
        pending: the run of a method that it starts from (``stage1=mixup``) may be trained later, see
            ``Plan.waits_for``.

    Raises:
        InputError: the experiment cannot be run as it is.
    """
    runs_dir = runs_dir or paths.runs_root()
    settings = settle(experiment)
    data = data or prepare(experiment, settings.recipe)
    if is_small(len(data.train), data.test.pixels.shape[-1], settings.recipe.epochs):
        settings = settle(experiment, small=True)
    recipe, own, sources = settings
    checks.check_kind(recipe, data)
    origins = {}
    for name in ORIGINS:
        if value := own.get(name):
            origins[name] = _origin(name, str(value), experiment, recipe, data, runs_dir, pending)
            follows = _follows(name, origins[name], own, experiment, recipe)
            own, sources = own | follows, sources | dict.fromkeys(follows, f"run {origins[name].run.id}")
    with torch.random.fork_rng(devices=[]):  # to look at a plan changes no random number of the caller
        made = _untrained(experiment.method, recipe, own, data)
        stages = made.stages(recipe.epochs, recipe.schedule)
        checks.check(made, stages, recipe, data, processes)
    return Plan(
        experiment=experiment,
        recipe=recipe,
        own=own,
        sources=sources,
        data=data,
        stages=stages,
        first=origins["stage1"].run if "stage1" in origins else None,
        natural=origins["natural_run"].run if "natural_run" in origins else None,
        processes=processes,
        runs_dir=runs_dir,
    )


ORIGINS = ("stage1", "natural_run")  # hyper-parameters that name a run, or a method: its run of the same experiment


def _origin(
    name: str, value: str, experiment: Experiment, recipe: Recipe, data: Prepared, runs_dir: Path, pending: bool
) -> reuse.Origin:
    """The training that ``name=value`` means.

    Raises:
        InputError: there is no such run, it is not finished, or it has other data.
    """
    if value not in methods.METHODS:
        return reuse.origin(name, value, data, runs_dir)
    source = with_method(experiment, value)
    same = same_images(source, settle(source).recipe) == same_images(experiment, recipe)
    planned = plan(source, data=data if same else None, runs_dir=runs_dir)
    if pending and planned.run.state != "finished" and planned.data.fingerprint == data.fingerprint:
        return reuse.Origin(planned.run, value, asdict(planned.recipe), planned.own)
    if planned.run.state == "new":
        raise InputError(f"{name}={value} is not trained yet: do it first with '{command(source)}'.")
    return reuse.origin(name, planned.run.id, data, runs_dir)


def _follows(
    name: str, origin: reuse.Origin, own: dict[str, object], experiment: Experiment, recipe: Recipe
) -> dict[str, object]:
    """The hyper-parameters that follow from the training that ``name`` names.

    Raises:
        InputError: it does not fit.
    """
    if name == "stage1":
        return reuse.from_stage1(origin, own, parse_overrides(experiment.overrides), recipe)
    return {"natural_run": origin.run.id, "natural": origin.recipe["backbone"]}


def _untrained(name: str, recipe: Recipe, own: dict[str, object], data: Prepared) -> Method:
    """The method with random weights.

    Raises:
        InputError: a hyper-parameter is out of range.
    """
    untrained = network(name, asdict(recipe), data.description())
    return methods.make(name, untrained, torch.from_numpy(data.counts), **own)


def network(method: str, recipe: dict, data: dict) -> Network:
    """The untrained network of a recipe for these data, both as ``run.json`` holds them, as the method starts it."""
    channels = len(data["mean"])
    mean, std = (data["mean"], data["std"]) if recipe.get("normalize", True) else ([0.0] * channels, [1.0] * channels)
    frozen = recipe.get("frozen", False)
    start = methods.METHODS[method].classifier_init
    new = recipe.get("trainable", "everything"), recipe.get("network_side", 0)  # older runs have neither
    return models.make(recipe["backbone"], len(data["class_names"]), tuple(mean), tuple(std), frozen, start, *new)


def as_lines(planned: Plan) -> list[str]:
    """The plan for a reader: the run and its state, the data, the expected cost, and every setting with its source."""
    data, run = planned.data.description(), planned.run
    facts = {
        "run": f"{run.id} ({run.state})",
        "folder": run.folder,
        "command": command(planned.experiment),
        "data": f"{data['name']}: {data['train_images']:,} training, {data['validation_images']:,} validation and "
        f"{data['test_images']:,} test images, {planned.data.seen_as()}",
        "counts": _shortened(data["counts"]),
        "fingerprint": data["fingerprint"],
        "stages": ", ".join(f"{stage.name} ({stage.epochs} epochs)" for stage in planned.stages),
        "starts from": planned.first and f"{planned.first.id} ({planned.first.state})",
        "guided by": planned.natural and f"{planned.natural.id} ({planned.natural.state})",
        "processes": planned.processes,
        "cost": _cost(planned),
    }
    lines = [f"{name:<12} {fact}" for name, fact in facts.items() if fact is not None] + checks.notes(planned.data)
    width = max(map(len, planned.sources))
    for title, settings in (("recipe", asdict(planned.recipe)), (planned.experiment.method, planned.own)):
        lines += ["", title, *(f"  {n:<{width}} {v!s:<14} {planned.sources[n]}" for n, v in settings.items())]
    return lines


def _shortened(counts: list[int]) -> str:
    shown = [f"{count:,}" for count in counts]
    return "  ".join(shown if len(shown) <= 20 else [*shown[:10], "...", *shown[-10:]])


def _cost(planned: Plan) -> str:
    """What is known before the training. A time is not, because it depends on the machine."""
    data = planned.data
    sizes = (data.counts, len(data.test), data.test.pixels.shape[-1], data.test.pixels.shape[1])
    price = costs.price_of(planned.experiment.method, planned.recipe, planned.own, *sizes)
    return f"{price.images:,} images go through the training, {price.operations:.1e} operations"
