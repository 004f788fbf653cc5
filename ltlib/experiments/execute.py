"""The single path from an experiment to a finished run. Start reading here."""

from __future__ import annotations

import contextlib
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch

import ltlib
from ltlib import distributed, methods, paths
from ltlib.data.stream import on_device
from ltlib.errors import InputError
from ltlib.evaluation.evaluate import report_card, used_parameters
from ltlib.experiments import checks, reuse, runs
from ltlib.experiments.experiment import Experiment, command
from ltlib.experiments.plan import Plan, network, plan
from ltlib.experiments.runs import Run
from ltlib.methods import Method
from ltlib.methods.method import hyperparameters
from ltlib.training.device import (
    choose_device,
    hardware,
    keep_freed_memory,
    reproducible,
    resolve_precision,
    use_available_cores,
)
from ltlib.training.engine import Engine
from ltlib.training.progress import Progress
from ltlib.training.shapes import check_single_images

Watch = Callable[[Run, dict], None]  # receives the run and the record of each epoch


def execute(
    experiment: Experiment, runs_dir: Path | None = None, *, quiet: bool = False, watch: Watch | None = None
) -> Run:
    """Train the experiment, or resume it, or reload it if it is finished.

    Everything is checked before anything is written.

    Args:
        experiment: what to train.
        runs_dir: folder of the run folders; default ``LTLIB_RUNS``.
        quiet: print nothing.
        watch: called after every epoch that is trained now.

    Raises:
        InputError: something the user gave cannot be used.
        TrainingStopped: a loss or gradient was not finite.
    """
    device = choose_device()
    use_available_cores()
    if device.type == "cpu":
        keep_freed_memory()
    with distributed.process_group(device):
        with distributed.first_before_the_others():
            planned = plan(experiment, processes=distributed.world_size(), runs_dir=runs_dir)
        resolve_precision(planned.recipe.precision, device)  # refuses what the device does not have
        run = planned.run
        if distributed.from_first(lambda: run.state) == "finished":
            if distributed.rank() == 0 and not quiet:
                print(f"{run.id} is finished: its results are reloaded from {run.folder}")
            return run

        if distributed.rank() == 0 and not quiet:
            print("".join(f"{note}\n" for note in checks.notes(planned.data)), end="")
        with reproducible(experiment.seed, device, planned.recipe.deterministic):
            method = _starting_point(planned, device)
            images, side = len(planned.data.train), planned.data.test.pixels.shape[-1]
            batch, processes = planned.recipe.batch_size, planned.processes
            if not planned.data.train.is_features:  # no BatchNorm sees those
                check_single_images(method, planned.stages, images, side, batch, processes)
            with run.locked() if distributed.rank() == 0 else contextlib.nullcontext():
                run.update(**about(planned, device))
                try:
                    with _memory_named(planned):
                        _train(run, method, planned, device, quiet, watch)
                except BaseException as error:
                    failed = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
                    run.update(state=failed, reason=str(error) or type(error).__name__)
                    raise
    return run


def _starting_point(planned: Plan, device: torch.device) -> Method:
    """The method on its device, with what it takes from finished runs.

    Raises:
        InputError: the weights of such a run are damaged, or do not fit.
    """
    method = planned.build().to(device).to(memory_format=torch.channels_last)
    if planned.first:
        reuse.take_over(planned.first, method, device)
    if planned.natural:
        reuse.guide(planned.natural, method, planned.data)
    return method


