"""What would fail only during the training is tried before it: nothing is written for an experiment that cannot run."""

from __future__ import annotations

import numpy as np
import torch

from ltlib.data.loader import Loader
from ltlib.errors import InputError
from ltlib.experiments.prepare import Prepared
from ltlib.experiments.recipe import Recipe
from ltlib.methods import Method
from ltlib.methods.method import Stage
from ltlib.models import FEATURES
from ltlib.models.features import LITE
from ltlib.training.device import choose_device

LONGEST = 1_000_000  # epochs of all stages


def check_kind(recipe: Recipe, data: Prepared) -> None:
    """Raise unless the network is one for these data: features of a frozen network, or images.

    Raises:
        InputError: a network for images shall see features, or the other way round.
    """
    if data.train.is_features == (recipe.backbone == FEATURES):
        return
    if data.train.is_features:
        raise InputError(f"{data.name} holds features, not images: leave backbone={recipe.backbone} out.")
    raise InputError(
        f"backbone={FEATURES} is for features and {data.name} holds images: choose another backbone, or give features "
        f"too, such as features={LITE}."
    )


def check(made: Method, stages: tuple[Stage, ...], recipe: Recipe, data: Prepared, processes: int) -> None:
    """Raise unless the recipe can be trained on this machine.

    Args:
        made: the method, which is spoilt by what is tried here.
        stages: of its training.
        recipe, data: of the experiment.
        processes: that train it together.

    Raises:
        InputError: it asks for what a CPU has not, for too many epochs, for attacks on features, or a batch would be
            too small for BatchNorm.
    """
    if data.train.is_features and made.held_out_attack():
        raise InputError(
            f"{data.name} holds features, and an attack changes the pixels of images: choose a method that trains "
            f"without attacks, or a data set of images."
        )
    if recipe.sync_bn and choose_device().type != "cuda":
        raise InputError("sync_bn=true needs GPUs, because torch has no such layer for CPUs: leave it out.")
    epochs = sum(stage.epochs for stage in stages)
    if epochs > LONGEST:
        raise InputError(f"The stages have {epochs:,} epochs together; at most {LONGEST:,} are allowed.")
    for stage in stages:
        if _smallest_share(stage, recipe.batch_size, len(data.train), processes) == 1:
            _try_one_image(made, stage, recipe, data, processes)


def _smallest_share(stage: Stage, batch_size: int, images: int, processes: int) -> int:
    """Images in the smallest part of a batch that one process gets. A process that comes too late gets one."""
    last = (images % batch_size if stage.length == "all" else 0) or batch_size
    return max(min(last, batch_size) // processes, 1)


def _try_one_image(made: Method, stage: Stage, recipe: Recipe, data: Prepared, processes: int) -> None:
    """Compute the loss of one image, which BatchNorm refuses where a layer sees one value for each channel.

    Raises:
        InputError: it refuses.
    """
    one = data.train.take(np.arange(1))
    pixels, labels = torch.from_numpy(one.pixels[:]), torch.from_numpy(one.labels)
    how = {"sampler": "instance_balanced", "batch_size": 1, "augmentation": recipe.augmentation}
    made.train()
    made.begin(stage)
    try:
        made.loss(next(iter(Loader(pixels, labels, epochs=1, **how).epoch(0))))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        where = f" on one of {processes} processes" if processes > 1 else ""
        raise InputError(
            f"With {len(data.train):,} training images and batch_size={recipe.batch_size} a batch has only one image"
            f"{where}, of which BatchNorm cannot compute statistics: choose another batch_size."
        ) from error


def notes(data: Prepared) -> list[str]:
    """What a reader should know of the data before the training; empty if there is nothing."""
    if data.validation is None:
        return []
    without = int((data.validation.counts(data.num_classes) == 0).sum())
    if not without:
        return []
    return [f"note         no validation image of {without} of {data.num_classes} classes, which are too small for it"]
