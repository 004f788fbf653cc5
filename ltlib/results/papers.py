"""The numbers that papers report, beside ours, and what differs between the two.

``data/published_results.csv`` holds one number a row: paper (or collection), method as it is called there, ``label``
(the row of our tables that is the same method under its authors' recipe, empty if there is none), data set, imbalance
factor, backbone, metric, value in per cent, source, and whether the source itself was read (``verified``).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ltlib import paths
from ltlib.data.longtail import class_counts
from ltlib.data.presets import PRESETS
from ltlib.errors import InputError
from ltlib.evaluation.spread import Interval, paired
from ltlib.experiments.costs import BALANCED
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.recipe import resolve
from ltlib.results import measures
from ltlib.results.measures import GROUPS, Metric
from ltlib.results.record import TAKEN_OVER, Record, label_of
from ltlib.results.records import settings
from ltlib.results.table import Row, table

DATASETS = {
    "CIFAR-10": "cifar10",
    "CIFAR-10-LT": "cifar10",
    "CIFAR-100": "cifar100",
    "CIFAR-100-LT": "cifar100",
    "ImageNet-LT": "imagenet_lt",
    "iNaturalist2018": "inaturalist2018",
    "Places-LT": "places_lt",
}
# What they call a metric -> what we call it.
METRICS = {"top1": "accuracy", "clean": "accuracy", "ece15": "ECE"} | {group: f"accuracy {group}" for group in GROUPS}
# What they call an attack -> ours that are as strong as it, by name (``ltlib.experiments.attack.ATTACKS``).
ATTACKS = {"PGD-20": ("pgd20",), "AutoAttack": ("official", "ensemble", "apgd")}
COMPARED = ("accuracy", *(f"accuracy {group}" for group in GROUPS), "ECE", "robust accuracy")
RECIPE = ("epochs", "batch_size", "lr", "schedule", "weight_decay", "nesterov", "augmentation", "normalize")
SELECTED_ON_TEST = ("MiSLAS", "ResLT")  # their code keeps the epoch that is best on the test set


@dataclass(frozen=True)
class Published:
    """A number that a paper reports: a line of ``data/published_results.csv``.

    Attributes:
        paper, method: where it is reported, and what the method is called there.
        label: the row of our tables that is the same method under its authors' recipe, or "".
        dataset, imbalance_factor, backbone, metric: as they are called there; the factor is None for natural data.
        value: a fraction.
        source: page, table or file.
        verified: ``yes`` if the source itself was read, otherwise ``no``.
    """

    paper: str
    method: str
    label: str
    dataset: str
    imbalance_factor: float | None
    backbone: str
    metric: str
    value: float
    source: str
    verified: str


@dataclass(frozen=True)
class Pair:
    """A number of ours beside a paper's, and why they differ: all that the record and the authors' recipe say."""

    row: Row
    theirs: Published
    why: tuple[str, ...]

    @property
    def difference(self) -> float:
        """Ours minus theirs."""
        return self.row.mean - self.theirs.value

    def columns(self) -> dict[str, object]:
        """Flat, for CSV and for data frames."""
        theirs = self.theirs
        return self.row.columns() | {
            "paper": theirs.paper,
            "its method": theirs.method,
            "its backbone": theirs.backbone,
            "its metric": theirs.metric,
            "its value": theirs.value,
            "difference": self.difference,
            "verified": theirs.verified,
            "source": theirs.source,
            "why": "; ".join(self.why),
        }


@dataclass(frozen=True)
class Gain:
    """What a method adds to a baseline: ours, paired over the seeds that both have, beside a paper's."""

    study: str
    label: str
    ours: Interval
    theirs: float
    source: str
    verified: str


def read() -> list[Published]:
    """All published numbers.

    Raises:
        InputError: the file is not there, because only the package was copied.
    """
    path = paths.resources() / "data" / "published_results.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): run this in a checkout of the project.") from error
    return [_published(row) for row in rows]


def _published(row: dict[str, str]) -> Published:
    fields: dict[str, Any] = dict(row)
    fields["value"] = float(row["value"]) / 100
    fields["imbalance_factor"] = float(row["imbalance_factor"]) if row["imbalance_factor"] else None
    return Published(**fields)


def beside(records: Iterable[Record], metrics: Sequence[str] = COMPARED, rule: str | None = None) -> list[Pair]:
    """Each number of ours that a paper reports too.

    Args:
        records: of :func:`ltlib.results.records.measured`.
        metrics, rule: see :func:`ltlib.results.table.table`.
    """
    published, pairs = read(), []
    for members in settings(records):
        comparable = [theirs for theirs in published if _same_training(members[0], theirs)]
        for row in table(members, metrics, rule) if comparable else ():
            same = (theirs for theirs in comparable if _same_metric(row, theirs))
            pairs += [Pair(row, theirs, tuple(reasons(row, theirs))) for theirs in same]
    return pairs


