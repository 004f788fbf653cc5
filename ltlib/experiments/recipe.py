"""The dial for size: every number that an experiment resolves to is in the tables below.

``settle`` starts from what the method's authors published, adds the profile, what the data set asks for, then the
user's overrides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from ltlib.data.augment import AUGMENTATIONS
from ltlib.data.datasets import DATASETS
from ltlib.errors import InputError, check_choice, nearest
from ltlib.experiments.experiment import Experiment, read
from ltlib.methods import METHODS
from ltlib.methods.method import hyperparameters
from ltlib.models import BACKBONES, FEATURES
from ltlib.models.backbone import TRAINABLE
from ltlib.models.pretrained import LITE, PRETRAINED
from ltlib.training.best import KEEP
from ltlib.training.device import PRECISIONS
from ltlib.training.engine import Options
from ltlib.training.schedule import SCHEDULES


@dataclass(frozen=True)
class Recipe(Options):
    """Everything a run depends on besides its method, data and seed: the training options, and these sizes.

    Attributes:
        backbone: a key of ``ltlib.models.BACKBONES``.
        pretrained: start the backbone from ImageNet weights: of torchvision, downloaded once (240 MB the largest), or
            of the extra ``features`` for ``efficientnet_lite0``.
        frozen: leave the backbone at those weights, and train only its last block, from scratch, and the classifier.
        trainable: what learns of a pretrained backbone besides the classifier: ``everything``; ``weights``, which keeps
            the statistics of BatchNorm; ``norm``, only scales and shifts of its normalisation; ``classifier``, nothing.
        network_side: side in pixels to which the network resizes the images; 0 leaves them as they are.
        num_classes: classes of ``glyphs``; other data sets bring their own.
        image_size: side in pixels that the network sees, of ``glyphs``, or to resize images from files to; 0 keeps
            what is there. Where crops are resized (``resized_crop_flip``), images are stored 8/7 as large.
        max_classes: take only so many classes, evenly spread from the first to the last; 0 takes all.
        train_list, test_list: list files of ``list`` and of the sets made of lists; see ``ltlib.data.lists``.
        n_max: images of the largest class; 0 takes as many as the data allow.
        test_per_class: test images of each class; 0 takes all (``glyphs`` draws 100).
        validation: share of the training images held out to choose on; 0 holds out none.
        normalize: let the network subtract the mean and divide by the deviation; the adversarial papers do not.
        subset_seed: of the selection of the long-tailed subset; 0 gives the published one.
        features: a frozen pretrained network, whose features replace the images: ``efficientnet_lite0``, a classifier
            of torchvision, or a vision transformer of DINO or CLIP such as ``vit_s_16`` or ``clip_vit_b_32``; empty
            trains on the images. Only a classifier is trained then.
        features_file: a checkpoint of your own for that network; empty takes its ImageNet weights.
        features_side: side in pixels to which images are resized for that network; 0 takes that of its own training.
    """

    backbone: str = "resnet32"
    pretrained: bool = False
    frozen: bool = False
    trainable: str = "everything"
    network_side: int = 0
    num_classes: int = 10
    image_size: int = 0
    max_classes: int = 0
    train_list: str = ""
    test_list: str = ""
    n_max: int = 0
    test_per_class: int = 0
    validation: float = 0.0
    normalize: bool = True
    subset_seed: int = 0
    features: str = ""
    features_file: str = ""
    features_side: int = 0

    def __post_init__(self) -> None:
        check_choice("backbone", self.backbone, (*BACKBONES, FEATURES))
        if self.features and self.backbone != FEATURES:
            raise InputError(
                f"features={self.features} trains a classifier on features, so backbone={self.backbone} has no place: "
                f"leave one of them out."
            )
        if self.features_file and not self.features:
            raise InputError("features_file holds weights for a frozen network: give its name too, features=resnet50.")
        known = (*PRETRAINED, LITE)
        if self.pretrained and self.backbone not in known:
            raise InputError(
                f"There are no ImageNet weights for backbone {self.backbone!r}: choose one of {', '.join(known)}, "
                f"or pretrained=false, frozen=false."
            )
        check_choice("trainable", self.trainable, TRAINABLE)
        if self.trainable != "everything" and (self.frozen or not self.pretrained):
            raise InputError(
                f"trainable={self.trainable} keeps a part of a pretrained backbone: use it with pretrained=true and "
                f"without frozen=true."
            )
        if self.network_side and self.backbone == FEATURES:
            raise InputError("network_side resizes images, and features are none: leave it out.")
        if self.frozen and not self.pretrained:
            raise InputError("frozen=true would keep a backbone of random weights: use it with pretrained=true.")
        if self.max_classes == 1:
            raise InputError("max_classes must be 0 (all) or at least 2; got 1.")
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("augmentation", self.augmentation, AUGMENTATIONS)
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("keep", self.keep, KEEP)
        for name, low, high in RANGES:
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                one_sided = f"at most {high:,}" if value > high else f"at least {low}"
                allowed = f"from {low} to {high}" if high <= 1024 else one_sided
                raise InputError(f"{name} must be {allowed}; got {value}.")
        if self.keep == "best_on_validation" and not self.validation:
            raise InputError(
                "keep=best_on_validation chooses the epoch on held-out images, and validation=0 holds out none: give a "
                "share of the training images too, such as validation=0.1."
            )


RANGES = (
    ("epochs", 1, 1_000_000),
    ("batch_size", 2, 100_000),
    ("lr", 0, math.inf),
    ("momentum", 0, 1),
    ("sam_radius", 0, math.inf),
    ("weight_decay", 0, math.inf),
    ("evaluate_every", 1, 1_000_000),
    ("keep_every", 0, 1_000_000),
    ("num_classes", 2, 100_000),
    ("image_size", 0, 1024),
    ("max_classes", 0, 100_000),
    ("n_max", 0, 1_000_000_000),
    ("test_per_class", 0, 1_000_000_000),
    ("validation", 0, 0.5),
    ("subset_seed", 0, 2**32 - 1),
    ("features_side", 0, 1024),
    ("network_side", 0, 1024),
)

# A name that is neither of the recipe nor of the method at hand is passed over: stage2_epochs is for those with two.
Values = dict[str, object]  # name -> value, of the recipe or of a method
PROFILE: dict[str, Values] = {
    "smoke": {
        "backbone": "resnet8",
        "epochs": 2,
        "n_max": 100,
        "test_per_class": 20,
        "precision": "float32",
        "stage2_epochs": 1,
    },
    "lesson": {"backbone": "resnet8", "epochs": 40, "n_max": 500, "evaluate_every": 5, "precision": "float32"},
    "paper": {},
}

# Adversarial training in small. The papers' rate of 0.1 leaves small networks at chance when they are attacked in full
# from the start, so the attack grows and the rate is lower; small batches give a short run steps enough; a wide network
# costs no more than a narrow one and learns what that cannot. The rate of the guided methods suits ten letters, and no
# other data are promised anything: lesson 06 shows the collapse, and letters on which 0.1 is better.
ROBUST: Values = {
    "backbone": "wrn10_2",
    "natural": "wrn10_2",
    "epochs": 30,
    "n_max": 300,
    "batch_size": 32,
    "lr": 0.05,
    "schedule": "cosine",
    "precision": "auto",
    "attack_steps": 3,
    "step_size": 0.015,
    "ramp": 10.0,
}
PROFILE_OF_METHOD: dict[tuple[str, str], Values] = {
    **{("lesson", method): ROBUST for method in ("at", "at_bsl", "alp", "trades", "robal", "dkl")},
    **{("lesson", method): ROBUST | {"lr": 0.02} for method in ("bgat", "lbgat")},
    # the loss is a sum over three experts, and a short run has no time to recover
    **{("lesson", method): {"lr": 0.03} for method in ("ride", "ride_reslt")},
    **{("smoke", method): {"attack_steps": 1, "natural": "resnet8"} for method in ("bgat", "lbgat")},
    **{("smoke", method): {"attack_steps": 1} for method in ("at", "at_bsl", "alp", "trades", "robal", "dkl")},
}

# A slice of the large sets from which two cores learn in two minutes: few classes, seen small, by a network of the
# papers' family that starts from nothing. The fixed sets of ResLT are for all classes, so it goes by their counts.
SLICE: Values = {
    "backbone": "resnet10",
    "pretrained": False,
    "frozen": False,
    "image_size": 64,
    "max_classes": 20,
    "batch_size": 64,
    "groups": "counts",
}
TINY: Values = {"image_size": 32, "max_classes": 20}
LARGE_SETS = ("imagenet_lt", "places_lt", "inaturalist2018")
PROFILE_OF_DATASET: dict[tuple[str, str], Values] = {
    **{("lesson", name): SLICE | {"epochs": 15, "n_max": 100, "test_per_class": 20} for name in LARGE_SETS},
    **{("smoke", name): SLICE | {"image_size": 32, "max_classes": 10, "test_per_class": 5} for name in LARGE_SETS},
    ("lesson", "tiny_imagenet"): TINY | {"n_max": 200, "test_per_class": 20},
    ("smoke", "tiny_imagenet"): TINY,
}

# A mirrored letter or digit may be another one, so these are not flipped.
UNMIRRORED: Values = {"augmentation": "crop"}

# A classifier on frozen features: the recipe of LIFT (its configuration: 10 epochs, rate 0.01, weight decay 5e-4), with
# 20 epochs because nothing else learns. Features are seen as they were computed.
ON_FEATURES: Values = {
    "backbone": FEATURES,
    "augmentation": "none",
    "epochs": 20,
    "lr": 0.01,
    "weight_decay": 5e-4,
    "schedule": "cosine",
    "precision": "float32",
}

# What suits small, easy images and a short training, such as the letters and digits of the lessons. There the papers'
# smoothing makes the network under-confident, and their mixup leaves it too little time to learn; lesson 03 measures
# both. At LDAM's scale of 30 a short run is hardly better than chance. The second stages of label over-smoothing and
# weight balancing have their authors' rates, 0.0005 and 0.01, after a first stage at 0.1. Photographs are not easy: on
# 1,236 images of CIFAR-10 the published numbers of MiSLAS give an ECE of 2 to 4 %
# (data/reference_runs/ladder_cifar10_jpeg).
SMALL_SIDE = 28  # pixels: scanned characters, but not CIFAR
SMALL_BUDGET = 1_000_000  # training images times epochs; the recipe of CIFAR-10-LT at factor 100 has 2.5 million
SMALL: dict[str, Values] = {
    "mixup": {"alpha": 0.2},
    "ldam": {"scale": 10.0},
    "ride": {"scale": 10.0},
    "label_over_smooth": {"lr_factor": 0.005},
    "weight_balancing": {"lr_factor": 0.1},
    "mislas": {"mixup_alpha": 0.2, "smooth_head": 0.1, "smooth_tail": 0.0, "lr_factor": 0.5},
}


def is_small(images: int, side: int, epochs: int) -> bool:
    """Whether a training gets the numbers of ``SMALL``.

    Args:
        images: in the training set.
        side: of an image in pixels; 1 is that of features, which are not small images.
        epochs: of the recipe.
    """
    return 1 < side <= SMALL_SIDE and images * epochs <= SMALL_BUDGET


class Settings(NamedTuple):
    """What an experiment resolves to.

    Attributes:
        recipe: everything besides the method, the data and the seed.
        own: the hyper-parameters of the method.
        sources: for each name of both, where its value comes from: ``default``, ``published`` (by the method's authors
            for these data), ``profile``, ``data set``, ``small data`` or ``override``.
    """

    recipe: Recipe
    own: dict[str, object]
    sources: dict[str, str]


def settle(experiment: Experiment, small: bool = False) -> Settings:
    """Resolve an experiment, and say where each value comes from.

    Args:
        experiment: to resolve.
        small: whether its data are small, see :func:`is_small`. This changes hyper-parameters only, so the recipe can
            be resolved before the data are known.

    Raises:
        InputError: an override names nothing, or a value is not allowed.
    """
    own, recipe = hyperparameters(METHODS[experiment.method]), asdict(Recipe())
    sources = dict.fromkeys([*recipe, *own], "default")
    for source, values in _layers(experiment, small).items():
        for name, value in values.items():
            known = own if name in own else recipe
            if name in known:
                # Only what the user gives is a text where a number is meant.
                known[name] = read(name, value, known[name]) if source == "override" else value
                sources[name] = source
            elif source == "override":
                raise InputError(
                    f"overrides name {name!r}, which {experiment.method} does not have.{nearest(name, sources)}"
                )
    for name, value in own.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{name} must be a finite number; got {value}.")
    return Settings(Recipe(**recipe), own, sources)


def _layers(experiment: Experiment, small: bool) -> dict[str, Mapping[str, object]]:
    """What each source sets. A later one replaces what an earlier one says."""
    method, profile, dataset = experiment.method, experiment.profile, experiment.dataset
    overrides = parse_overrides(experiment.overrides)
    of_profile = PROFILE[profile] | PROFILE_OF_METHOD.get((profile, method), {})
    of_data = PROFILE_OF_DATASET.get((profile, dataset), {}) | ({} if DATASETS[dataset].mirror else UNMIRRORED)
    if DATASETS[dataset].features or overrides.get("features"):
        of_data |= ON_FEATURES | ({"epochs": 2} if profile == "smoke" else {})
    backbone = overrides.get("backbone") or (of_profile | of_data).get("backbone", "")
    return {
        "published": METHODS[method].published(dataset, experiment.imbalance_factor, str(backbone)),
        "profile": of_profile,
        "data set": of_data,
        "small data": SMALL.get(method, {}) if small else {},
        "override": overrides,
    }


def resolve(experiment: Experiment) -> tuple[Recipe, dict[str, object]]:
    """The recipe of an experiment and the hyper-parameters of its method, as far as they do not depend on its images.

    A plan (``ltlib.experiments.plan.plan``) has those that will be used.

    Raises:
        InputError: an override names nothing, or a value is not allowed.
    """
    recipe, own, _ = settle(experiment)
    return recipe, own


def parse_overrides(text: str) -> dict[str, str]:
    """``"epochs=5, lr=0.05"`` as ``{"epochs": "5", "lr": "0.05"}``.

    Raises:
        InputError: an item is not ``name=value``, or a name comes twice.
    """
    found: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not (name and equals and value):
            raise InputError(f"overrides must read 'name=value, name=value'; {item!r} does not.")
        if name in found:
            raise InputError(f"overrides name {name!r} twice; give it once.")
        found[name] = value
    return found


def with_method(experiment: Experiment, method: str) -> Experiment:
    """The same experiment with another method, keeping the overrides that every method understands."""
    if method == experiment.method:
        return experiment
    shared = Recipe.__dataclass_fields__
    kept = [f"{name}={value}" for name, value in parse_overrides(experiment.overrides).items() if name in shared]
    return replace(experiment, method=method, overrides=", ".join(kept))
