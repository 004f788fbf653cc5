"""What came out of a sweep: one row per setting, over its seeds, for the terminal, as CSV and as Markdown."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ltlib import paths
from ltlib.experiments.experiment import FIELDS, Experiment, command
from ltlib.files import write_atomic
from ltlib.launch.tasks import Task
from ltlib.results import measures, records, views
from ltlib.results.formats import Note, Rows, Sheet
from ltlib.results.table import Row, over_seeds

# Column -> metric.
MEASURES = {
    "accuracy": measures.metric("accuracy"),
    **{group: measures.metric(f"accuracy {group}") for group in measures.GROUPS},
    "ECE": measures.metric("ECE"),
}


@dataclass(frozen=True)
class Setting:
    """The tasks that differ in nothing but the seed, and what came out of them.

    Attributes:
        tasks: at least one.
        rows: column -> row of the table over the finished ones; without what none of them has.
    """

    tasks: tuple[Task, ...]
    rows: dict[str, Row]

    @property
    def experiment(self) -> Experiment:
        """Of the first seed."""
        return self.tasks[0].experiment

    @property
    def finished(self) -> int:
        """How many runs are finished."""
        return sum(task.state == "finished" for task in self.tasks)


def settings(tasks: Sequence[Task]) -> list[Setting]:
    """The settings of a sweep, in the order in which they first come."""
    found: dict[Experiment, list[Task]] = {}
    for task in tasks:
        found.setdefault(replace(task.experiment, seed=0), []).append(task)
    return [Setting(tuple(members), _over_seeds(members)) for members in found.values()]


def _over_seeds(tasks: Sequence[Task]) -> dict[str, Row]:
    members = [records.of_run(task.run, say=records.to_standard_error) for task in tasks if task.state == "finished"]
    rows = {column: over_seeds(members, metric) for column, metric in MEASURES.items()} if members else {}
    return {column: found[0] for column, found in rows.items() if found}


def full(settings: Sequence[Setting]) -> list[dict[str, object]]:
    """Every column: the fields of the experiment but the seed, ``planned`` and finished runs (``n``), mean and standard
    deviation of each measure (fractions; None where undefined), the rule of the groups, ``command`` (of the first seed)
    and ``runs`` (the ids of all)."""
    lines = []
    for setting in settings:
        line: dict[str, object] = {name: getattr(setting.experiment, name) for name in FIELDS if name != "seed"}
        line |= {"planned": len(setting.tasks), "n": setting.finished}
        for column in MEASURES:
            row = setting.rows.get(column)
            line |= {column: row.mean if row else None, f"sd_{column}": row.sd if row else None}
        line["rule"] = next((row.rule for row in setting.rows.values()), None)
        line |= {"command": command(setting.experiment), "runs": [task.run.id for task in setting.tasks]}
        lines.append(line)
    return lines


def readable(settings: Sequence[Setting]) -> Rows:
    """For a reader: the method and the fields that differ, numbers in per cent with their deviation."""
    fields = [name for name in FIELDS if name != "seed"]
    differ = [name for name in fields if len({getattr(setting.experiment, name) for setting in settings}) > 1]
    return [
        {"": str(number)}
        | {name: _plain(getattr(setting.experiment, name)) for name in dict.fromkeys(("method", *differ))}
        | {"n": _of(setting.finished, len(setting.tasks))}
        | {column: _mean(setting.rows.get(column)) for column in MEASURES}
        for number, setting in enumerate(settings, 1)
    ]


def _of(finished: int, planned: int) -> str:
    return f"{finished}" if finished == planned else f"{finished} of {planned}"


def _mean(row: Row | None) -> str:
    if row is None:
        return "-"
    return row.metric.show(row.mean) + (f" ±{row.metric.show(row.sd)}" if row.sd is not None else "")


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def sheet(name: str, tasks: Sequence[Task]) -> Sheet:
    """The table of a sweep with the command of each row, the machines behind it, and what is missing."""
    found = settings(tasks)
    rules = {row.rule for setting in found for row in setting.rows.values()}
    finished = [task.run.info for task in tasks if task.state == "finished"]
    behind = {f"ltlib {info['versions']['ltlib']}, {info['hardware']['device']}" for info in finished}
    epochs = views.epoch_line(row.first for setting in found for row in setting.rows.values())
    foot = [f"{len(finished)} of {len(tasks)} runs are finished", "mean ± standard deviation over n seeds"]
    foot += [epochs] * bool(epochs)
    notes = [Note(str(number), command(setting.experiment), True) for number, setting in enumerate(found, 1)]
    notes += [Note("", text) for text in (*sorted(behind), *missing(tasks))]
    foot += [views.rule_line(rules)] * bool(rules)
    return Sheet(readable(found), full(found), "; ".join(foot), notes, name)


def missing(tasks: Sequence[Task]) -> list[str]:
    """One line for each run that is not finished or made no report, with the command that tries it again."""
    lines = []
    for task in tasks:
        if task.state == "finished" and task.reason:
            lines.append(f"finished without a report: {task.run.id}. {task.reason}")
        elif task.state != "finished":
            attempts = f" after {task.attempts} attempt{'s' * (task.attempts > 1)}" if task.attempts else ""
            why = f": {task.reason}" if task.reason else "."
            lines.append(f"{task.state}{attempts}: {task.run.id}{why} Again with: {command(task.experiment)}")
    return lines


def write(name: str, tasks: Sequence[Task]) -> tuple[Path, Path]:
    """Write the table as ``NAME.csv`` and ``NAME.md`` beside the runs; returns both paths.

    What is there is replaced only if all its runs belong to this sweep too; else the name gets a number.
    """
    folder = paths.make_folder(paths.runs_root(), "LTLIB_RUNS")
    ids = {task.run.id for task in tasks}
    for number in itertools.count(1):
        stem = name if number == 1 else f"{name}-{number}"
        files = folder / f"{stem}.csv", folder / f"{stem}.md"
        if not any(file.exists() for file in files) or _runs_in(files[0]) <= ids:
            break
    made = sheet(name, tasks)
    write_atomic(files[0], made.as_csv().encode())
    write_atomic(files[1], made.as_markdown().encode())
    return files


def _runs_in(file: Path) -> set[str]:
    """The ids of the runs in a written table; something no run is called if it is not one."""
    try:
        with file.open(newline="", encoding="utf-8") as text:
            return {run for row in csv.DictReader(text) for run in row["runs"].split()}
    except (OSError, KeyError, AttributeError, ValueError):
        return {"?"}
