"""Where measured numbers are kept: the studies of ``data/reference_runs``, the machines of ``data/benchmarks``, and
``data/published_results.csv``. Which of their numbers a sentence may mean follows from the names that stand in it.

This module knows nothing of pages; ``tests/quotes.py`` reads those.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ltlib import paths
from ltlib.results import papers, records
from ltlib.results.papers import Published
from ltlib.results.record import Record


@dataclass(frozen=True)
class Value:
    """A measured number.

    Attributes:
        value: in per cent where it is a share.
        kind: ``%``, ``points``, ``times`` or ``number``.
        places: decimals that are known; None is all of them.
        spread: its standard deviation over seeds, in points, if it is a mean.
    """

    value: float
    kind: str = "%"
    places: int | None = None
    spread: float | None = None

    def printed_as(self, number: str) -> bool:
        """Whether it is this number, rounded to as many places as the number has."""
        places = len(number.partition(".")[2])
        known = self.places is None or self.places >= places
        return known and abs(abs(self.value) - plain(number)) <= 0.5 * 10**-places + 1e-9


def plain(number: str) -> float:
    return float(number.replace(",", ""))


def names(text: str, name: str) -> bool:
    """Whether the text contains the name, not as a part of a longer one; it may begin a sentence."""
    return re.search(rf"(?<![\w-])(?i:{re.escape(name[0])}){re.escape(name[1:])}(?![\w-]|\.\d)", text) is not None


def named(text: str, block: str, above: str = "") -> list[Value]:
    """The numbers of all evidence that the text names, of it those that belong to the block.

    Args:
        text: a part of a page.
        block: the paragraph, list item or table row in it that quotes a number.
        above: the paragraph above the table of a row.
    """
    found = of_studies(named_studies(text), block)
    for file in paths.project().glob("data/benchmarks/*.json"):
        if names(text, file.stem):
            found += of_machine(file)
    return found + (published(block, above, text) if "published_results.csv" in text else [])


def named_studies(text: str) -> list[str]:
    """The studies whose folder, or whose name in quotes, the text contains."""
    return [study for study in records.names() if re.search(rf"(?:reference_runs/|[\"'`]){study}(?![\w-])", text)]


def of_studies(studies: list[str], block: str) -> list[Value]:
    """The numbers of the rows that the block names by their labels; of all rows if it names none.

    Of several seeds these are means, and single runs where the block speaks of a run or a seed.
    """
    rows = [(label, row) for study in studies for label, row in measures(study).items()]
    rows = [(label, row) for label, row in rows if names(block, label)] or rows
    single = re.search(r"\bruns?\b|\bseed \d", block) is not None
    found = []
    for values in (values for _, row in rows for values in row.values()):
        found.append(Value(statistics.fmean(values), spread=statistics.stdev(values) if len(values) > 1 else None))
        if single:
            found += [Value(value) for value in values]
    return found


@cache
def measures(study: str) -> dict[str, dict[str, list[float]]]:
    """label -> measure -> one value a seed, in per cent."""
    rows: dict[str, dict[str, list[float]]] = {}
    for label, found in records.by_label(records.read(study)).items():
        row = rows.setdefault(label, {})
        for record in found:
            for name, value in _shares(record):
                row.setdefault(name, []).append(100 * value)
    return rows


def _shares(record: Record) -> Iterator[tuple[str, float]]:
    yield from _of_card("test", record.metrics)
    for chosen, epoch in record.best_epochs.items():
        yield f"test accuracy of the epoch with the best {chosen}", epoch["test_accuracy"]
    for report in record.robust:
        attacks = f"{' + '.join(report.attacks)} at {report.epsilon:.4f}"
        yield f"clean, {attacks}", report.clean_accuracy
        yield f"robust, {attacks}", report.robust_accuracy
        yield from ((f"after {name} of {attacks}", value) for name, value in report.after.items())
        yield from _of_card(attacks, report.adversarial or {})


def _of_card(name: str, card: dict) -> Iterator[tuple[str, float]]:
    """Of a report card, and of the cards of its groups."""
    for measure in ("accuracy", "ece", "confidence_gap", "worst_class_accuracy"):
        if card.get(measure) is not None:
            yield f"{name} {measure}", card[measure]
    for rule, groups in card.get("groups", {}).items():
        for group, own in groups.items():
            yield from _of_card(f"{name}, {group} by {rule},", own)


@cache
def of_machine(file: Path) -> list[Value]:
    """Speed against the plain recipe and the limit, and the growth of the cost."""
    found = json.loads(file.read_text())
    times = [row["ratio"] for row in found["rows"]] + [x for line in found["growth"] for x in line["relative"]]
    shares = [100 * row["share_of_limit"] for row in found["rows"]]
    return [Value(value, "times") for value in times] + [Value(value) for value in shares]


def published(block: str, above: str, cited_in: str) -> list[Value]:
    """Published values of the data sets named in the first of the texts that names any; of these those of the
    imbalance factor, the network and the paper that stand there."""
    for text in (block, above, cited_in):
        text = text.replace("iNaturalist 2018", "iNaturalist2018")
        if rows := [row for row in published_rows() if names(text, row.dataset)]:
            factors = {*map(float, re.findall(r"\bIF (\d+)", text)), None}
            rows = [row for row in rows if len(factors) == 1 or row.imbalance_factor in factors]
            rows = [row for row in rows if names(text, row.backbone)] or rows
            rows = [row for row in rows if names(f"{block} {above}", row.paper)] or rows
            return [Value(100 * row.value) for row in rows]
    return []


@cache
def published_rows() -> list[Published]:
    return papers.read()
