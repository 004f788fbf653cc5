"""All that stands behind a number of ``results.table``: commands, seeds, data, hardware, versions, files."""

from __future__ import annotations

from pathlib import Path

from ltlib import paths
from ltlib.experiments import runs
from ltlib.experiments.attack import attack_command
from ltlib.results import predictions, reference, results
from ltlib.results.predictions import Arrays

NOT_STORED = "not stored for this run"


def provenance(row: dict[str, object]) -> list[dict[str, str]]:
    """One list of facts for each run behind a row.

    Args:
        row: of :func:`ltlib.results.results.table`.

    Returns:
        For each run ``run``, ``command``, ``after`` (the command of the run that it starts from, if it does),
        ``attack`` (the command, of a robust number), ``checks`` (how many of them the attack passed), ``seed``,
        ``data``, ``hardware``, ``versions``, ``commit``, ``trained``, ``weights`` (SHA-256), ``predictions`` and
        ``record`` (where they are).
    """
    records = {record["id"]: record for record in results.measured([row["study"]])}
    return [_facts(records[run_id], row["attack"], records) for run_id in row["runs"].split()]


def as_lines(facts: list[dict[str, str]]) -> list[str]:
    """For the terminal and for notebooks: what all runs share, then what each has of its own."""
    shared = {name: value for name, value in facts[0].items() if all(f.get(name) == value for f in facts)}
    lines = [f"{name:<12}{value}" for name, value in shared.items()]
    for run in facts:
        own = {name: value for name, value in run.items() if name not in shared}
        lines += ["", *(f"{name:<12}{value}" for name, value in own.items())]
    return lines if shared else lines[1:]


def stored_predictions(record: dict) -> dict[str, Arrays] | None:
    """The predictions behind a record, by name: ``test``, and the arrays of its robust reports; None if not stored."""
    if record["study"] == results.OWN:
        return predictions.of_run(runs.Run(paths.runs_root() / record["id"]))
    file = _study_file(record, ".npz")
    return predictions.unpack(file) if file.exists() else None


def _facts(record: dict, attack: str, records: dict[str, dict]) -> dict[str, str]:
    data, hardware, experiment = record["data"], record["hardware"], record["experiment"]
    facts = {"run": record["id"], "command": record["command"]}
    if start := next(
        (record["hyperparameters"][n] for n in results.TAKEN_OVER if record["hyperparameters"].get(n)), ""
    ):
        facts["after"] = records[start]["command"] if start in records else f"the run {start}"
    report = results.report_of(record, attack) if attack else None
    if report:
        passed = sum(check["passed"] for check in report["checks"])
        facts["attack"] = attack_command(report)
        facts["checks"] = f"{passed} of {len(report['checks'])} passed"
    return facts | {
        "seed": str(experiment["seed"]),
        "data": f"{data['name']}, imbalance factor {results.imbalance(record)}, {data['train_images']:,} training and "
        f"{data['test_images']:,} test images, fingerprint {data['fingerprint']}",
        "hardware": ", ".join(f"{name} {value}" for name, value in hardware.items()),
        "versions": ", ".join(f"{name} {value}" for name, value in record["versions"].items()),
        "commit": record["revision"] or "none, no checkout",
        "trained": f"{record['finished']}, {record['seconds']:g} s",
        "weights": f"SHA-256 {_weights_sha256(record)}",
        "predictions": _predictions_file(record, report),
        "record": _shown(_study_file(record, ".json") if _is_stored(record) else _run(record).folder / "run.json"),
    }


def _predictions_file(record: dict, report: dict | None) -> str:
    """The file, and the name of the arrays in it."""
    name = report.get("arrays", "") if report else "test"
    if not _is_stored(record):
        return _shown(_run(record).folder / (f"{name}/" if report else "predictions.npz"))
    found = stored_predictions(record) or {}
    return f"{_shown(_study_file(record, '.npz'))}, arrays {name}/*" if name in found else NOT_STORED


def _weights_sha256(record: dict) -> str:
    return record["weights_sha256"] if _is_stored(record) else reference.weights_sha256(_run(record))


def _is_stored(record: dict) -> bool:
    return record["study"] != results.OWN


def _run(record: dict) -> runs.Run:
    return runs.Run(paths.runs_root() / record["id"])


def _study_file(record: dict, suffix: str) -> Path:
    return reference.studies() / record["study"] / f"{record['id']}{suffix}"


def _shown(file: Path) -> str:
    """From the root of the project where it lies below it."""
    return str(file.relative_to(paths.project()) if file.is_relative_to(paths.project()) else file)
