"""One row for every model of the course: clean and robust accuracy by group, calibration, cost.

Read from what a run or a record of ``data/reference_runs`` says already; nothing is trained or attacked here.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from ltlib.experiments.attack import robust_reports
from ltlib.experiments.runs import Run
from ltlib.results import reference

GROUPS = ("many", "medium", "few")


def row(
    record: dict,
    reports: list[dict],
    *,
    rule: str = "threshold",
    epsilon: float = 8 / 255,
    norm: str = "linf",
    baseline: dict | None = None,
) -> dict[str, object]:
    """The report card of a model, flat. Fractions; None where something was not measured.

    Args:
        record: the ``info`` of a finished run, or a record of :func:`ltlib.results.reference.read`.
        reports: its robust reports.
        rule: of the groups.
        epsilon, norm: of the robust reports that count.
        baseline: record of the run, on the same hardware, whose cost is 1.

    Returns:
        ``accuracy``, ``ECE`` and each of them by group (``accuracy few``); ``worst class``; the same under attack, as
        ``PGD-20 accuracy few`` and, for the largest ensemble of APGD, ``APGD accuracy few``; ``APGD attacks``, what
        that ensemble holds; ``seconds per image`` of training, ``relative cost``, ``parameters``. The images under
        attack are those of :func:`ltlib.attacks.autoattack.in_turn`: one that was wrong already is left as it is.
    """
    experiment, metrics = record["experiment"], record["metrics"]
    measured = [r for r in reports if r["norm"] == norm and math.isclose(r["epsilon"], epsilon, rel_tol=1e-6)]
    pgd = _largest([r for r in measured if list(r["attacks"]) == ["PGD-20"]])
    apgd = _largest([r for r in measured if next(iter(r["attacks"])) == "APGD-CE"])
    natural = experiment["imbalance_type"] == "natural"
    return {
        "method": experiment["method"],
        "data": record["data"]["name"],
        "IF": "natural" if natural else f"{experiment['imbalance_factor']:g}",
        "seed": experiment["seed"],
        **measures(metrics, metrics["accuracy"], rule),
        "worst class": metrics["worst_class_accuracy"],
        **_under_attack("PGD-20", pgd, rule),
        **_under_attack("APGD", apgd, rule),
        "APGD attacks": " + ".join(apgd["attacks"]) if apgd else None,
        "seconds per image": _seconds_per_image(record),
        "relative cost": _relative_cost(record, baseline),
        "parameters": record.get("parameters"),
        "run": record["id"],
    }


def of_run(run: Run, baseline: Run | None = None, **options: object) -> dict[str, object]:
    """:func:`row` of a finished run with its stored robust reports."""
    return row(run.info, robust_reports(run), baseline=baseline.info if baseline else None, **options)


def of_study(study: str, **options: object) -> dict[str, list[dict[str, object]]]:
    """label -> the cards of its seeds, for a folder of ``data/reference_runs``; ``options`` go to :func:`row`."""
    return {
        label: [row(record, record.get("robust", []), **options) for record in records]
        for label, records in reference.by_label(study).items()
    }


def means(cards: dict[str, list[dict[str, object]]], names: Sequence[str]) -> list[dict[str, object]]:
    """A table: for each label the number of seeds and the means over the seeds for which a name was measured; None
    where it never was. Spreads and intervals are in :mod:`ltlib.results.results`."""
    rows = []
    for label, seeds in cards.items():
        measured = {name: [card[name] for card in seeds if card[name] is not None] for name in names}
        means = {name: statistics.fmean(values) if values else None for name, values in measured.items()}
        rows.append({"label": label, "n": len(seeds)} | means)
    return rows


def as_lines(card: dict[str, object]) -> list[str]:
    """A card for the terminal: groups side by side, fractions in per cent."""
    lines = [f"{'':<18}{'all':>8}" + "".join(f"{group:>8}" for group in GROUPS)]
    for name in ("accuracy", "ECE", "PGD-20 accuracy", "PGD-20 ECE", "APGD accuracy", "APGD ECE"):
        values = [card[name], *(card[f"{name} {group}"] for group in GROUPS)]
        if values[0] is not None:
            lines.append(f"{name:<18}" + "".join(f"{'-' if v is None else f'{v:.1%}':>8}" for v in values))
    lines.append(f"worst class {card['worst class']:.1%}")
    if card["APGD attacks"]:
        lines.append(f"APGD is {card['APGD attacks']}")
    if card["parameters"]:
        lines.append(f"{card['parameters']:,} parameters, {1000 * card['seconds per image']:.3g} ms per training image")
    return lines


def _largest(reports: list[dict]) -> dict | None:
    """The report of most images and, among those, of most attacks."""
    return max(reports, key=lambda r: (r["images"], len(r["attacks"])), default=None)


def _under_attack(name: str, report: dict | None, rule: str) -> dict[str, object]:
    """The measures of a report; an early one knows the accuracy alone."""
    accuracy = report["robust_accuracy"] if report else None
    found = measures((report or {}).get("adversarial"), accuracy, rule)
    return {f"{name} {measure}": value for measure, value in found.items()}


def measures(card: dict | None, accuracy: float | None, rule: str) -> dict[str, object]:
    """Accuracy and ECE of a report card, overall and by group (``accuracy few``).

    Args:
        card: of :func:`ltlib.evaluation.evaluate.report_card`; None where only the accuracy is known.
        accuracy: overall.
        rule: of the groups.
    """
    groups = card["groups"].get(rule, {}) if card else {}
    found: dict[str, object] = {}
    for name, overall in (("accuracy", accuracy), ("ECE", card["ece"] if card else None)):
        found[name] = overall
        found |= {f"{name} {group}": groups.get(group, {}).get(name.lower()) for group in GROUPS}
    return found


def _seconds_per_image(record: dict) -> float | None:
    """Of the stages that this run trained itself."""
    images = record.get("trained_images")
    return record["seconds"] / images if images else None


def _relative_cost(record: dict, baseline: dict | None) -> float | None:
    if not baseline or record["hardware"] != baseline["hardware"]:
        return None
    own, its = _seconds_per_image(record), _seconds_per_image(baseline)
    return own / its if own and its else None
