"""Tables as readers meet them: each is a view of the rows of ``table.py``, laid out for one purpose.

The views for the terminal are lists of dictionaries, one per line, with fractions as numbers; ``formats.py`` prints
them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from ltlib.evaluation.evaluate import MEASURES
from ltlib.experiments.runs import Run
from ltlib.results.formats import Note, Rows, Sheet, as_text
from ltlib.results.measures import GROUPS, OF_ALL_CLASSES, ROBUST, Metric, metric
from ltlib.results.papers import Pair
from ltlib.results.record import EPOCHS, Record
from ltlib.results.records import by_label, of_run, settings
from ltlib.results.table import Row, over_seeds, table

SUMMARY = ("accuracy", *(f"accuracy {group}" for group in GROUPS), "ECE")
ABOUT = ("study", "label", "data", "IF", "metric", "attack", "n")


def rule_line(rules: Iterable[str]) -> str:
    """What a table says of its groups: ``groups by the papers rule``."""
    names = sorted(set(rules))
    return f"groups by the {' or '.join(names)} rule" if names else ""


def epoch_line(records: Iterable[Record]) -> str:
    """What a table says of the epochs behind its numbers: ``numbers of the last epoch``."""
    names = sorted({record.reported for record in records}, reverse=True)
    return f"numbers of the {' or of the '.join(names)}" if names else ""


def per_run(records: Sequence[Record], rule: str | None = None) -> list[dict[str, object]]:
    """One line per run: accuracy, by group, and calibration. Fractions; None where undefined.

    Args:
        records: of finished runs.
        rule: see :func:`ltlib.results.table.table`.
    """
    lines = []
    for record in records:
        found = {row.metric.name: row.mean for row in table([record], [*SUMMARY, "confidence gap"], rule)}
        lines.append(
            {
                "method": record.method,
                "data": record.data["name"],
                "IF": record.imbalance,
                "seed": record.seed,
                "accuracy": found["accuracy"],
                **{group: found.get(f"accuracy {group}") for group in GROUPS},
                "ECE": found["ECE"],
                "confidence - accuracy": found["confidence gap"],
                **_epoch(record, records),
                "run": record.id,
            }
        )
    return lines


def _epoch(record: Record, records: Sequence[Record]) -> dict[str, str]:
    """The column that names which epoch a line reports; none where all records of the table report the last one."""
    return {} if all(one.reported == EPOCHS["last"] for one in records) else {"reported": record.reported}


def of_runs(runs: Sequence[Run]) -> str:
    """What the commands that train print of finished runs: :func:`per_run`, the rule of its groups, the epochs."""
    found = [of_run(run) for run in runs]
    return f"{as_text(per_run(found))}\n{rule_line(record.rule for record in found)}; {epoch_line(found)}"


def summary(records: Sequence[Record], rule: str | None = None) -> list[dict[str, object]]:
    """One line per setting: mean over seeds, and the standard deviation behind a plus-minus sign. Fractions.

    Args:
        records: of a study.
        rule: see :func:`ltlib.results.table.table`.
    """
    lines = []
    for found in by_setting(table(records, SUMMARY, rule)):
        accuracy, calibration = found["accuracy"], found["ECE"]
        lines.append(
            {
                "label": accuracy.label,
                "n": accuracy.n,
                "accuracy": accuracy.mean,
                "± accuracy": accuracy.sd,
                **{g: found[f"accuracy {g}"].mean if f"accuracy {g}" in found else None for g in GROUPS},
                "ECE": calibration.mean,
                "± ECE": calibration.sd,
                **_epoch(accuracy.first, records),
                "command": accuracy.first.command,
            }
        )
    return lines


def robust_summary(records: Sequence[Record], attack: str, epsilon: float) -> list[dict[str, object]]:
    """One line per setting that was attacked: clean and robust accuracy of the attacked images, mean over seeds and
    standard deviation. Fractions.

    Args:
        records: of a study; those without such a report are left out.
        attack: a key of ``ltlib.experiments.attack.ATTACKS``.
        epsilon: of the report.

    Returns:
        Lines with ``label``, ``n``, ``clean``, ``± clean``, ``robust``, ``± robust``, ``reliable`` (how many reports
        passed all checks) and ``command``.
    """
    asked = [metric(f"{attack} clean accuracy").name, metric(f"{attack} accuracy").name]
    rows = [row for row in table(records, asked) if math.isclose(row.reports[0].epsilon, epsilon, rel_tol=1e-6)]
    lines = []
    for found in by_setting(rows, lambda row: row.attack):
        clean, robust = (found[name] for name in asked)
        lines.append(
            {
                "label": robust.label,
                "n": robust.n,
                "clean": clean.mean,
                "± clean": clean.sd,
                "robust": robust.mean,
                "± robust": robust.sd,
                "reliable": sum(report.reliable for report in robust.reports),
                **_epoch(robust.first, records),
                "command": robust.first.command,
            }
        )
    return lines


def means(records: Sequence[Record], metrics: Sequence[str], rule: str | None = None) -> list[dict[str, object]]:
    """One line per setting: ``label``, ``n``, and the mean of each metric, None where it was not measured.

    Args:
        records, metrics, rule: see :func:`ltlib.results.table.table`; of a metric under attack, each setting has one
            attack.
    """
    rows = table(records, metrics, rule)
    names = dict.fromkeys(row.metric.name for row in rows)
    found = {next(iter(line.values())).members[0].id: line for line in by_setting(rows)}
    lines = []
    for members in settings(records):
        line = found.get(members[0].id, {})
        values = {name: line[name].mean if name in line else None for name in names}
        lines.append({"label": members[0].label, "n": len(members)} | values)
    return lines


def by_seed(
    records: Sequence[Record], metrics: Sequence[str], rule: str | None = None
) -> dict[str, list[dict[str, float | None]]]:
    """label -> for each seed its metrics by name, None where one was not measured. For figures that show every seed.

    Args:
        records, metrics, rule: as for :func:`means`.
    """
    rows = table(records, metrics, rule)
    names = dict.fromkeys(row.metric.name for row in rows)
    lines: dict[str, dict[str, float | None]] = {record.id: dict.fromkeys(names) for record in records}
    for row in rows:
        for record, value in zip(row.records, row.values, strict=True):
            lines[record.id][row.metric.name] = value
    return {label: [lines[record.id] for record in found] for label, found in by_label(records).items()}


def by_setting(rows: Sequence[Row], also: Callable[[Row], str] = lambda row: "") -> list[dict[str, Row]]:
    """For each setting, and each value of ``also``, its rows by the name of the metric."""
    found: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        key = (*(record.id for record in row.members), also(row))
        found.setdefault(key, {})[row.metric.name] = row
    return list(found.values())


def card(record: Record, rule: str | None = None) -> list[dict[str, str]]:
    """The report card of a run: one line per measure, its value on all images and on those of each group; clean, then
    under each attack."""
    lines = []
    for under in ("", ROBUST):
        for key in MEASURES:
            rows = {group: over_seeds([record], Metric(key, group, under), rule) for group in ("", *GROUPS)}
            for row in rows[""]:
                same = {group: [r for r in found if r.attack == row.attack] for group, found in rows.items()}
                values = {group: r[0].mean if r else None for group, r in same.items()}
                name = f"{MEASURES[key].name}, {row.attack}" if under else MEASURES[key].name
                lines.append({"": name} | {group or "all": row.metric.show(v) for group, v in values.items()})
    for key, name in OF_ALL_CLASSES.items():
        lines += [{"": name, "all": row.metric.show(row.mean)} for row in over_seeds([record], Metric(key), rule)]
    columns = ("", "all", *GROUPS)
    return [{name: line.get(name, "-") for name in columns} for line in lines]


def costs(record: Record) -> list[str]:
    """A line on the size and the speed of a run, where it recorded them."""
    if not record.parameters or not record.seconds_per_image:
        return []
    return [f"{record.parameters:,} parameters, {1000 * record.seconds_per_image:.3g} ms per training image"]


def sheet(rows: Sequence[Row | Pair]) -> Sheet:
    """Rows of :func:`ltlib.results.table.table` or :func:`ltlib.results.papers.beside` with all that belongs to them.

    The sheet is for every format: what a reader looks at first, every column in full, the rule of the groups, the
    commands, and the reasons why a number differs from a paper's.
    """
    plain = [row.row if isinstance(row, Pair) else row for row in rows]
    foot = (
        f"mean ± standard deviation over n seeds; {epoch_line(row.first for row in plain)}; "
        f"95%: Student's interval for the mean; {rule_line(row.rule for row in plain)}; "
        "the commands are those of the first seed"
    )
    return Sheet(readable(rows), [row.columns() for row in rows], foot, notes(rows))


def readable(rows: Sequence[Row | Pair]) -> Rows:
    """The columns that a reader looks at first, as texts; a column without any value is left out."""
    shown = [_readable(number, row) for number, row in enumerate(rows, 1)]
    for name in ("rule", "reported"):
        if len({line[name] for line in shown}) == 1:  # the line below the table names it
            shown = [line | {name: "-"} for line in shown]
    return [{name: text for name, text in line.items() if any(other[name] != "-" for other in shown)} for line in shown]


def _readable(number: int, found: Row | Pair) -> dict[str, str]:
    row = found.row if isinstance(found, Pair) else found
    show, columns = row.metric.show, row.columns()
    line = {"": str(number)} | {name: str(columns[name]) or "-" for name in ABOUT}
    line["rule"], line["reported"] = row.rule, row.first.reported
    line["mean"] = show(row.mean) + (f" ± {show(row.sd)}" if row.sd is not None else "")
    line["95%"] = f"{show(row.spread.low)} to {show(row.spread.high)}" if row.n > 1 else "-"
    line |= {"best on test": show(row.best_on_test), "chosen on validation": show(row.chosen_on_validation)}
    if isinstance(found, Pair):
        line |= {"paper": found.theirs.paper, "its method": found.theirs.method}
        line |= {"its value": f"{found.theirs.value:.2%}", "difference": f"{100 * found.difference:+.1f} points"}
        line["verified"] = found.theirs.verified
    return line


def notes(rows: Sequence[Row | Pair]) -> list[Note]:
    """The commands of each row and, beside a paper, why the two differ and where its number is."""
    of_text: dict[tuple[str, bool], list[str]] = {}
    for number, found in enumerate(rows, 1):
        row = found.row if isinstance(found, Pair) else found
        commands = [row.first.command, *(report.command for report in row.reports[:1])]
        texts = [(" && ".join(commands), True)]
        if isinstance(found, Pair):
            texts.append((f"differs from the paper's: {'; '.join(found.why)}", False))
            texts.append((f"the paper's number is in: {found.theirs.source}", False))
        for text in texts:
            of_text.setdefault(text, []).append(str(number))
    return [Note(", ".join(numbers), text, is_command) for (text, is_command), numbers in of_text.items()]
