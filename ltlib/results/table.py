"""The table of results: one row per setting and metric, over its seeds. The only place that averages over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ltlib.data.longtail import RULES
from ltlib.errors import check_choice
from ltlib.evaluation.spread import Interval, interval
from ltlib.results import measures
from ltlib.results.measures import Metric
from ltlib.results.record import Record, Report
from ltlib.results.records import settings

ACCURACY = Metric("accuracy")


@dataclass(frozen=True)
class Row:
    """One number over seeds, with everything that it was made of.

    Attributes:
        members: all records of the setting, which differ in their seeds.
        metric: what was measured.
        rule: of the groups many, medium and few.
        records: the members for which it was measured.
        values: one number per record; fractions where the metric is a share.
        reports: the robust report of each record; empty for a metric of clean images.
    """

    members: tuple[Record, ...]
    metric: Metric
    rule: str
    records: tuple[Record, ...]
    values: tuple[float, ...]
    reports: tuple[Report, ...] = ()

    @cached_property
    def spread(self) -> Interval:
        """Mean, standard deviation, and Student's 95 % interval for the mean."""
        return interval(self.values)

    @property
    def mean(self) -> float:
        """Over the seeds, after the epoch that each run reports."""
        return self.spread.mean

    @property
    def sd(self) -> float | None:
        """Over the seeds; None of one seed."""
        return self.spread.sd

    @property
    def n(self) -> int:
        """How many seeds."""
        return len(self.values)

    @property
    def first(self) -> Record:
        """The record of the first seed, for what all seeds share."""
        return self.records[0]

    @property
    def label(self) -> str:
        """Of the setting."""
        return self.first.label

    @property
    def seeds(self) -> tuple[int, ...]:
        """One per value."""
        return tuple(record.seed for record in self.records)

    @property
    def attack(self) -> str:
        """The attack with its ball and its images, or ""."""
        return self.reports[0].title if self.reports else ""

    @property
    def best_on_test(self) -> float | None:
        """Of the accuracy, the mean at the epochs that were best on the test set; None where one is not known."""
        return self._chosen("test_accuracy")

    @property
    def chosen_on_validation(self) -> float | None:
        """Of the accuracy, the mean at the epochs that were best on held-out images; None where one is not known."""
        return self._chosen("validation_accuracy")

    def _chosen(self, by: str) -> float | None:
        if self.metric != ACCURACY:
            return None
        values = [record.best_epochs.get(by, {}).get("test_accuracy") for record in self.records]
        known = [value for value in values if value is not None]
        return statistics.fmean(known) if len(known) == len(values) else None

    def columns(self) -> dict[str, object]:
        """The row flat, for CSV and for data frames; lists stay lists."""
        first = self.first
        return {
            "study": first.study,
            "label": first.label,
            "data": first.data["name"],
            "IF": first.imbalance,
            "backbone": first.recipe["backbone"],
            "epochs": first.recipe["epochs"],
            "reported": first.reported,
            "metric": self.metric.name,
            "attack": self.attack,
            **self.spread._asdict(),
            "best on test": self.best_on_test,
            "chosen on validation": self.chosen_on_validation,
            "seeds": list(self.seeds),
            "values": list(self.values),
            "command": first.command,
            "attack command": self.reports[0].command if self.reports else "",
            "runs": [record.id for record in self.records],
            "rule": self.rule,
        }


def table(records: Iterable[Record], metrics: Sequence[str] = ("accuracy",), rule: str | None = None) -> list[Row]:
    """One row for each setting and metric, over its seeds; under each attack a row of its own.

    Args:
        records: of :func:`ltlib.results.records.measured`.
        metrics: names, see :func:`ltlib.results.measures.metric`; those that no record of a setting has are left out.
        rule: of the groups many, medium and few: ``papers`` or ``threshold``; by default ``papers`` where it is
            defined for the number of classes, and otherwise ``threshold``.

    Raises:
        InputError: a metric or the rule is not known.
    """
    wanted = [measures.metric(name) for name in metrics]
    if rule is not None:
        check_choice("rule", rule, RULES)
    return [row for members in settings(records) for one in wanted for row in over_seeds(members, one, rule)]


def over_seeds(members: Sequence[Record], metric: Metric, rule: str | None = None) -> list[Row]:
    """The rows of one metric for records that differ in their seeds: one row, or one per attack; none if no record has
    the metric. See :func:`table`."""
    members = tuple(members)
    rule = rule or members[0].rule
    if not metric.under:
        pairs = [(record, value) for record in members if (value := metric.of(record.metrics, rule)) is not None]
        return [Row(members, metric, rule, *map(tuple, zip(*pairs, strict=True)))] if pairs else []
    found: dict[str, list[tuple[Record, float, Report]]] = {}
    for record in members:
        for report in record.robust:
            value = _under_attack(metric, report, rule)
            if value is not None:
                found.setdefault(report.title, []).append((record, value, report))
    return [Row(members, metric, rule, *map(tuple, zip(*triples, strict=True))) for triples in found.values()]


def _under_attack(metric: Metric, report: Report, rule: str) -> float | None:
    """The metric of the attacked images; early reports know no more than two accuracies."""
    if metric.under not in (measures.ROBUST, report.attack):
        return None
    if metric.measure == "clean_accuracy":
        return report.clean_accuracy
    if metric.measure == "accuracy" and not metric.group:
        return report.robust_accuracy
    return metric.of(report.adversarial, rule) if report.adversarial else None
