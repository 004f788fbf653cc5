"""Where records come from: the studies that come with the project, and the reader's own runs.

``data/reference_runs/<study>/<run id>.json`` holds everything that a number needs to be believed: command, recipe,
data, hardware, versions, commit, SHA-256 of the weights, the report card, the learning curve, and the robust reports.
``<run id>.npz`` beside it holds the predictions (``predictions.py``). Runs with one ``label`` are one row of a table
and differ in their seeds. The reader's own runs are the study ``runs``. No list of studies, methods or runs is in any
code.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ltlib import paths
from ltlib.errors import InputError, check_choice, nearest, one_line
from ltlib.experiments import runs
from ltlib.experiments.recipe import parse_overrides
from ltlib.experiments.runs import Run
from ltlib.results import schema
from ltlib.results.record import OWN, TAKEN_OVER, Record, from_json, label_of, one_spelling

Say = Callable[[str], None]


def measured(studies: Sequence[str] = (), say: Say | None = None) -> list[Record]:
    """The records of these studies, by default of all of them and of the reader's own finished runs.

    Args:
        studies: folders of ``data/reference_runs``, or ``runs``.
        say: receives one line per file or folder that is left out; by default they go to standard error.

    Raises:
        InputError: there is no such study.
    """
    known = [*names(), OWN]
    for name in studies:
        check_choice("study", name, known)
    return [
        record for name in studies or known for record in (own(say) if name == OWN else read(name, say))
    ]  # fmt: skip


def only(records: list[Record], dataset: str = "", method: str = "") -> list[Record]:
    """The records on these data and of this method.

    Args:
        records: of :func:`measured`.
        dataset: the name of the data, as ``cifar10`` or ``folder:cifar10-exact``; "" takes all.
        method: a label, or the name of a method for everything trained with it; "" takes all.

    Raises:
        InputError: nothing here is called so.
    """
    names_of: dict[str, tuple[str, Callable[[Record], set[str]]]] = {
        "dataset": (dataset, lambda record: {record.data["name"], record.experiment["dataset"]}),
        "method": (method, lambda record: {record.label, record.method}),
    }
    for what, (value, names_in) in names_of.items():
        if value:
            kept = [record for record in records if one_spelling(value) in names_in(record)]
            if not kept:
                allowed = {name for record in records for name in names_in(record)}
                raise InputError(f"No result has {what} {value!r}.{nearest(value, allowed)}")
            records = kept
    return records


def studies() -> Path:
    """The folder of all studies."""
    return paths.resources() / "data" / "reference_runs"


def names() -> list[str]:
    """The studies that are there: folders that hold records."""
    return sorted({file.parent.name for file in studies().glob("*/*.json")})


def read(study: str, say: Say | None = None) -> list[Record]:
    """All records of a study, by label in the order of ``order.txt``, then by seed; empty if there is none."""
    folder = studies() / study
    order = (folder / "order.txt").read_text(encoding="utf-8").splitlines() if (folder / "order.txt").exists() else []
    place = {one_spelling(label): i for i, label in enumerate(order)}
    files = sorted(folder.glob("*.json"))
    found = _readable(
        ((file, lambda file=file: from_json(schema.read_json(file), study, file)) for file in files),
        say or to_standard_error,
    )
    return sorted(found, key=lambda r: (place.get(r.label, len(place)), r.label, r.seed))


def by_label(records: Iterable[Record]) -> dict[str, list[Record]]:
    """label -> its records, in their order."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.label, []).append(record)
    return found


def own(say: Say | None = None, root: Path | None = None) -> list[Record]:
    """The reader's own finished runs, by id. What cannot be read is named and left out; a copied folder counts once.

    Args:
        say: see :func:`measured`.
        root: folder of the run folders; default ``LTLIB_RUNS``.
    """
    every = sorted(runs.all_runs(root), key=lambda run: run.id)
    told = say or to_standard_error
    return _readable(
        (
            (run.folder, lambda run=run: of_run(run, say=told) if run.info["state"] == "finished" else None)
            for run in every
        ),
        told,
    )


def unfinished(run: Run) -> str:
    """A line on a run that is not finished; "" for a finished one, and for one that :func:`own` names."""
    try:
        info = run.info
    except InputError:
        return ""
    if info["state"] == "finished":
        return ""
    return f"{run.state}: {run.id}  ({info.get('reason') or 'resume with: ' + info['command']})"


