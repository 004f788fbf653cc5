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


class Origin(NamedTuple):
    """A training that another one starts from.

    Attributes:
        run: its run.
        method: by name.
        recipe, own: its recipe, as ``run.json`` holds it, and the hyper-parameters of its method.
    """

    run: Run
    method: str
    recipe: dict
    own: dict[str, object]


def origin(name: str, value: str, data: Prepared, runs_dir: Path) -> Origin:
    """The finished run whose id is or begins with ``value``.

    Args:
        name: the hyper-parameter that names it.
        value: of that hyper-parameter.
        data: of the new run.
        runs_dir: where runs are looked for.

    Raises:
        InputError: there is no such run, it is not finished, or it has other data.
    """
    run = runs.find(value, runs_dir)
    info = run.info
    if run.state != "finished":
        raise InputError(f"{name}={run.id} is {run.state}: finish it first with '{info['command']}'.")
    if info["data"]["fingerprint"] != data.fingerprint:
        raise InputError(
            f"{name}={run.id} was trained on other images ({_about(info['data'])}) than this experiment asks for "
            f"({_about(data.description())}): give both the same dataset, imbalance and sizes."
        )
    return Origin(run, info["experiment"]["method"], info["recipe"], info["hyperparameters"])


def from_stage1(first: Origin, own: dict[str, object], given: Collection[str], recipe: Recipe) -> dict[str, object]:
    """The hyper-parameters of a second stage that follow from its first: the id of its run, and the loss that it used.

    Args:
        first: the first stage.
        own: the hyper-parameters of the method of two stages.
        given: names that the user has set.
        recipe: of the new run.

    Raises:
        InputError: the first stage has another network, two stages, or another loss than was asked for.
    """
    name = f"stage1={first.run.id}"
    if "stage1" in METHODS[first.method].sources:
        raise InputError(f"{name} has two stages itself: name a run of one stage, such as mixup or cross_entropy.")
    if first.recipe["backbone"] != recipe.backbone:
        raise InputError(
            f"{name} has the backbone {first.recipe['backbone']}, not {recipe.backbone}: give both the same."
        )
    if first.recipe.get("frozen", False) != recipe.frozen:
        raise InputError(f"{name} and this experiment differ in frozen (true or false): give both the same.")
    if first.recipe.get("network_side", 0) != recipe.network_side:
        raise InputError(f"{name} and this experiment differ in network_side: give both the same.")
    if first.run.state == "finished" and not first.run.checkpoint.exists():
        raise InputError(f"{name} has lost its checkpoint {first.run.checkpoint}: train it again.")
    trained_with = METHODS[first.method].as_stage1(first.own)
    for key, value in trained_with.items():
        if key in given and own[key] != value:
            raise InputError(f"{name} was trained with {key}={value}; leave {key}={own[key]} out.")
    return trained_with | {"stage1": first.run.id}


def take_over(run: Run, method: Method, device: torch.device) -> None:
    """Give ``method`` the network of ``run`` after the epoch that it reports, and continue with its random numbers.

    Raises:
        InputError: the checkpoint is damaged, or was made on another kind of device.
    """
    state = checkpoint.load(run.checkpoint)
    source = METHODS[run.info["experiment"]["method"]]
    weights = state["best"]["weights"] if "best" in state else state["method"]
    method.network.load_state_dict(source.plain_weights(weights))
    set_generator_states(state["generators"], device)


def guide(run: Run, method: Method, data: Prepared) -> None:
    """Give ``method.natural`` the weights of ``run``.

    Raises:
        InputError: they are missing or damaged, or the network alone does not give the logits of the run, because its
            method changes them afterwards.
    """
    source = METHODS[run.info["experiment"]["method"]]
    natural = method.get_submodule("natural")
    runs.fill(natural, source.plain_weights(runs.read_weights(run)), run)
    images = torch.from_numpy(data.test.pixels[:100]).to(next(natural.parameters()).device)
    known = run.predictions()["logits"][:100]
    with torch.inference_mode():
        found = natural.eval()(to_float(images)).float().cpu().numpy()
    if abs(found - known).max() > 0.01 * abs(known).max():  # well above what another device makes of the same weights
        raise InputError(
            f"natural_run={run.id} does not predict by its network alone: {run.info['experiment']['method']} changes "
            f"the logits afterwards. Name a run that does, such as balanced_softmax, crt, mislas or reslt."
        )


def _about(data: dict) -> str:
    return f"{data['name']}, {data['train_images']:,} images in {len(data['class_names'])} classes"
