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
from ltlib.experiments import costs, reuse
from ltlib.experiments.experiment import Experiment, command
from ltlib.experiments.prepare import Prepared, prepare
from ltlib.experiments.recipe import Recipe, parse_overrides, settle
from ltlib.experiments.runs import Run
from ltlib.methods import Method
from ltlib.methods.method import Stage, hyperparameters
from ltlib.models import Network
from ltlib.models.pretrained import load_pretrained

# Raise this when the same settings give another result than before: a mended loss, another default.
# It is part of the identity of a run, so results before and after are never taken for each other.
REVISION = 1

# Fields of the recipe that do not change the result. What was in the lists, the fingerprint of the data says.
DECIDES_NOTHING = ("train_list", "test_list", "keep_every")


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
        """The same plan for another seed, on the same images."""
        return replace(self, experiment=replace(self.experiment, seed=seed))

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
    experiment: Experiment, *, data: Prepared | None = None, processes: int = 1, runs_dir: Path | None = None
) -> Plan:
    """Resolve an experiment, prepare its data and check all of it. No run folder is made.

    Args:
        experiment: what to train.
        data: its images, where they are prepared already.
        processes: that would train it together.
        runs_dir: folder of the run folders; default ``LTLIB_RUNS``.

    Raises:
        InputError: the experiment cannot be run as it is.
    """
    runs_dir = runs_dir or paths.runs_root()
    recipe, own, sources = settle(experiment)
    data = data or prepare(experiment, recipe)
    first = reuse.stage1_source(own, parse_overrides(experiment.overrides), recipe, data, runs_dir)
    natural = reuse.natural_source(own, data, runs_dir)
    for source in filter(None, (first, natural)):
        own = own | source.settings
        sources = sources | dict.fromkeys(source.settings, f"run {source.run.id}")
    with torch.random.fork_rng(devices=[]):  # to look at a plan changes no random number of the caller
        stages = _untrained(experiment.method, recipe, own, data).stages(recipe.epochs, recipe.schedule)
    return Plan(
        experiment=experiment,
        recipe=recipe,
        own=own,
        sources=sources,
        data=data,
        stages=stages,
        first=first.run if first else None,
        natural=natural.run if natural else None,
        processes=processes,
        runs_dir=runs_dir,
    )


def _untrained(name: str, recipe: Recipe, own: dict[str, object], data: Prepared) -> Method:
    """The method with random weights.

    Raises:
        InputError: a hyper-parameter is out of range.
    """
    return methods.make(name, network(asdict(recipe), data.description()), torch.from_numpy(data.counts), **own)


def network(recipe: dict, data: dict) -> Network:
    """The untrained network of a recipe for these data, both as ``run.json`` holds them."""
    mean, std = (data["mean"], data["std"]) if recipe.get("normalize", True) else ([0.0] * 3, [1.0] * 3)
    frozen = recipe.get("frozen", False)
    return models.make(recipe["backbone"], len(data["class_names"]), tuple(mean), tuple(std), frozen)


def as_lines(planned: Plan) -> list[str]:
    """The plan for a reader: the run and its state, the data, the expected cost, and every setting with its source."""
    data, run = planned.data.description(), planned.run
    facts = {
        "run": f"{run.id} ({run.state})",
        "folder": run.folder,
        "command": command(planned.experiment),
        "data": f"{data['name']}: {data['train_images']:,} training, {data['validation_images']:,} validation and "
        f"{data['test_images']:,} test images, {data['image_size']}x{data['image_size']} pixels",
        "counts": _shortened(data["counts"]),
        "fingerprint": data["fingerprint"],
        "stages": ", ".join(f"{stage.name} ({stage.epochs} epochs)" for stage in planned.stages),
        "starts from": planned.first and planned.first.id,
        "guided by": planned.natural and planned.natural.id,
        "processes": planned.processes,
        "cost": _cost(planned),
    }
    lines = [f"{name:<12} {fact}" for name, fact in facts.items() if fact is not None]
    for title, settings in (("recipe", asdict(planned.recipe)), (planned.experiment.method, planned.own)):
        lines += ["", title, *(f"  {n:<16} {v!s:<14} {planned.sources[n]}" for n, v in settings.items())]
    return lines


def _shortened(counts: list[int]) -> str:
    shown = [f"{count:,}" for count in counts]
    return "  ".join(shown if len(shown) <= 20 else [*shown[:10], "...", *shown[-10:]])


def _cost(planned: Plan) -> str:
    """What is known before the training. A time is not, because it depends on the machine."""
    data = planned.data
    sizes = (data.counts, len(data.test), data.test.pixels.shape[-1])
    price = costs.price_of(planned.experiment.method, planned.recipe, planned.own, *sizes)
    return f"{price.images:,} images go through the training, {price.operations:.1e} operations"
