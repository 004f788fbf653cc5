"""What came out of a sweep: one row a setting, over its seeds, for the terminal, as CSV and as Markdown."""

from __future__ import annotations

import csv
import io
import itertools
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ltlib import paths
from ltlib.experiments import runs
from ltlib.experiments.experiment import FIELDS, command
from ltlib.files import write_atomic
from ltlib.launch.tasks import Task

MEASURES = ("accuracy", "many", "medium", "few", "ECE")
RULE = "threshold"  # of the groups many, medium and few


def table(tasks: list[Task]) -> list[dict[str, object]]:
    """One row for the tasks that differ in nothing but the seed. Fractions; None where undefined.

    Returns:
        Rows with the fields of the experiment but the seed, ``planned`` and finished runs (``n``), for each measure
        its mean and standard deviation over seeds (``accuracy``, ``± accuracy``), ``command`` (of the first seed)
        and ``runs`` (the ids of all).
    """
    rows = []
    for _, group in itertools.groupby(_by_setting(tasks), key=_setting):
        members = list(group)
        first = members[0].experiment
        finished = runs.table([task.run for task in members if task.state == "finished"], RULE)
        row = {name: getattr(first, name) for name in FIELDS if name != "seed"}
        row |= {"planned": len(members), "n": len(finished)}
        for name in MEASURES:
            values = [line[name] for line in finished if line[name] is not None]
            row[name] = statistics.fmean(values) if values else None
            row[f"± {name}"] = statistics.stdev(values) if len(values) > 1 else None
        rows.append(row | {"command": command(first), "runs": " ".join(task.run.id for task in members)})
    return rows


def _setting(task: Task):
    return replace(task.experiment, seed=0)


def _by_setting(tasks: list[Task]) -> list[Task]:
    """Tasks of one setting side by side, settings in the order in which they first come."""
    order: dict = {}
    for task in tasks:
        order.setdefault(_setting(task), len(order))
    return sorted(tasks, key=lambda task: order[_setting(task)])


def readable(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """The rows for a reader: the method and the fields that differ, numbers in per cent with their deviation."""
    differ = [name for name in FIELDS if name in rows[0] and len({row[name] for row in rows}) > 1]

    def cell(row: dict[str, object], name: str) -> str:
        mean, deviation = row[name], row[f"± {name}"]
        if mean is None:
            return "-"
        return f"{mean:.1%}" if deviation is None else f"{mean:.1%} ±{deviation:.1%}"

    return [
        {"": str(number)}
        | {name: _plain(row[name]) for name in dict.fromkeys(("method", *differ))}
        | {"n": f"{row['n']}" if row["n"] == row["planned"] else f"{row['n']} of {row['planned']}"}
        | {name: cell(row, name) for name in MEASURES}
        for number, row in enumerate(rows, 1)
    ]


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_text(tasks: list[Task]) -> str:
    """The table for the terminal, then the command of each row, then what is missing."""
    rows = table(tasks)
    lines = [runs.as_text(readable(rows)), f"mean ± standard deviation over n seeds; groups by the {RULE} rule", ""]
    lines += [f"{number}: {row['command']}" for number, row in enumerate(rows, 1)]
    return "\n".join(lines + [""] * any(missing(tasks)) + missing(tasks))


def missing(tasks: list[Task]) -> list[str]:
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


def as_csv(tasks: list[Task]) -> str:
    """The table with all its columns; fractions."""
    rows = [{name.replace("± ", "sd_"): value for name, value in row.items()} for row in table(tasks)]
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_markdown(name: str, tasks: list[Task]) -> str:
    """The table, the command of each row, and the hardware and versions behind it."""
    rows = table(tasks)
    shown = readable(rows)
    line: Callable[[list[str]], str] = lambda cells: f"| {' | '.join(cells)} |"  # noqa: E731
    finished = [task.run.info for task in tasks if task.state == "finished"]
    behind = {f"ltlib {info['versions']['ltlib']}, {info['hardware']['device']}" for info in finished}
    text = [
        f"# {name}",
        "",
        f"{len(finished)} of {len(tasks)} runs are finished. Mean ± standard deviation over n seeds, last epoch; "
        f"groups by the {RULE} rule.",
        "",
        line(list(shown[0])),
        line(["---"] * len(shown[0])),
        *(line([str(value).replace("|", "\\|") for value in row.values()]) for row in shown),
        "",
        *(f"{number}. `{row['command']}`" for number, row in enumerate(rows, 1)),
        "",
        *(f"- {text}" for text in (*sorted(behind), *missing(tasks))),
    ]
    return "\n".join(text).rstrip() + "\n"


def write(name: str, tasks: list[Task]) -> tuple[Path, Path]:
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
    write_atomic(files[0], as_csv(tasks).encode())
    write_atomic(files[1], as_markdown(name, tasks).encode())
    return files


def _runs_in(file: Path) -> set[str]:
    """The ids of the runs that stand in a written table; something no run is called if it is not one."""
    try:
        with file.open(newline="", encoding="utf-8") as text:
            return {run for row in csv.DictReader(text) for run in row["runs"].split()}
    except (OSError, KeyError, AttributeError, ValueError):
        return {"?"}
