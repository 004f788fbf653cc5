"""The one road from an experiment to a finished run. Read this file first to see how the house hangs together."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import shlex
import subprocess
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch

import ltlib
from ltlib import distributed, methods, models, paths
from ltlib.data.stream import on_device
from ltlib.errors import InputError
from ltlib.evaluation.evaluate import predict, report_card, used_parameters
from ltlib.experiments import reuse, runs
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.prepare import Prepared, prepare
from ltlib.experiments.recipe import Recipe, resolve
from ltlib.experiments.runs import Run
from ltlib.methods import Method
from ltlib.models import Network
from ltlib.models.pretrained import load_pretrained
from ltlib.training.device import choose_device, hardware, reproducible, use_available_cores
from ltlib.training.engine import Engine
from ltlib.training.progress import Progress

# Fields of the recipe that do not change the result. What was in the lists, the fingerprint of the data says.
DECIDES_NOTHING = ("train_list", "test_list", "keep_every")


def execute(experiment: Experiment, runs_dir: Path | None = None) -> Run:
    """Train the experiment, or resume it, or reload it if it is finished.

    Everything is checked before anything is written.

    Args:
        experiment: what to train.
        runs_dir: folder of the run folders; default ``LTLIB_RUNS``.

    Raises:
        InputError: something the user gave cannot be used.
        TrainingStopped: a loss or gradient was not finite.
    """
    recipe, own = resolve(experiment)
    device = choose_device()
    use_available_cores()
    with distributed.process_group(device):
        with distributed.first_before_the_others():
            data = prepare(experiment, recipe)
        first = reuse.stage1_run(experiment, recipe, own, data, runs_dir)
        natural = reuse.natural_run(own, data, runs_dir)
        identity = describe(experiment, recipe, own, data, distributed.world_size())
        run = Run((runs_dir or paths.runs_root()) / run_id(experiment, identity))
        if distributed.from_first(lambda: run.state) == "finished":
            if distributed.rank() == 0:
                print(f"{run.id} is finished: its results are reloaded from {run.folder}")
            return run

        with reproducible(experiment.seed, device, recipe.deterministic):
            method = build(experiment.method, own, recipe, data).to(device, memory_format=torch.channels_last)
            if first:
                reuse.take_over(first, method, device)
            if natural:
                reuse.guide(natural, method, data)
            with run.locked() if distributed.rank() == 0 else contextlib.nullcontext():
                run.update(**about(run, experiment, recipe, own, data, device))
                try:
                    _train(run, method, recipe, data, device, identity)
                except BaseException as error:
                    failed = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
                    run.update(state=failed, reason=str(error) or type(error).__name__)
                    raise
    return run


def _train(run: Run, method: Method, recipe: Recipe, data: Prepared, device: torch.device, identity: dict) -> None:
    """Train (or resume) and write the results into the run folder."""
    evaluate = {"test": on_device(data.test, device)}
    if data.validation:
        evaluate["validation"] = on_device(data.validation, device)
    engine = Engine(method, on_device(data.train, device), recipe, evaluate)
    engine.resume(run.checkpoint, identity)
    run.store_metrics(engine.history)  # a kill may have left it a line behind
    progress = Progress(run.info["experiment"]["method"], engine.total_epochs, done=len(engine.history))
    run.update(precision=engine.precision)

    def keep() -> None:
        done = len(engine.history)
        if recipe.keep_every and done and done % recipe.keep_every == 0:
            run.keep_weights(done, engine.method.state_dict())

    keep()  # a kill may have come between the checkpoint and the weights

    def on_epoch(record: dict) -> None:
        keep()
        run.store_metrics(engine.history)
        if distributed.rank() == 0:
            progress(record)

    engine.fit(run.checkpoint, identity, on_epoch)

    logits = predict(method, evaluate["test"][0]).numpy()
    run.store_predictions(logits, data.test.labels, data.counts)
    run.store_weights(method.state_dict())
    run.update(
        state="finished",
        reason="",
        finished=_now(),
        seconds=round(sum(record["seconds"] for record in engine.history), 1),
        compile_seconds=round(sum(record.get("compile_seconds", 0) for record in engine.history), 1),
        trained_images=round(sum(record["seconds"] * record["images_per_second"] for record in engine.history)),
        parameters=used_parameters(method, torch.zeros(1, *evaluate["test"][0].shape[1:], device=device)),
        metrics=report_card(logits, data.test.labels, data.counts),
        best_epochs=best_epochs(engine.history),
    )


def build(name: str, own: dict[str, object], recipe: Recipe, data: Prepared) -> Method:
    """The untrained method, on the CPU.

    Raises:
        InputError: a hyper-parameter is out of range, or ImageNet weights cannot be had.
    """
    network = _network(asdict(recipe), data.description())
    if recipe.pretrained:
        load_pretrained(network, recipe.backbone)
    return methods.make(name, network, torch.from_numpy(data.counts), **own)


def load(run: Run) -> Method:
    """The trained method of a finished run, on the CPU, in evaluation mode.

    Raises:
        InputError: the run is not finished, or its weights are damaged.
    """
    info = run.info
    if run.state != "finished":
        raise InputError(f"Run {run.id} is {run.state}: finish it before its weights can be loaded.")
    network, counts = _network(info["recipe"], info["data"]), torch.tensor(info["data"]["counts"])
    method = methods.make(info["experiment"]["method"], network, counts, **info["hyperparameters"])
    runs.fill(method, runs.read_weights(run), run)
    return method.eval()


def _network(recipe: dict, data: dict) -> Network:
    """The untrained network of a recipe for these data."""
    mean, std = (data["mean"], data["std"]) if recipe.get("normalize", True) else ([0.0] * 3, [1.0] * 3)
    frozen = recipe.get("frozen", False)
    return models.make(recipe["backbone"], len(data["class_names"]), tuple(mean), tuple(std), frozen)


def best_epochs(history: list[dict]) -> dict[str, dict]:
    """The best epoch by each measured split. Best on test is what the papers report; it is no honest choice."""
    best = {}
    for key in ("validation_accuracy", "test_accuracy"):
        measured = [record for record in history if key in record]
        if measured:
            top = max(measured, key=lambda record: record[key])
            best[key] = {"epoch": top["epoch"], "test_accuracy": top["test_accuracy"], key: top[key]}
    return best


def describe(
    experiment: Experiment, recipe: Recipe, own: dict[str, object], data: Prepared, processes: int = 1
) -> dict[str, object]:
    """All that decides the result of a run: two runs with equal descriptions are one run."""
    return {
        **({"processes": processes} if processes > 1 else {}),
        "ltlib": ltlib.__version__,
        "method": experiment.method,
        "dataset": experiment.dataset,
        "imbalance_type": experiment.imbalance_type,
        "imbalance_factor": experiment.imbalance_factor,
        "seed": experiment.seed,
        **{name: value for name, value in asdict(recipe).items() if name not in DECIDES_NOTHING},
        **{f"{experiment.method}.{name}": value for name, value in own.items()},
        "data": data.fingerprint,
    }


def run_id(experiment: Experiment, identity: dict[str, object]) -> str:
    """A readable name, made unique by a hash of the description."""
    natural = experiment.imbalance_type == "natural"
    tail = (
        "natural"
        if natural
        else f"{'step' if experiment.imbalance_type == 'step' else 'if'}{experiment.imbalance_factor:g}"
    )
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    return f"{experiment.method}-{experiment.dataset}-{tail}-{experiment.profile}-s{experiment.seed}-{digest}"


def about(
    run: Run, experiment: Experiment, recipe: Recipe, own: dict[str, object], data: Prepared, device: torch.device
) -> dict[str, object]:
    """What ``run.json`` says from the start."""
    return {
        "id": run.id,
        "state": "running",
        "command": command(experiment),
        "experiment": asdict(experiment),
        "recipe": asdict(recipe),
        "hyperparameters": own,
        "data": data.description(),
        "versions": versions(),
        "revision": revision(),
        "hardware": hardware(device),
        "processes": distributed.world_size(),
        "started": run.info.get("started") or _now(),
    }


def command(experiment: Experiment, verb: str = "train") -> str:
    """The command line that runs this experiment, naming what differs from the defaults."""
    default = asdict(Experiment())
    flags = [
        f"--{name.replace('_', '-')} {shlex.quote(f'{value:g}' if isinstance(value, float) else str(value))}"
        for name, value in asdict(experiment).items()
        if value != default[name] or name in ("method", "dataset")
    ]
    return " ".join(["python -m ltlib", verb, *flags])


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    packages = ("torch", "torchvision", "numpy", "pillow", "matplotlib")
    return {"ltlib": ltlib.__version__, "python": platform.python_version()} | {p: version(p) for p in packages}


def revision() -> str:
    """The git commit of the checkout, with ``+changes`` if it has any; empty where there is no checkout."""
    git = ["git", "-C", str(paths.project())]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "ltlib"], capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit + ("+changes" if changed.strip() else "")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