def of_run(run: Run, label: str = "", say: Say | None = None) -> Record:
    """The record of a finished run.

    Args:
        run: finished.
        label: its row of a table; by default the label of its method and what was changed.
        say: receives one line per damaged file that the numbers do not need, which is left out; without it that is an
            error.

    Raises:
        InputError: the run is not finished, or one of its files is damaged.
    """
    return from_json(kept(run, label, say), OWN, run.folder / "run.json")


def kept(run: Run, label: str = "", say: Say | None = None) -> dict:
    """What is kept of a finished run as JSON, all but the checksum of its weights. See :func:`of_run`."""
    info, file = run.info, run.folder / "run.json"
    if info.get("state") != "finished":
        raise InputError(f"Run {run.id} is {run.state}: only finished runs have results.")
    told: dict = {"label": label} | {name: info[name] for name in KEPT if name in info}
    schema.check(told, "record", file)
    told["label"] = label or own_label(told["experiment"])
    told["curve"] = _or_say(lambda: _curve(run), say) or dict(NO_CURVE)
    found = (_or_say(lambda file=file: _report(file), say) for file in sorted(run.folder.glob("robust-*.json")))
    if reports := [report for report in found if report]:
        told["robust"] = reports
    return told


def _or_say(read: Callable[[], dict], say: Say | None) -> dict | None:
    try:
        return read()
    except InputError as error:
        if not say:
            raise
        say(f"left out: {error}")
        return None


# What is kept of ``run.json``.
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
    "reported_epoch",
)


NO_CURVE: dict[str, list] = {"epoch": [], "loss": [], "test_accuracy": []}


def _curve(run: Run) -> dict[str, list]:
    curve: dict[str, list] = {name: [] for name in NO_CURVE}
    try:
        for line in run.metrics:
            if "test_accuracy" in line:
                for name, values in curve.items():
                    values.append(round(line[name], 5))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{run.folder / 'metrics.jsonl'} is damaged: {schema.AGAIN}") from error
    return curve


def _report(file: Path) -> dict:
    told = schema.read_json(file)
    schema.check(told, "robust report", file)
    return told


def own_label(experiment: dict) -> str:
    """The label of the method and what was changed; of a run that it starts from, the method."""
    changes = parse_overrides(experiment["overrides"])
    for name in TAKEN_OVER:
        if name in changes:
            changes[name] = changes[name].partition("-")[0]
    text = ", ".join(f"{name}={value}" for name, value in changes.items())
    name = label_of(experiment["method"])
    return f"{name} ({text})" if text else name


def _readable(sources: Iterable[tuple[Path, Callable[[], Record | None]]], say: Say) -> list[Record]:
    """What can be read of (place, function that reads it); each run once, from the place that has its name."""
    found: dict[str, tuple[Path, Record]] = {}
    for place, load in sources:
        try:
            record = load()
        except InputError as error:
            say(f"left out: {error}")
            continue
        if record is None:
            continue
        first = found.setdefault(record.id, (place, record))
        if first[0] != place:
            first, copy = sorted([first, (place, record)], key=lambda pair: not _is_home(*pair))
            found[record.id] = first
            say(f"left out: {copy[0]} is a copy of the run {record.id}, which counts once.")
    return [record for _, record in found.values()]


def _is_home(place: Path, record: Record) -> bool:
    """Whether the file or folder has the name of the run."""
    return place.name.removesuffix(".json") == record.id


def to_standard_error(line: str) -> None:
    """Say something about a file that is left out, not among the results."""
    print(one_line(line), file=sys.stderr)


def settings(records: Iterable[Record]) -> list[list[Record]]:
    """The records that differ in nothing but their seed, in the order in which they come.

    Stored records say so by their label; own ones by everything that decides their result.
    """
    every = list(records)
    by_id = {record.id: record for record in every}
    found: dict[tuple, list[Record]] = {}
    for record in every:
        same = "" if record.is_stored else _setting(record, by_id)
        found.setdefault((record.study, record.label, same), []).append(record)
    return list(found.values())


def _setting(record: Record, by_id: dict[str, Record]) -> str:
    """All that decides the result of an own run except its seed."""
    own = dict(record.hyperparameters)
    for name in TAKEN_OVER:
        if own.get(name):
            taken = by_id.get(own[name])
            own[name] = _setting(taken, by_id) if taken else re.sub(r"-s\d+-\w+$", "", str(own[name]))
    return json.dumps((record.method, own, record.recipe, record.data["fingerprint"], record.versions), sort_keys=True)
