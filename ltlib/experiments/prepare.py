"""From an experiment to the images it trains and is measured on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields, replace

import numpy as np

from ltlib.data import datasets, longtail
from ltlib.data.augment import seen_side, stored_side, whole_side
from ltlib.data.images import Dataset, Images, channel_statistics, feature_statistics
from ltlib.errors import InputError
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.recipe import Recipe, parse_overrides
from ltlib.models.features import extract, extractor
from ltlib.training.engine import Options


@dataclass(frozen=True, eq=False)
class Prepared:
    """The data of one experiment.

    Attributes:
        name: what results on these data must be called.
        class_names: K names, from head to tail.
        train, validation, test: the splits, in memory unless they are large (``images.RESTING_BYTES``);
            ``validation`` is None unless the recipe holds one out. Where training resizes crops, the images of
            ``validation`` and ``test`` are the middle of the stored ones, and smaller than those of ``train``.
        counts: (K,) training images of each class.
        mean, std: what the model normalises with.
        fingerprint: SHA-256 of exactly these images, in this order.
        subset_sha256: SHA-256 of the selected training indices (``longtail.checksum``); empty if natural.
        frozen: of features: the backbone, the SHA-256 of its weights and the side of the images; empty of images.
    """

    name: str
    class_names: tuple[str, ...]
    train: Images
    validation: Images | None
    test: Images
    counts: np.ndarray
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    subset_sha256: str
    frozen: dict[str, str | int] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def stored_as(self) -> str:
        """What training sees of an image before it augments it."""
        side = self.train.pixels.shape[-1]
        if self.train.is_features:
            return f"{self.train.pixels.shape[1]} features"
        return f"whole images, squeezed to {side}x{side}" if self.train.shapes is not None else f"{side}x{side}"

    def seen_as(self) -> str:
        """What the network sees of a test image."""
        shape = self.test.pixels.shape
        return f"{shape[1]} features" if self.test.is_features else f"{shape[3]}x{shape[3]} pixels"

    def description(self) -> dict:
        """JSON-ready facts for ``run.json``."""
        return {
            "name": self.name,
            "class_names": list(self.class_names),
            "counts": self.counts.tolist(),
            "train_images": len(self.train),
            "validation_images": len(self.validation) if self.validation else 0,
            "test_images": len(self.test),
            "image_size": self.test.pixels.shape[-1],
            "training_images": self.stored_as(),
            "mean": list(self.mean),
            "std": list(self.std),
            "fingerprint": self.fingerprint,
            "subset_sha256": self.subset_sha256,
            **({"frozen": self.frozen} if self.frozen else {}),
        }


def prepare(experiment: Experiment, recipe: Recipe) -> Prepared:
    """Load the data set, make it long-tailed by the field's recipe, hold out what the recipe asks for.

    Raises:
        InputError: the data are missing, damaged, or cannot be made as long-tailed as asked.
    """
    data = datasets.load(
        experiment.dataset,
        data_dir=experiment.data_dir,
        num_classes=recipe.num_classes,
        n_max=recipe.n_max or 500,
        test_per_class=recipe.test_per_class or 100,
        image_size=stored_side(recipe.augmentation, recipe.image_size),
        whole=whole_side(recipe.augmentation, recipe.image_size),
        train_list=recipe.train_list,
        test_list=recipe.test_list,
    )
    if experiment.imbalance_type == "natural":
        data = _head_first(data)
    if 0 < recipe.max_classes < data.num_classes:
        data = _some_classes(data, recipe.max_classes)
    chosen = _long_tail(experiment, recipe, data)
    kept, held_out = _hold_out(data, chosen, recipe.validation)
    train = data.train.take(kept)
    test = _first_of_each_class(data.test, recipe.test_per_class) if recipe.test_per_class else data.test
    seen = seen_side(recipe.augmentation, data.image_size)
    if seen != data.image_size:
        test, held_out = test.center_crop(seen), held_out.center_crop(seen) if held_out else None
    selection, frozen = f"{data.fingerprint} {longtail.checksum(kept)} {recipe.test_per_class}", data.frozen
    if recipe.features:
        train, held_out, test, frozen = _features(recipe, data, train, held_out, test)
        selection += f" {frozen}"
    official = chosen if data.official is None else data.official[chosen]
    mean, std = _statistics(data, train)
    return Prepared(
        name=data.name,
        class_names=data.class_names,
        train=train.resting(),
        validation=held_out.resting() if held_out else None,
        test=test.resting(),
        counts=train.counts(data.num_classes),
        mean=mean,
        std=std,
        fingerprint=hashlib.sha256(selection.encode()).hexdigest(),
        subset_sha256="" if experiment.imbalance_type == "natural" else longtail.checksum(official),
        frozen=frozen,
    )


def _hold_out(data: Dataset, chosen: np.ndarray, share: float) -> tuple[np.ndarray, Images | None]:
    """The training images that remain, by their places, and those held out; None where ``share`` is 0."""
    if not share:
        return chosen, None
    train, validation = longtail.holdout(data.train.labels[chosen], share)
    if not len(validation):
        raise InputError(
            f"validation={share:g} holds out no image, because the largest class has "
            f"{data.train.take(chosen).counts(data.num_classes).max()}: raise it, or leave it out."
        )
    held_out = data.train.take(chosen[validation])
    if none := int((held_out.counts(data.num_classes) == 0).sum()):
        print(
            f"note: validation={share:g} holds out no image of {none:,} of {data.num_classes:,} "
            f"classes: they have too few."
        )
    return chosen[train], data.as_tested(held_out) if data.as_tested else held_out


def _statistics(data: Dataset, train: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation per channel that the network normalises with."""
    if train.is_features:
        return feature_statistics(np.asarray(train.pixels))
    return (data.mean, data.std) if data.mean and data.std else channel_statistics(train.pixels)


