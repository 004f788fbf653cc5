"""Reference runs: the small plain-file form of finished runs that stands in the repository, and tables of it.

``data/reference_runs/<study>/<run id>.json`` holds everything that a number needs to be believed: command, recipe,
data, hardware, versions, commit, SHA-256 of the weights, the report card, the learning curve, and the robust reports
that were there. ``<run id>.npz`` beside it holds the predictions (``ltlib/results/predictions.py``). ``label`` is
the row of the table that the run belongs to; runs with one label differ in their seeds.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from pathlib import Path

from ltlib import paths
from ltlib.errors import InputError
from ltlib.experiments.attack import robust_reports
from ltlib.experiments.runs import Run
from ltlib.files import write_atomic
from ltlib.results import predictions

KEPT = (
    "id",
    "command",
    "experiment",
    "recipe",
    "hyperparameters",
    "data",
    "versions",
    "revision",
    "hardware",
    "precision",
    "started",
    "finished",
    "seconds",
    "trained_images",
    "parameters",
    "metrics",
    "best_epochs",
)


def export(run: Run, folder: Path, label: str) -> Path:
    """Write ``<folder>/<run id>.json`` and, beside it, the predictions; returns the path of the first.

    Raises:
        InputError: the run is not finished, or a file exists with other content.
    """
    if run.state != "finished":
        raise InputError(f"Run {run.id} is {run.state}: only finished runs are exported.")
    told = record(run, label) | {"weights_sha256": weights_sha256(run)}
    text, arrays = json.dumps(told, indent=1) + "\n", predictions.of_run(run)
    file = paths.make_folder(folder, "--to") / f"{run.id}.json"
    beside = file.with_suffix(".npz")
    for existing, same in (
        (file, lambda: file.read_text() == text),
        (beside, lambda: predictions.equal(predictions.unpack(beside), arrays)),
    ):
        if existing.exists() and not same():
            raise InputError(f"{existing} exists with other content: delete it first, or choose another folder.")
    write_atomic(beside, predictions.pack(arrays))
    write_atomic(file, text.encode())
    return file


def record(run: Run, label: str) -> dict:
    """What is kept of a finished run, all but the checksum of its weights."""
    info = run.info
    kept = {"label": label} | {name: info[name] for name in KEPT if name in info}
    kept["curve"] = {"epoch": [], "loss": [], "test_accuracy": []}
    for line in run.metrics:
        if "test_accuracy" in line:
            for name, values in kept["curve"].items():
                values.append(round(line[name], 5))
    if reports := robust_reports(run):
        kept["robust"] = reports
    return kept


def weights_sha256(run: Run) -> str:
    """Checksum of the final weights."""
    return hashlib.sha256((run.folder / "weights.safetensors").read_bytes()).hexdigest()


def studies() -> Path:
    """The folder of all studies."""
    return paths.resources() / "data" / "reference_runs"


def names() -> list[str]:
    """The studies that are there."""
    return sorted(folder.name for folder in studies().glob("*") if folder.is_dir())


def read(study: str) -> list[dict]:
    """All records of a study, by label in the order of ``order.txt``, then by seed; empty if there is none."""
    folder = studies() / study
    records = [json.loads(file.read_text()) for file in folder.glob("*.json")]
    order = (folder / "order.txt").read_text().splitlines() if (folder / "order.txt").exists() else []
    place = {label: i for i, label in enumerate(order)}
    return sorted(records, key=lambda r: (place.get(r["label"], len(place)), r["label"], r["experiment"]["seed"]))


def summary(study: str, rule: str = "papers") -> list[dict[str, object]]:
    """One row a label: mean over seeds, and the standard deviation behind a plus-minus sign. Fractions.

    Args:
        study: a folder below ``data/reference_runs``.
        rule: of the groups many, medium and few.
    """
    return [_row(label, records, rule) for label, records in by_label(study).items()]


def robust_summary(study: str, attacks: str, epsilon: float) -> list[dict[str, object]]:
    """One row a label: clean and robust accuracy, mean over seeds and standard deviation. Fractions.

    Args:
        study: a folder below ``data/reference_runs``; its records without such a report are left out.
        attacks: the names of the report's attacks, joined by " + ".
        epsilon: of the report.

    Returns:
        Rows with ``label``, ``n``, ``clean``, ``± clean``, ``robust``, ``± robust``, ``reliable`` (how many reports
        passed all checks) and ``command``.
    """
    rows = []
    for label, records in by_label(study).items():
        pairs = [(record, report) for record in records for report in record.get("robust", [])]
        chosen = [(c, r) for c, r in pairs if _is_of(r, attacks, epsilon)]
        if not chosen:
            continue
        row: dict[str, object] = {"label": label, "n": len(chosen)}
        for name in ("clean", "robust"):
            values = [report[f"{name}_accuracy"] for _, report in chosen]
            row |= {name: _mean(values), f"± {name}": _sd(values)}
        row["reliable"] = sum(report["reliable"] for _, report in chosen)
        rows.append(row | {"command": chosen[0][0]["command"]})
    return rows


def _is_of(report: dict, attacks: str, epsilon: float) -> bool:
    return " + ".join(report["attacks"]) == attacks and math.isclose(report["epsilon"], epsilon, rel_tol=1e-6)


def by_label(study: str) -> dict[str, list[dict]]:
    """The records of a study: label -> one for each seed."""
    found: dict[str, list[dict]] = {}
    for record in read(study):
        found.setdefault(record["label"], []).append(record)
    return found


def _row(label: str, records: list[dict], rule: str) -> dict[str, object]:
    cards = [record["metrics"] for record in records]
    groups = {g: _mean([c["groups"][rule][g]["accuracy"] for c in cards]) for g in ("many", "medium", "few")}
    accuracy, ece = [card["accuracy"] for card in cards], [card["ece"] for card in cards]
    return {
        "label": label,
        "n": len(records),
        "accuracy": _mean(accuracy),
        "± accuracy": _sd(accuracy),
        **groups,
        "ECE": _mean(ece),
        "± ECE": _sd(ece),
        "command": records[0]["command"],
    }


def _mean(values: list[float | None]) -> float | None:
    return None if None in values else statistics.fmean(values)


def _sd(values: list[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None
