"""What an experiment costs before it is run: images, operations, storage. Arithmetic, not a measurement.

Operations are those of convolutions and matrix products, a multiplication and an addition counting as two
(:mod:`ltlib.models.cost`). A forward pass counts one, a backward pass one more by the images and one by the weights.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from ltlib import methods, models
from ltlib.data.augment import stored_side, whole_side
from ltlib.data.loader import LENGTHS
from ltlib.data.longtail import class_counts
from ltlib.data.presets import PRESETS
from ltlib.errors import InputError
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.recipe import Recipe, resolve
from ltlib.methods import Method
from ltlib.models.cost import cost

# classes, images of a class before the long tail, test images, side in pixels
BALANCED = {
    "cifar10": (10, 5000, 10_000, 32),
    "cifar100": (100, 500, 10_000, 32),
    "tiny_imagenet": (200, 500, 10_000, 64),
}


@dataclass(frozen=True)
class Price:
    """The cost of one experiment.

    Attributes:
        images: that go through training, over all stages.
        operations: of training; the looks at the test set come on top.
        storage: bytes of the images, as they rest in memory or on disk.
    """

    images: int
    operations: float
    storage: int

    def hours(self, operations_per_second: float, devices: int = 1) -> float:
        """Hours of training at a given speed of each device, which is an assumption unless it was measured."""
        return self.operations / operations_per_second / devices / 3600


def price(experiment: Experiment) -> Price:
    """The cost of an experiment by its recipe, on all images that its data set has. Nothing is loaded or trained.

    Raises:
        InputError: the size of the data set is not known beforehand.
    """
    recipe, own = resolve(experiment)
    counts, test_images, side = _sizes(experiment)
    return price_of(experiment.method, recipe, own, counts, test_images, recipe.image_size or side)


def bill(experiments: Sequence[Experiment]) -> str:
    """What several experiments cost together, in one line.

    Hours are given for a machine of 10^12 operations in a second, because the speed of yours is not known here.
    """
    known = []
    for experiment, seeds in Counter(replace(one, seed=0) for one in experiments).items():
        with contextlib.suppress(InputError):  # of a data set that has to be read first
            known += [price(experiment)] * seeds
    runs = f"to train: {len(experiments)} {'run' if len(experiments) == 1 else 'runs'}"
    if not known:
        return f"{runs}, whose cost depends on how many images there are"
    images, operations = sum(one.images for one in known), sum(one.operations for one in known)
    return (
        f"{runs}; {images / 1e6:.1f} million images, {operations / 1e15:.2f}e15 operations, "
        f"{sum(one.hours(1e12) for one in known):.1f} hours at 1e12 operations a second"
        + (f" (without {len(experiments) - len(known)} of unknown size)" if len(known) < len(experiments) else "")
    )


def price_of(
    name: str, recipe: Recipe, own: dict, counts: np.ndarray, test_images: int, side: int, channels: int = 3
) -> Price:
    """The cost of training a method on images that are known.

    Args:
        name: of the method.
        recipe, own: its recipe and hyper-parameters.
        counts: (K,) training images of each class.
        test_images: how many there are.
        side: of an image in pixels.
        channels: of an image; features of a frozen network have D.
    """
    method = _small(name, own, counts, recipe.backbone == models.FEATURES)
    backbones = {"network": recipe.backbone} | {name: str(own[name]) for name in ("natural",) if name in own}
    images, operations = 0, 0.0
    gradients = 2 if recipe.sam_radius else 1  # of each step
    for stage in method.stages(recipe.epochs, recipe.schedule):
        batches = LENGTHS[stage.length](int(counts.sum()), recipe.batch_size)
        seen = stage.epochs * (int(counts.sum()) if stage.length == "all" else batches * recipe.batch_size)
        images += seen
        for network, passes in method.passes(stage).items():
            if network == "network":
                seen_side = recipe.network_side or side
                one = cost(recipe.backbone, len(counts), seen_side, recipe.frozen, channels, recipe.trainable)
            else:
                one = cost(backbones[network], len(counts), side, channels=channels)
            operations += gradients * seen * (passes.forward * one.forward + passes.training * one.training)
    tested = stored_side(recipe.augmentation, side)
    trained = whole_side(recipe.augmentation, side) or tested
    bytes_each = 3 if channels == 3 else 2 * channels  # one byte a colour, two a feature
    storage = bytes_each * (int(counts.sum()) * trained**2 + test_images * tested**2)
    return Price(images, operations, storage)


def _small(name: str, own: dict, counts: np.ndarray, on_features: bool) -> Method:
    """The method on a small network: its stages do not depend on the size, but on whether a backbone learns."""
    small = {name: value for name, value in (("natural", "resnet8"), ("natural_run", "any")) if name in own}
    small |= {"text_features": "", "start": "random"} if own.get("text_features") else {}  # they fit the real size only
    network = models.make(models.FEATURES if on_features else "resnet8", len(counts), (0.0,) * 3, (1.0,) * 3)
    network.classifier = nn.Linear(max(network.classifier.in_features, len(counts)), len(counts))  # ETF needs as many
    return methods.make(name, network, torch.from_numpy(counts), **own | small)


def _sizes(experiment: Experiment) -> tuple[np.ndarray, int, int]:
    """Training images of each class, test images, side in pixels."""
    if experiment.dataset in PRESETS:
        preset = PRESETS[experiment.dataset]
        # the exact profile does not matter here, only its sum
        counts = np.full(preset.num_classes, preset.train_images // preset.num_classes)
        counts[: preset.train_images - counts.sum()] += 1
        return counts, preset.test_images, 224
    if experiment.dataset not in BALANCED:
        raise InputError(f"What {experiment.dataset} costs depends on how many images there are: known are {KNOWN}.")
    num_classes, n_max, test_images, side = BALANCED[experiment.dataset]
    return class_counts(num_classes, n_max, experiment.imbalance_factor), test_images, side


KNOWN = ", ".join((*BALANCED, *PRESETS))


# One row a table of the three papers, as they ran it.
PAPERS: dict[str, Experiment] = {
    "MiSLAS, CIFAR-10-LT, IF 100": Experiment("mislas", "cifar10", profile="paper"),
    "MiSLAS, CIFAR-100-LT, IF 100": Experiment("mislas", "cifar100", profile="paper"),
    "MiSLAS, ImageNet-LT, ResNet-50": Experiment("mislas", "imagenet_lt", profile="paper"),
    "MiSLAS, iNaturalist 2018, ResNet-50": Experiment("mislas", "inaturalist2018", profile="paper"),
    "MiSLAS, Places-LT, frozen ResNet-152": Experiment("mislas", "places_lt", profile="paper"),
    "ResLT, CIFAR-100-LT, IF 100": Experiment("reslt", "cifar100", profile="paper"),
    "ResLT, ImageNet-LT, ResNeXt-50": Experiment("reslt", "imagenet_lt", profile="paper"),
    "TRADES, CIFAR-10, WRN-34-10": Experiment("trades", "cifar10", 1.0, profile="paper"),
    "LBGAT, CIFAR-100, WRN-34-10": Experiment("lbgat", "cifar100", 1.0, profile="paper"),
    "LBGAT, Tiny ImageNet": Experiment("lbgat", "tiny_imagenet", 1.0, profile="paper"),
}