def gains(records: Sequence[Record], metric: str = "accuracy", baseline: str = "cross-entropy") -> list[Gain]:
    """What each method adds to the baseline, ours beside a paper's, where one source reports both numbers.

    Args:
        records: of :func:`ltlib.results.records.measured`.
        metric: one of ``COMPARED`` that is not under attack.
        baseline: a label.
    """
    pairs = beside(records, [metric])
    by_seed = {_setting(row): dict(zip(row.seeds, row.values, strict=True)) for row in table(records, [metric])}
    starts = {_where(pair): pair.theirs.value for pair in pairs if pair.row.label == baseline}
    found = []
    for pair in pairs:
        row, start = pair.row, starts.get(_where(pair))
        base = by_seed.get((*_setting(row)[:-1], baseline))
        if row.label == baseline or start is None or not base:
            continue
        ours = by_seed[_setting(row)]
        seeds = sorted(ours.keys() & base.keys())
        if seeds:
            gain = paired([ours[seed] for seed in seeds], [base[seed] for seed in seeds])
            theirs = pair.theirs
            found.append(Gain(row.first.study, row.label, gain, theirs.value - start, theirs.source, theirs.verified))
    return found


def _setting(row: Row) -> tuple[str, ...]:
    """Study, data and imbalance, and last the label."""
    return row.first.study, row.first.data["name"], row.first.imbalance, row.label


def _where(pair: Pair) -> tuple[str, ...]:
    """Pairs of one table of one paper, beside one study of ours."""
    return *_setting(pair.row)[:-1], pair.theirs.source, pair.theirs.backbone


def _same_training(record: Record, theirs: Published) -> bool:
    """Whether a published number is of the same method, data (of which ours may be a copy) and imbalance."""
    dataset = DATASETS.get(theirs.dataset)
    label = record.label if record.is_stored else label_of(record.method)
    if not theirs.label or theirs.label != label or dataset is None:
        return False
    copies = rf"(folder:)?{dataset}(-.+)?"
    factor = "natural" if dataset in PRESETS else f"{theirs.imbalance_factor or 1:g}"
    return bool(re.fullmatch(copies, record.data["name"])) and factor == record.imbalance


def _same_metric(row: Row, theirs: Published) -> bool:
    if not row.reports:
        return theirs.metric in METRICS and row.metric == measures.metric(METRICS[theirs.metric])
    attack = theirs.metric.partition(" ")[0]
    is_accuracy = row.metric == Metric("accuracy", under=row.metric.under)
    return is_accuracy and row.reports[0].attack in ATTACKS.get(attack, ())


def reasons(row: Row, theirs: Published) -> list[str]:
    """What differs between our number and theirs, from the facts: data, recipe, method, selection, attack, seeds."""
    record, dataset = row.first, DATASETS[theirs.dataset]
    recipe, own = resolve(Experiment(record.method, dataset, theirs.imbalance_factor or 1, profile="paper"))
    found = _data(record, theirs)
    if _plain(record.recipe["backbone"]) != _plain(theirs.backbone):
        found.append(f"backbone {record.recipe['backbone']}, theirs {theirs.backbone}")
    pairs = [(name, record.recipe.get(name), getattr(recipe, name)) for name in RECIPE]
    if theirs.label == label_of(record.method):  # of a variant, the authors' own setting is not known here
        pairs += [(name, record.hyperparameters.get(name), value) for name, value in own.items()]
    found += [
        f"{name} {_text(ours)}, theirs {_text(value)}"
        for name, ours, value in pairs
        if ours is not None and ours != value and name not in (*TAKEN_OVER, "natural")
    ]
    if theirs.paper in SELECTED_ON_TEST:
        found.append(f"{record.reported}, theirs the best one on the test set")
    if row.reports:
        found.append(f"attack {row.attack}, theirs {theirs.metric}")
    seeds = "one seed" if row.n == 1 else f"mean of {row.n} seeds"
    return [*found, f"{seeds}, theirs one number without a spread"]


def _data(record: Record, theirs: Published) -> list[str]:
    """How many images, where that differs, and whose copy."""
    dataset = DATASETS[theirs.dataset]
    if dataset in PRESETS:
        train, test = PRESETS[dataset].train_images, PRESETS[dataset].test_images
    else:
        num_classes, n_max, test, _ = BALANCED[dataset]
        train = int(class_counts(num_classes, n_max, theirs.imbalance_factor or 1).sum())
    data, found = record.data, []
    if data["name"] != dataset:
        found.append(f"images of the copy {data['name'].removeprefix('folder:')}")
    for what, ours, number in (("training", data["train_images"], train), ("test", data["test_images"], test)):
        if ours != number:
            found.append(f"{ours:,} {what} images, theirs {number:,}")
    return found


def _plain(backbone: str) -> str:
    """``ResNet-32`` and ``resnet32`` as one."""
    return re.sub(r"[^a-z0-9]", "", backbone.lower())


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