def _features(
    recipe: Recipe, data: Dataset, train: Images, held_out: Images | None, test: Images
) -> tuple[Images, Images | None, Images, dict[str, str | int]]:
    """The features of the three splits, and what they are features of.

    Raises:
        InputError: the data are features already, or the frozen network cannot be had.
    """
    if train.is_features:
        raise InputError(f"{data.name} holds features already: leave features={recipe.features} out.")
    network = extractor(recipe.features, recipe.features_file, recipe.features_side)
    side = recipe.features_side or network.side
    frozen: dict[str, str | int] = {"backbone": network.name, "sha256": network.sha256, "side": side}
    held_out = held_out and extract(held_out, network, side)
    return extract(train, network, side), held_out, extract(test, network, side), frozen


def _head_first(data: Dataset) -> Dataset:
    """Number the classes by descending count, as MiSLAS does: everywhere else class 0 is the head."""
    order = np.argsort(-data.train.counts(data.num_classes), kind="stable")
    new_label = np.argsort(order)
    splits = {name: replace(s, labels=new_label[s.labels]) for name, s in (("train", data.train), ("test", data.test))}
    return replace(data, class_names=tuple(data.class_names[c] for c in order), **splits)


def _some_classes(data: Dataset, number: int) -> Dataset:
    """Only so many classes, evenly spread from the first to the last."""
    kept = np.linspace(0, data.num_classes - 1, number).round().astype(np.int64)
    new_label = np.full(data.num_classes, -1)
    new_label[kept] = np.arange(number)

    def part(split: Images) -> Images:
        chosen = split.take(np.flatnonzero(np.isin(split.labels, kept)))
        return replace(chosen, labels=new_label[chosen.labels])

    names = tuple(data.class_names[c] for c in kept)
    official = None if data.official is None else data.official[np.isin(data.train.labels, kept)]
    return replace(data, class_names=names, train=part(data.train), test=part(data.test), official=official)


def _long_tail(experiment: Experiment, recipe: Recipe, data: Dataset) -> np.ndarray:
    """Indices of the training images that the experiment keeps.

    Raises:
        InputError: the data do not have them.
    """
    kind, factor, train, num_classes = (
        experiment.imbalance_type,
        experiment.imbalance_factor,
        data.train,
        data.num_classes,
    )
    if kind == "natural":
        return np.arange(len(train))
    possible = longtail.largest_n_max(train.counts(num_classes), factor, kind)
    if recipe.n_max > possible and "n_max" in parse_overrides(experiment.overrides):
        raise InputError(
            f"n_max={recipe.n_max} is more than these data allow at imbalance factor {factor:g}: at most {possible}."
        )
    counts = longtail.class_counts(num_classes, min(recipe.n_max or possible, possible), factor, kind)
    if data.official is None:
        return longtail.longtail_indices(train.labels, counts, recipe.subset_seed)
    if recipe.subset_seed:
        raise InputError(f"{data.name} holds the published selection only: leave subset_seed={recipe.subset_seed} out.")
    return np.concatenate([np.flatnonzero(train.labels == c)[:n] for c, n in enumerate(counts)])


def _first_of_each_class(images: Images, per_class: int) -> Images:
    classes = range(int(images.labels.max()) + 1)
    return images.take(np.concatenate([np.flatnonzero(images.labels == c)[:per_class] for c in classes]))


def same_images(experiment: Experiment, recipe: Recipe) -> tuple:
    """Equal for experiments on the same images: everything but the method and how it is trained."""
    sizes = {f.name for f in fields(Recipe)} - {f.name for f in fields(Options)} | {"augmentation"}
    where = replace(experiment, method="cross_entropy", overrides="", seed=0)
    return where, "n_max" in parse_overrides(experiment.overrides), *(getattr(recipe, name) for name in sorted(sizes))
