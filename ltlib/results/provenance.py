"""Everything behind a number of a table: commands, seeds, data, hardware, versions, files."""

from __future__ import annotations

from pathlib import Path

from ltlib import paths
from ltlib.experiments.runs import Run
from ltlib.results import export, records
from ltlib.results.record import Record, Report
from ltlib.results.table import Row

NOT_STORED = "not stored for this run"


def provenance(row: Row) -> list[dict[str, str]]:
    """One list of facts for each run behind a row.

    Returns:
        For each run ``run``, ``command``, ``after`` (the command of the run that it starts from, if it does),
        ``attack`` (the command, of a robust number), ``checks`` (how many of them the attack passed), ``seed``,
        ``data``, ``hardware``, ``precision`` (where it is known),
        ``versions``, ``commit``, ``trained``, ``weights`` (SHA-256), ``predictions`` and
        ``record`` (where they are).
    """
    started = any(record.start for record in row.records)
    commands = {r.id: r.command for r in records.measured([row.first.study], lambda line: None)} if started else {}
    reports = row.reports or (None,) * row.n
    return [_facts(record, report, commands) for record, report in zip(row.records, reports, strict=True)]


def as_lines(facts: list[dict[str, str]]) -> list[str]:
    """For the terminal and for notebooks: what all runs share, then what each has of its own."""
    shared = {name: value for name, value in facts[0].items() if all(f.get(name) == value for f in facts)}
    lines = [f"{name:<12}{value}" for name, value in shared.items()]
    for run in facts:
        own = {name: value for name, value in run.items() if name not in shared}
        lines += ["", *(f"{name:<12}{value}" for name, value in own.items())]
    return lines if shared else lines[1:]


def _facts(record: Record, report: Report | None, commands: dict[str, str]) -> dict[str, str]:
    data, facts = record.data, {"run": record.id, "command": record.command}
    if record.start:
        facts["after"] = commands.get(record.start, f"the run {record.start}")
    if report:
        passed = sum(check["passed"] for check in report.checks)
        facts |= {"attack": report.command, "checks": f"{passed} of {len(report.checks)} passed"}
    return facts | {
        "seed": str(record.seed),
        "data": f"{data['name']}, imbalance factor {record.imbalance}, {data['train_images']:,} training and "
        f"{data['test_images']:,} test images, fingerprint {data['fingerprint']}",
        "hardware": ", ".join(f"{name} {value}" for name, value in record.hardware.items()),
        **({"precision": record.precision} if record.precision else {}),
        "versions": ", ".join(f"{name} {value}" for name, value in record.versions.items()),
        "commit": record.revision or "none, no checkout",
        "trained": f"{record.finished}, {record.seconds:g} s",
        "weights": f"SHA-256 {record.weights_sha256 or export.weights_sha256(Run(record.folder))}",
        "predictions": _predictions_file(record, report),
        "record": _shown(record.file),
    }


def _predictions_file(record: Record, report: Report | None) -> str:
    """The file, and the name of the arrays in it."""
    name = (report.arrays or "") if report else "test"
    if not record.is_stored:
        return _shown(record.folder / (f"{name}/" if report else "predictions.npz"))
    file = _shown(record.folder / f"{record.id}.npz")
    return f"{file}, arrays {name}/*" if name in (record.predictions or {}) else NOT_STORED


def _shown(file: Path) -> str:
    """From the root of the project where it is below it."""
    return str(file.relative_to(paths.project()) if file.is_relative_to(paths.project()) else file)
