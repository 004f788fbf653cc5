"""What a run takes from a finished one: the representation for a second stage, or the network that guides it.

Train a representation once, compare classifiers on it. The generators continue from where stage 1 left them, so the
result is bit for bit that of training both stages in one run (on the same machine, with the same seed).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import torch

from ltlib.data.augment import to_float
from ltlib.errors import InputError
from ltlib.experiments import runs
from ltlib.experiments.prepare import Prepared
from ltlib.experiments.recipe import Recipe
from ltlib.experiments.runs import Run
from ltlib.methods import METHODS, Method
from ltlib.training import checkpoint
from ltlib.training.device import set_generator_states


class Source(NamedTuple):
    """A finished run that another one starts from.

    Attributes:
        run: the finished run.
        settings: hyper-parameters of the new run that follow from it, among them the whole id of ``run``.
    """

    run: Run
    settings: dict[str, object]


def stage1_source(
    own: dict[str, object], given: Collection[str], recipe: Recipe, data: Prepared, runs_dir: Path
) -> Source | None:
    """The run that the hyper-parameter ``stage1`` names, after checking that it fits; None if it names none.

    Args:
        own: the hyper-parameters of the method of two stages.
        given: names that the user has set.
        recipe, data: of the new run.
        runs_dir: where runs are looked for.

    Raises:
        InputError: there is no such run, it is not finished, or it has other data, another network or two stages.
    """
    if not own.get("stage1"):
        return None
    run = runs.find(str(own["stage1"]), runs_dir)
    info, name = run.info, f"stage1={run.id}"
    _check_usable(run, name, data)
    if "stage1" in info["hyperparameters"]:
        raise InputError(f"{name} has two stages itself: name a run of one stage, such as mixup or cross_entropy.")
    if info["recipe"]["backbone"] != recipe.backbone:
        raise InputError(
            f"{name} has the backbone {info['recipe']['backbone']}, not {recipe.backbone}: give both the same."
        )
    if info["recipe"].get("frozen", False) != recipe.frozen:
        raise InputError(f"{name} and this experiment differ in frozen (true or false): give both the same.")
    if not run.checkpoint.exists():
        raise InputError(f"{name} has lost its checkpoint {run.checkpoint}: train it again.")
    trained_with = _stage1_loss(info["experiment"]["method"], info["hyperparameters"])
    for key, value in trained_with.items():
        if key in given and own[key] != value:
            raise InputError(f"{name} was trained with {key}={value}; leave {key}={own[key]} out.")
    return Source(run, trained_with | {"stage1": run.id})


def _stage1_loss(method: str, hyperparameters: dict[str, object]) -> dict[str, object]:
    """The loss of a run of one stage, in the words of a method of two."""
    return {
        "mixup_alpha": hyperparameters.get("alpha" if method == "mixup" else "mixup_alpha", 0.0),
        "balanced": method == "balanced_softmax" or hyperparameters.get("balanced", False),
    }


def take_over(run: Run, method: Method, device: torch.device) -> None:
    """Give ``method`` the network of ``run`` as it was after its last epoch, and go on with its random numbers.

    Raises:
        InputError: the checkpoint is damaged, or was made on another kind of device.
    """
    state = checkpoint.load(run.checkpoint)
    source = METHODS[run.info["experiment"]["method"]]
    method.network.load_state_dict(source.plain_weights(state["method"]))
    set_generator_states(state["generators"], device)


def natural_source(own: dict[str, object], data: Prepared, runs_dir: Path) -> Source | None:
    """The run that the hyper-parameter ``natural_run`` names; None if it names none.

    Raises:
        InputError: there is no such run, it is not finished, or it has other data.
    """
    if not own.get("natural_run"):
        return None
    run = runs.find(str(own["natural_run"]), runs_dir)
    _check_usable(run, f"natural_run={run.id}", data)
    return Source(run, {"natural_run": run.id, "natural": run.info["recipe"]["backbone"]})


def guide(run: Run, method: Method, data: Prepared) -> None:
    """Give ``method.natural`` the weights of ``run``.

    Raises:
        InputError: they are missing or damaged, or the network alone does not give the logits of the run, because its
            method changes them afterwards.
    """
    source = METHODS[run.info["experiment"]["method"]]
    runs.fill(method.natural, source.plain_weights(runs.read_weights(run)), run)
    images = torch.from_numpy(data.test.pixels[:100]).to(next(method.natural.parameters()).device)
    known = run.predictions()["logits"][:100]
    with torch.inference_mode():
        found = method.natural.eval()(to_float(images)).float().cpu().numpy()
    if abs(found - known).max() > 0.01 * abs(known).max():  # well above what another device makes of the same weights
        raise InputError(
            f"natural_run={run.id} does not predict by its network alone: {run.info['experiment']['method']} changes "
            f"the logits afterwards. Name a run that does, such as balanced_softmax, crt, mislas or reslt."
        )


def _check_usable(run: Run, name: str, data: Prepared) -> None:
    info = run.info
    if run.state != "finished":
        raise InputError(f"{name} is {run.state}: finish it first with '{info['command']}'.")
    if info["data"]["fingerprint"] != data.fingerprint:
        raise InputError(
            f"{name} was trained on other images ({_about(info['data'])}) than this experiment asks for "
            f"({_about(data.description())}): give both the same dataset, imbalance and sizes."
        )


def _about(data: dict) -> str:
    return f"{data['name']}, {data['train_images']:,} images in {len(data['class_names'])} classes"