def _train(run: Run, method: Method, planned: Plan, device: torch.device, quiet: bool, watch: Watch | None) -> None:
    """Train (or resume) and write the results into the run folder."""
    recipe, data, identity = planned.recipe, planned.data, planned.identity()
    evaluate = {"test": on_device(data.test, device)}
    if data.validation:
        evaluate["validation"] = on_device(data.validation, device)
    engine = Engine(method, on_device(data.train, device), recipe, evaluate)
    engine.resume(run.checkpoint, identity)
    run.store_metrics(engine.history)  # a kill may have left it a line behind
    shown = distributed.rank() == 0 and not quiet
    name, done = run.info["experiment"]["method"], len(engine.history)
    progress = Progress(name, engine.total_epochs, done=done) if shown else None
    run.update(precision=engine.precision, tf32=False, captured=engine.capture)

    def keep() -> None:
        done = len(engine.history)
        if recipe.keep_every and done and done % recipe.keep_every == 0:
            run.keep_weights(done, engine.method.state_dict())

    keep()  # a kill may have come between the checkpoint and the weights

    def on_epoch(record: dict) -> None:
        keep()
        run.append_metrics(record)
        if progress:
            progress(record)
        if distributed.rank() == 0 and watch:
            watch(run, record)

    engine.fit(run.checkpoint, identity, on_epoch)
    reported = engine.take_reported()

    logits = engine.predict(evaluate["test"][0]).numpy()
    with engine.eager():
        parameters = used_parameters(method, torch.zeros(1, *evaluate["test"][0].shape[1:], device=device))
    run.store_predictions(logits, data.test.labels, data.counts)
    run.store_weights(method.state_dict())
    run.update(
        state="finished",
        reason="",
        finished=_now(),
        seconds=round(sum(record["seconds"] for record in engine.history), 1),
        compile_seconds=round(sum(record.get("compile_seconds", 0) for record in engine.history), 1),
        trained_images=round(sum(record["seconds"] * record["images_per_second"] for record in engine.history)),
        parameters=parameters,
        metrics=report_card(logits, data.test.labels, data.counts),
        best_epochs=best_epochs(engine.history),
        reported_epoch=reported,
    )


@contextlib.contextmanager
def _memory_named(planned: Plan) -> Iterator[None]:
    """Make one sentence of an error that says that the memory is full.

    Raises:
        InputError: it was.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # torch has a class of its own for a GPU that is full, but not for a CPU.
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        recipe, side = planned.recipe, planned.data.test.pixels.shape[-1]
        said = str(error).partition(". ")[0] or "no more could be had"
        raise InputError(
            f"There is not enough memory for batch_size={recipe.batch_size} with {recipe.backbone} on images of "
            f"{side}x{side} pixels ({said}): give a smaller batch_size, which makes another run."
        ) from error


def load(run: Run) -> Method:
    """The trained method of a finished run, on the CPU, in evaluation mode.

    Raises:
        InputError: the run is not finished, or its weights are damaged.
    """
    info = run.info
    if run.state != "finished":
        raise InputError(f"Run {run.id} is {run.state}: finish it before its weights can be loaded.")
    method = untrained(info["experiment"]["method"], info["recipe"], info["hyperparameters"], info["data"])
    runs.fill(method, runs.read_weights(run), run)
    return method.eval()


def untrained(name: str, recipe: dict, settings: dict, data: dict) -> Method:
    """The method of a run before its training, on the CPU.

    Args:
        name: of the method.
        recipe, settings, data: the recipe, the method's own settings and the data, as ``run.json`` and records hold
            them.
    """
    known = hyperparameters(methods.METHODS[name])  # an older run can have a setting that is no longer there
    own = {setting: value for setting, value in settings.items() if setting in known}
    return methods.make(name, network(name, recipe, data), torch.tensor(data["counts"]), **own)


def best_epochs(history: list[dict]) -> dict[str, dict]:
    """The best epoch by each measured split. Best on test is what the papers report; it is no honest choice."""
    best = {}
    for key in ("validation_accuracy", "validation_robust_accuracy", "test_accuracy"):
        measured = [record for record in history if key in record]
        if measured:
            top = max(measured, key=lambda record: record[key])
            best[key] = {"epoch": top["epoch"], "test_accuracy": top["test_accuracy"], key: top[key]}
    return best


def about(planned: Plan, device: torch.device) -> dict[str, object]:
    """What ``run.json`` says from the start."""
    run = planned.run
    return {
        "id": run.id,
        "state": "running",
        "command": command(planned.experiment),
        "experiment": asdict(planned.experiment),
        "recipe": asdict(planned.recipe),
        "hyperparameters": planned.own,
        "data": planned.data.description(),
        "versions": versions(),
        "revision": revision(),
        "hardware": hardware(device),
        "processes": planned.processes,
        "started": run.info.get("started") or _now(),
    }


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    packages = ("torch", "torchvision", "numpy", "pillow", "matplotlib")
    return {"ltlib": ltlib.__version__, "python": platform.python_version()} | {p: version(p) for p in packages}


def revision() -> str:
    """The git commit of the checkout, with ``+changes`` if it has any; empty where there is no checkout."""
    if paths.checkout() is None:  # the working directory may be a repository of the user's own
        return ""
    git = ["git", "-C", str(paths.checkout())]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, encoding="utf-8", check=True
        ).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "ltlib"], capture_output=True, encoding="utf-8").stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit + ("+changes" if changed.strip() else "")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
