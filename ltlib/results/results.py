"""One table of everything that was measured here: the stored studies and the reader's own runs.

A *record* is one finished run (see ``reference.py``), told apart by ``study``: a folder of ``data/reference_runs``, or
``runs`` for the reader's own. Records that differ in nothing but their seed are one row of a table. Whatever lies in
the two folders is read; no list of studies, methods or runs stands in any code.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Sequence

from ltlib import paths
from ltlib.data.longtail import RULES
from ltlib.errors import InputError, check_choice, nearest
from ltlib.evaluation.spread import interval
from ltlib.experiments import runs
from ltlib.experiments.attack import attack_command
from ltlib.experiments.recipe import parse_overrides
from ltlib.results import card, reference

OWN = "runs"  # the study that holds the reader's own runs
GROUPS = ("", *(f" {group}" for group in card.GROUPS))
CLEAN = (*(f"{measure}{group}" for measure in ("accuracy", "ECE") for group in GROUPS), "worst class")
METRICS = (*CLEAN, *(f"robust {measure}{group}" for measure in ("accuracy", "ECE") for group in GROUPS))

# What an own run is called whose method keeps its published settings: the words of the papers.
LABELS = {
    "cross_entropy": "cross-entropy",
    "resampling": "re-sampling",
    "reweighting": "class-balanced weights",
    "ce_drw": "CE-DRW",
    "ldam": "LDAM-DRW",
    "balanced_softmax": "Balanced Softmax",
    "logit_adjustment": "logit adjustment, post hoc",
    "tau_norm": "tau-norm",
    "crt": "cRT",
    "lws": "LWS",
    "mislas": "MiSLAS",
    "reslt": "ResLT",
    "at": "AT",
    "at_bsl": "AT-BSL",
    "alp": "ALP",
    "trades": "TRADES 6",
    "bgat": "BGAT",
    "lbgat": "LBGAT0",
}
TAKEN_OVER = ("stage1", "natural_run")  # hyper-parameters that name a run, and so a seed


def measured(studies: Sequence[str] = ()) -> list[dict]:
    """The records of these studies, by default of all of them and of the reader's own finished runs.

    Raises:
        InputError: there is no such study, or a run is damaged.
    """
    known = [*reference.names(), OWN]
    for name in studies:
        check_choice("study", name, known)
    return [
        record | {"study": name}
        for name in studies or known
        for record in (_own_records() if name == OWN else reference.read(name))
    ]


def only(records: list[dict], dataset: str = "", method: str = "") -> list[dict]:
    """The records on these data and of this method.

    Args:
        records: of :func:`measured`.
        dataset: the name of the data, as ``cifar10`` or ``folder:cifar10-exact``; empty takes all.
        method: a label, or the name of a method for everything trained with it; empty takes all.

    Raises:
        InputError: nothing here is called so.
    """
    for what, value, names_of in (("dataset", dataset, _data_names), ("method", method, _method_names)):
        if value:
            kept = [record for record in records if value in names_of(record)]
            if not kept:
                allowed = {name for record in records for name in names_of(record)}
                raise InputError(f"No result has {what} {value!r}.{nearest(value, allowed)}")
            records = kept
    return records


def table(records: list[dict], metrics: Sequence[str] = ("accuracy",), rule: str = "papers") -> list[dict[str, object]]:
    """One row for each setting and metric, over its seeds. Fractions; None where undefined or not known.

    Args:
        records: of :func:`measured`.
        metrics: some of ``METRICS``; those that no record of a setting has are left out.
        rule: of the groups many, medium and few.

    Returns:
        Rows with ``study``, ``label``, ``data``, ``IF``, ``backbone``, ``epochs``; ``metric`` and, of a robust one, the
        ``attack`` with its ball and images; ``n``, ``mean``, ``sd``, ``low`` and ``high`` (Student's 95 % interval) of
        the last epoch; of the accuracy ``best on test`` and ``chosen on validation``, the mean test accuracy of the
        epochs so chosen; ``seeds`` and ``values``, one a seed; ``command`` and ``attack command`` of the first run;
        ``runs`` (all ids).

    Raises:
        InputError: a metric or the rule is not known.
    """
    for metric in metrics:
        check_choice("metric", metric, METRICS)
    check_choice("rule", rule, RULES)
    return [
        _row(members, metric, attack, rule)
        for members in settings(records)
        for metric in metrics
        for attack in dict.fromkeys(a for record in members for m, a in measures(record, rule) if m == metric)
    ]


def settings(records: list[dict]) -> list[list[dict]]:
    """The records of one row each, in the order in which they come."""
    by_id = {record["id"]: record for record in records}
    found: dict[tuple, list[dict]] = {}
    for record in records:
        same = _setting(record, by_id) if record["study"] == OWN else ""
        found.setdefault((record["study"], record["label"], same), []).append(record)
    return list(found.values())


def measures(record: dict, rule: str = "papers") -> dict[tuple[str, str], float]:
    """All that a record says: (metric, attack) -> fraction; the attack of a clean metric is empty."""
    clean = card.measures(record["metrics"], record["metrics"]["accuracy"], rule)
    clean["worst class"] = record["metrics"]["worst_class_accuracy"]
    found = {(name, ""): value for name, value in clean.items()}
    for report in record.get("robust", []):
        robust = card.measures(report.get("adversarial"), report["robust_accuracy"], rule)
        found |= {(f"robust {name}", describe(report)): value for name, value in robust.items()}
    return {key: value for key, value in found.items() if value is not None}


def describe(report: dict) -> str:
    """The attack of a robust report, its ball and how many images: ``PGD-20, linf 8/255, 1,000 images``."""
    of_255 = report["epsilon"] * 255
    radius = f"{of_255:.0f}/255" if abs(of_255 - round(of_255)) < 1e-3 else f"{report['epsilon']:.4g}"
    return f"{' + '.join(report['attacks'])}, {report['norm']} {radius}, {report['images']:,} images"


def report_of(record: dict, attack: str) -> dict:
    """The robust report that :func:`describe` calls so."""
    return next(report for report in record["robust"] if describe(report) == attack)


def _row(members: list[dict], metric: str, attack: str, rule: str) -> dict[str, object]:
    found = [(record, measures(record, rule).get((metric, attack))) for record in members]
    members, values = zip(*((record, value) for record, value in found if value is not None), strict=True)
    over_seeds, first = interval(values), members[0]
    return {
        "study": first["study"],
        "label": first["label"],
        "data": first["data"]["name"],
        "IF": imbalance(first),
        "backbone": first["recipe"]["backbone"],
        "epochs": first["recipe"]["epochs"],
        "metric": metric,
        "attack": attack,
        "n": over_seeds.n,
        "mean": over_seeds.mean,
        "sd": over_seeds.sd,
        "low": over_seeds.low,
        "high": over_seeds.high,
        "best on test": _chosen(members, "test_accuracy") if metric == "accuracy" else None,
        "chosen on validation": _chosen(members, "validation_accuracy") if metric == "accuracy" else None,
        "seeds": " ".join(str(record["experiment"]["seed"]) for record in members),
        "values": list(values),
        "command": first["command"],
        "attack command": attack_command(report_of(first, attack)) if attack else "",
        "runs": " ".join(record["id"] for record in members),
    }


def imbalance(record: dict) -> str:
    """``100``, ``step 100`` or ``natural``."""
    experiment = record["experiment"]
    kind, factor = experiment["imbalance_type"], f"{experiment['imbalance_factor']:g}"
    return {"exponential": factor, "step": f"step {factor}"}.get(kind, kind)


def _chosen(members: Sequence[dict], by: str) -> float | None:
    """Mean test accuracy of the epochs that were best by this measure; None unless every run has it."""
    values = [record.get("best_epochs", {}).get(by, {}).get("test_accuracy") for record in members]
    return None if None in values else statistics.fmean(values)


def _own_records() -> list[dict]:
    finished = [run for run in runs.all_runs(paths.runs_root()) if run.info.get("state") == "finished"]
    return [reference.record(run, _own_label(run.info["experiment"])) for run in finished]


def _own_label(experiment: dict) -> str:
    """The method and what was changed; of a run that it starts from, the method."""
    changes = parse_overrides(experiment["overrides"])
    for name in TAKEN_OVER:
        if name in changes:
            changes[name] = changes[name].partition("-")[0]
    text = ", ".join(f"{name}={value}" for name, value in changes.items())
    name = LABELS.get(experiment["method"], experiment["method"])
    return f"{name} ({text})" if text else name


def _setting(record: dict, by_id: dict[str, dict]) -> str:
    """All that decides the result of an own run except its seed."""
    own = dict(record["hyperparameters"])
    for name in TAKEN_OVER:
        if own.get(name):
            taken = by_id.get(own[name])
            own[name] = _setting(taken, by_id) if taken else re.sub(r"-s\d+-\w+$", "", own[name])
    parts = (record["experiment"]["method"], own, record["recipe"], record["data"]["fingerprint"], record["versions"])
    return json.dumps(parts, sort_keys=True)


def _data_names(record: dict) -> set[str]:
    return {record["data"]["name"], record["experiment"]["dataset"]}


def _method_names(record: dict) -> set[str]:
    return {record["label"], record["experiment"]["method"]}
