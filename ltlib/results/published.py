"""The numbers that papers report, beside ours, and what differs between the two.

``data/published_results.csv`` holds one number a row: paper (or collection), method as it is called there, ``label``
(the row of our tables that is the same method under its authors' recipe, empty if there is none), data set, imbalance
factor, backbone, metric, value in per cent, source, and whether the source itself was read (``verified``).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

from ltlib import paths
from ltlib.data.longtail import class_counts
from ltlib.data.presets import PRESETS
from ltlib.evaluation.spread import paired
from ltlib.experiments.costs import BALANCED
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.recipe import resolve
from ltlib.results import results

DATASETS = {
    "CIFAR-10": "cifar10",
    "CIFAR-10-LT": "cifar10",
    "CIFAR-100": "cifar100",
    "CIFAR-100-LT": "cifar100",
    "ImageNet-LT": "imagenet_lt",
    "iNaturalist2018": "inaturalist2018",
    "Places-LT": "places_lt",
}
METRICS = {"top1": "accuracy", "clean": "accuracy", "ece15": "ECE"} | {
    group: f"accuracy {group}" for group in ("many", "medium", "few")
}
# Which of our attacks stands beside which of theirs.
ATTACKS = {
    "PGD-20": ("PGD-20",),
    "AutoAttack": ("AutoAttack", "APGD-CE + APGD-T + Square", "APGD-CE + APGD-T"),
}
COMPARED = ("accuracy", *(f"accuracy {group}" for group in ("many", "medium", "few")), "ECE", "robust accuracy")
RECIPE = ("epochs", "batch_size", "lr", "schedule", "weight_decay", "nesterov", "augmentation", "normalize")
SELECTED_ON_TEST = ("MiSLAS", "ResLT")  # their code keeps the epoch that is best on the test set


def read() -> list[dict[str, object]]:
    """All rows of the file; ``value`` a fraction, ``imbalance_factor`` a number or None."""
    with (paths.resources() / "data" / "published_results.csv").open(newline="", encoding="utf-8") as file:
        rows: list[dict[str, object]] = list(csv.DictReader(file))
    for row in rows:
        row["value"] = float(row["value"]) / 100
        row["imbalance_factor"] = float(row["imbalance_factor"]) if row["imbalance_factor"] else None
    return rows


def beside(records: list[dict], metrics: Sequence[str] = COMPARED, rule: str = "papers") -> list[dict[str, object]]:
    """Each number of ours that a paper reports too: one row for each pair.

    Args:
        records: of :func:`ltlib.results.results.measured`.
        metrics, rule: of :func:`ltlib.results.results.table`.

    Returns:
        Its rows with ``paper``, ``its method``, ``its backbone``, ``its metric``, ``its value``, ``difference`` (ours
        minus theirs), ``verified``, ``source``, and ``why``: all that the record and the authors' recipe say of how the
        two differ.
    """
    published, rows = read(), []
    for members in results.settings(records):
        comparable = [theirs for theirs in published if _same_training(members[0], theirs)]
        for row in results.table(members, metrics, rule) if comparable else ():
            rows += [row | _pair(row, members[0], theirs) for theirs in comparable if _same_metric(row, theirs)]
    return rows


def gains(records: list[dict], metric: str = "accuracy", baseline: str = "cross-entropy") -> list[dict[str, object]]:
    """What each method adds to the baseline, ours beside a paper's, where one source reports both numbers.

    Args:
        records: of :func:`ltlib.results.results.measured`.
        metric: one of ``COMPARED`` that is not under attack.
        baseline: a label.

    Returns:
        Rows with ``study``, ``label``, ``ours`` (an `Interval`, paired over the seeds that both have), ``theirs``,
        ``source`` and ``verified``.
    """
    rows, by_seed = beside(records, [metric]), {}
    for members in results.settings(records):
        key = tuple(results.table(members, [metric])[0][name] for name in ("study", "data", "IF", "label"))
        by_seed[key] = {r["experiment"]["seed"]: results.measures(r)[metric, ""] for r in members}
    starts = {_where(row): row["its value"] for row in rows if row["label"] == baseline}
    found = []
    for row in rows:
        ours, base = (by_seed.get((row["study"], row["data"], row["IF"], label)) for label in (row["label"], baseline))
        if row["label"] == baseline or _where(row) not in starts or not base:
            continue
        seeds = sorted(ours.keys() & base.keys())
        gain = paired([ours[s] for s in seeds], [base[s] for s in seeds])
        kept = {name: row[name] for name in ("study", "label", "source", "verified")}
        found.append(kept | {"ours": gain, "theirs": row["its value"] - starts[_where(row)]})
    return found


def _where(row: dict) -> tuple:
    """Rows of one table of one paper, beside one study of ours."""
    return tuple(row[name] for name in ("study", "data", "IF", "source", "its backbone"))


def _same_training(record: dict, theirs: dict) -> bool:
    """Whether a published number is of the same method, data (of which ours may be a copy) and imbalance."""
    method, dataset = record["experiment"]["method"], DATASETS.get(theirs["dataset"])
    label = results.LABELS.get(method) if record["study"] == results.OWN else record["label"]
    if not theirs["label"] or theirs["label"] != label or dataset is None:
        return False
    copies = rf"(folder:)?{dataset}(-.+)?"
    factor = "natural" if dataset in PRESETS else f"{theirs['imbalance_factor'] or 1:g}"
    return bool(re.fullmatch(copies, record["data"]["name"])) and factor == results.imbalance(record)


def _same_metric(row: dict, theirs: dict) -> bool:
    if not row["attack"]:
        return row["metric"] == METRICS.get(theirs["metric"])
    ours, attack = row["attack"].split(", ")[0], theirs["metric"].split(" ")[0]
    return row["metric"] == "robust accuracy" and ours in ATTACKS.get(attack, ())


def _pair(row: dict, record: dict, theirs: dict) -> dict[str, object]:
    return {
        "paper": theirs["paper"],
        "its method": theirs["method"],
        "its backbone": theirs["backbone"],
        "its metric": theirs["metric"],
        "its value": theirs["value"],
        "difference": row["mean"] - theirs["value"],
        "verified": theirs["verified"],
        "source": theirs["source"],
        "why": "; ".join(reasons(row, record, theirs)),
    }


def reasons(row: dict, record: dict, theirs: dict) -> list[str]:
    """What differs between our number and theirs, from the facts: data, recipe, method, selection, attack, seeds.

    Args:
        row: of :func:`ltlib.results.results.table`.
        record: the first run behind it.
        theirs: a row of :func:`read`.
    """
    method, dataset = record["experiment"]["method"], DATASETS[theirs["dataset"]]
    recipe, own = resolve(Experiment(method, dataset, theirs["imbalance_factor"] or 1, profile="paper"))
    found = _data(record, theirs)
    if _plain(record["recipe"]["backbone"]) != _plain(theirs["backbone"]):
        found.append(f"backbone {record['recipe']['backbone']}, theirs {theirs['backbone']}")
    pairs = [(name, record["recipe"].get(name), getattr(recipe, name)) for name in RECIPE]
    if theirs["label"] == results.LABELS.get(method):  # of a variant, the authors' own setting is not known here
        pairs += [(name, record["hyperparameters"].get(name), value) for name, value in own.items()]
    found += [
        f"{name} {_text(ours)}, theirs {_text(value)}"
        for name, ours, value in pairs
        if ours is not None and ours != value and name not in (*results.TAKEN_OVER, "natural")
    ]
    if theirs["paper"] in SELECTED_ON_TEST:
        found.append("last epoch, theirs the best one on the test set")
    if row["attack"]:
        found.append(f"attack {row['attack']}, theirs {theirs['metric']}")
    seeds = "one seed" if row["n"] == 1 else f"mean of {row['n']} seeds"
    return [*found, f"{seeds}, theirs one number without a spread"]


def _data(record: dict, theirs: dict) -> list[str]:
    """How many images, where that differs, and whose copy."""
    dataset = DATASETS[theirs["dataset"]]
    if dataset in PRESETS:
        train, test = PRESETS[dataset].train_images, PRESETS[dataset].test_images
    else:
        num_classes, n_max, test, _ = BALANCED[dataset]
        train = int(class_counts(num_classes, n_max, theirs["imbalance_factor"] or 1).sum())
    data, found = record["data"], []
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
