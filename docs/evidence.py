"""The data behind the evidence explorer: every number of the stored studies and of the papers, as plain values.

Nothing is computed here that the package does not compute: rows come from ``ltlib.results.table``, pairs with papers
from ``ltlib.results.papers``, bars and reliability diagrams from the stored predictions.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from ltlib.evaluation.calibration import equal_width_bins
from ltlib.results import papers, predictions, records
from ltlib.results.record import Record
from ltlib.results.table import Row, table

METRICS = (
    "accuracy", "accuracy many", "accuracy medium", "accuracy few", "ECE", "ECE few", "worst class", "NLL",
    "robust accuracy", "robust accuracy few",
)  # fmt: skip
BINS = 15


def evidence(stored: Sequence[Record] | None = None) -> dict[str, object]:
    """``own`` rows, ``published`` rows, and the ``runs`` that the own rows name.

    Args:
        stored: records, by default those of all studies.
    """
    stored = stored if stored is not None else records.measured(records.names())
    rows = table(stored, METRICS)
    pairs: dict[tuple, list[papers.Pair]] = {}
    for pair in papers.beside(stored):
        pairs.setdefault(_key(pair.row), []).append(pair)
    return {
        "own": [_own(row, pairs.get(_key(row), [])) for row in rows],
        "published": [_published(line) for line in papers.read()],
        "runs": {_place(record): _run(record) for record in stored},
    }


def _key(row: Row) -> tuple:
    return row.first.study, row.label, row.metric.name, row.attack, tuple(r.id for r in row.records)


def _own(row: Row, pairs: list[papers.Pair]) -> dict[str, object]:
    columns = row.columns()
    return {
        "id": address("own", row.first.study, row.label, row.metric.name, row.attack, row.first.imbalance),
        "study": row.first.study,
        "method": row.label,
        "data": row.first.data["name"],
        "IF": row.first.imbalance,
        "metric": row.metric.name,
        "share": row.metric.is_share,
        "attack": row.attack,
        "mean": row.mean,
        "sd": row.sd,
        "low": row.spread.low,
        "high": row.spread.high,
        "values": list(row.values),
        "runs": [_place(record) for record in row.records],
        "command": columns["command"],
        "attack command": columns["attack command"],
        "papers": [
            {
                "paper": pair.theirs.paper,
                "method": pair.theirs.method,
                "value": pair.theirs.value,
                "difference": pair.difference,
                "why": "; ".join(pair.why),
                "source": pair.theirs.source,
                "verified": pair.theirs.verified,
            }
            for pair in pairs
        ],
    }


def _published(line: papers.Published) -> dict[str, object]:
    factor = "" if line.imbalance_factor is None else f"{line.imbalance_factor:g}"
    return {
        "id": address("paper", line.paper, line.method, line.dataset, factor, line.backbone, line.metric, line.source),
        "paper": line.paper,
        "method": line.method,
        "data": line.dataset,
        "IF": factor,
        "backbone": line.backbone,
        "metric": line.metric,
        "value": line.value,
        "source": line.source,
        "verified": line.verified,
    }


def _place(record: Record) -> str:
    """Where a record is stored. Two studies can hold runs of one id that were trained on different machines."""
    return f"{record.study}/{record.id}"


def _run(record: Record) -> dict[str, object]:
    recipe, hardware = record.recipe, record.hardware
    n = hardware.get("threads")
    threads = f", {n} thread{'s' * (n > 1)}" if n else ""
    own = ", ".join(f"{name}={value}" for name, value in record.hyperparameters.items() if value != "")
    return {
        "seed": record.seed,
        "classes": list(record.data["class_names"]),
        "counts": list(record.data["counts"]),
        "per_class": [_round(value) for value in record.metrics["per_class_accuracy"]],
        "ece": record.metrics["ece"],
        "bins": _bins(record),
        "recipe": f"{recipe['backbone']}, {recipe['epochs']} epochs, batch size {recipe['batch_size']}, learning rate "
        f"{recipe['lr']:g}, weight decay {recipe['weight_decay']:g}; {own or 'no settings of its own'}",
        "hardware": f"{hardware['device']}{threads}, {record.seconds:,.0f} s, {record.precision or 'float32'}, torch "
        f"{record.versions['torch']}",
        "revision": record.revision,
    }


def _bins(record: Record) -> list[list[float]] | None:
    """Images, mean confidence and accuracy of each of 15 bins of equal width; None where nothing is stored."""
    if record.predictions is None:
        return None
    test = record.predictions["test"]
    confidence = (test["confidence"].astype(float) - 0.5) / predictions.STEPS
    bins = equal_width_bins(confidence, test["predicted"] == test["labels"], BINS)
    filled = zip(bins.count.tolist(), bins.confidence.tolist(), bins.accuracy.tolist(), strict=True)
    return [[n, _round(c), _round(a)] if n else [0, 0.0, 0.0] for n, c, a in filled]


def _round(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)


def address(*parts: str) -> str:
    """A readable address that stays the same for as long as the number is the same number."""
    words = re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")
    return f"{words[:60].rstrip('-')}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:6]}"
