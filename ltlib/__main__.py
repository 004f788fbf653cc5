"""The command line: one function per command, and nothing that the package does not do. Its flags: ``arguments.py``."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from ltlib.arguments import Commands, flag, parser
from ltlib.errors import InputError, from_system, nearest


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 2 after one sentence on standard error.

    A sweep that left runs unfinished ends with 1, anything that Ctrl-C stopped with 130, a closed pipe with 141.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")  # a terminal without ± shows ? and keeps the rest
    try:
        parsed, unknown = parser(COMMANDS).parse_known_args(arguments)
        options = vars(parsed)
        command = options.pop("command")
        for name in ("to", "seeds"):
            if options.get(name) == "":
                raise InputError(f"{flag(name)} is empty: give it a value, or leave it out.")
        if unknown:
            raise InputError(
                f"{unknown[0]!r} is no option here.{nearest(unknown[0], (flag(name) for name in options))}"
            )
        status = command(**options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read along, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # of a disk or a file; what can be said better is said where it happens
        print(f"error: {from_system(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command resumes after the last finished epoch", file=sys.stderr)
        return 130
    return status or 0


def train(seeds: str | None, processes: str, dry_run: bool, tensorboard: bool, **fields: str) -> None:
    """Train (or resume, or reload) one experiment and print its table."""
    from ltlib import distributed
    from ltlib.experiments.execute import execute
    from ltlib.experiments.experiment import Experiment, read
    from ltlib.experiments.plan import as_lines, plan
    from ltlib.launch.processes import parse_seeds, train_on, train_seeds
    from ltlib.launch.tensorboard import Board
    from ltlib.results import views

    experiment, number = Experiment.parse(**_given(fields)), read("processes", processes, 1)
    if seeds is not None and (fields["seed"] is not None or number != 1):
        raise InputError("--seeds goes with neither --seed nor --processes: leave one out.")
    if tensorboard and (seeds is not None or number != 1):
        raise InputError("--tensorboard follows one process: leave --seeds and --processes out.")
    if dry_run:
        planned = plan(experiment, processes=number)
        each = parse_seeds(seeds) if seeds is not None else [experiment.seed]
        print("\n".join(as_lines(planned.with_seed(each[0]))))
        print("".join(f"\nthe same for {planned.with_seed(seed).run.id}" for seed in each[1:]), end="")
        return
    if seeds is not None:
        found = train_seeds(experiment, parse_seeds(seeds))
    elif number != 1:
        found = [train_on(number, experiment)]
    else:
        found = [execute(experiment, watch=Board() if tensorboard else None)]
    if distributed.rank() == 0:
        where = found[0].folder if len(found) == 1 else found[0].folder.parent
        print(f"{views.of_runs(found)}; everything is in {where}")


def report(**fields: str) -> None:
    """Run ``notebooks/full_run.ipynb`` by papermill, and keep the executed notebook in the run folder."""
    from ltlib.launch import report as reports

    baseline = fields.pop("baseline") or ""
    reports.report(baseline=baseline, **_given(fields))


def demo() -> None:
    """Train MiSLAS and cross-entropy on a long tail of letters, about a minute on two cores, and report."""
    from ltlib.launch import report as reports

    reports.report(baseline="cross_entropy", method="mislas")


def lab(to: str, no_browser: bool) -> int:
    """Open the lessons in JupyterLab; an installed wheel copies them into a folder of yours first."""
    from ltlib.launch.lab import lab as open_lessons

    return open_lessons(to, browser=not no_browser)


def sweep(file: str, dry_run: bool, **options: str | None) -> int:
    """Train the experiments of a YAML file, several at a time; exit status 1 if one is not finished afterwards."""
    from ltlib.launch.sweep import sweep as train_all

    tasks = train_all(file, dry_run=dry_run, **_given(options))
    return int(not dry_run and any(task.state != "finished" for task in tasks))


def import_checkpoint(file: str, stage: str, class_order: str, **fields: str) -> None:
    """Make a finished run of a checkpoint that authors released, or of stored weights, and print its table."""
    from pathlib import Path

    from ltlib.experiments.experiment import Experiment
    from ltlib.experiments.imported import import_run
    from ltlib.results import formats, records, views

    experiment = Experiment.parse(**_given(fields | {"profile": "paper", "seed": None}))
    run = import_run(Path(file), experiment, stage=stage, class_order=class_order)
    record = records.of_run(run)
    print(f"{formats.as_text(views.card(record))}\n{views.rule_line([record.rule])}")
    print(f"imported as {run.id}; everything is in {run.folder}")


def robust(run: str, epsilon: str, norm: str, attack: str, images: str, surrogate: str | None) -> None:
    """Attack a finished run and print its robust accuracy with the checks behind it, or its table of transfer."""
    from ltlib.evaluation.robust import as_lines
    from ltlib.experiments import runs
    from ltlib.experiments.attack import measure, transfer, transfer_lines
    from ltlib.experiments.experiment import read

    ball = {"epsilon": read("epsilon", epsilon, 0.0), "norm": norm, "images": read("images", images, 0)}
    others = [runs.find(name) for name in (surrogate or "").split(",") if name]
    if attack == "transfer":
        print("\n".join(transfer_lines(transfer(runs.find(run), others, **ball))))
        return
    if len(others) > 1:
        raise InputError("The check on transfer takes one surrogate: name one run, or use --attack transfer.")
    report = measure(runs.find(run), attack=attack, surrogate=others[0] if others else None, **ball)
    print("\n".join(as_lines(report)))


def evaluate(run: str, prior: list[str], learnt: str, coverage: str | None) -> None:
    """Accuracy of a finished run on test sets of other class frequencies, and conformal sets; nothing is trained."""
    from ltlib.evaluation.calibration import probabilities
    from ltlib.evaluation.conformal import conformal_rows
    from ltlib.evaluation.prior import prior_rows
    from ltlib.experiments import runs
    from ltlib.experiments.experiment import read
    from ltlib.results.formats import as_text

    stored = runs.find(run).predictions()
    logits, labels, counts = (stored[name] for name in ("logits", "labels", "counts"))
    alpha = 1 - read("coverage", coverage, 0.0) if coverage else None
    rows = prior_rows(logits, labels, counts, prior, learnt)
    sets = conformal_rows(probabilities(logits), labels, alpha) if alpha is not None else []
    print(as_text(rows))
    if sets:
        print(f"\nconformal sets for a coverage of {coverage}, fitted on half of the test images\n{as_text(sets)}")


def runs_list() -> None:
    """Print all runs, finished or not."""
    from ltlib import paths
    from ltlib.errors import one_line
    from ltlib.experiments import runs
    from ltlib.results import formats, records, views

    found = runs.all_runs()
    if not found:
        print(f"no run yet in {paths.runs_root()}: start one with 'python -m ltlib train'")
        return
    finished = records.own()
    print(formats.as_text(views.per_run(finished)))
    for run in found:
        if line := records.unfinished(run):
            print(one_line(line))
    about = [views.rule_line(r.rule for r in finished), views.epoch_line(finished), f"runs are in {paths.runs_root()}"]
    print("; ".join(filter(None, about)))


def runs_show(run: str) -> None:
    """Print what one run is and what came out, under every group rule."""
    from ltlib.errors import one_line
    from ltlib.evaluation.robust import as_lines
    from ltlib.experiments import runs
    from ltlib.results import formats, records, views

    found = runs.find(run)
    info = found.info
    reason = f", {info['reason']}" if info.get("reason") else ""
    print(one_line(f"{found.id}: {found.state}{reason}"))
    for key in ("command", "started", "finished", "seconds", "precision", "hardware", "versions"):
        if key in info:
            print(one_line(f"  {key}: {info[key]}"))
    print(one_line(f"  data: {info['data']['name']}, training images per class {info['data']['counts']}"))
    if info["state"] == "finished":
        record = records.of_run(found, say=records.to_standard_error)
        for rule in record.metrics["groups"]:
            print(f"\ngroups by the {rule} rule\n{formats.as_text(views.card(record, rule))}")
        print("\n".join([*views.costs(record), views.epoch_line([record])]))
        for key, best in record.best_epochs.items():
            print(f"best {key.replace('_', ' ')}: test {best['test_accuracy']:.1%} at epoch {best['epoch']}")
        for report in record.robust:
            print("\n" + "\n".join(map(one_line, as_lines(report.told))))
    print(one_line(f"files: {found.folder}"))


def runs_export(
    run: list[str],
    to: str,
    label: str | None,
    logits: bool,
    network: str | None,
    trajectory: bool,
    sharpness: bool,
) -> None:
    """Write the small plain-file form of finished runs, as data/reference_runs holds it."""
    from pathlib import Path

    from ltlib.experiments import runs
    from ltlib.results import export, networks, trajectories

    _refuse_empty("--to", to, "data/reference_runs/my_study")
    _refuse_empty("--label", label, "MiSLAS")
    _refuse_empty("--network", network, "mislas")
    if network and len(run) > 1:
        raise InputError(f"--network names the weights of one run; {len(run)} runs were given.")
    folder = Path(to)
    for found in [runs.find(name) for name in run]:
        arrays = trajectories.compute(found) if trajectory else None
        print(export.export(found, folder, label or found.info["experiment"]["method"], logits, sharpness))
        if arrays:
            print(trajectories.write(arrays, folder, found.id))
        if network:
            print(networks.store(found, folder, network))


def results(
    study: str, dataset: str, method: str, metric: list[str], rule: str | None, papers: bool, to: str | None
) -> None:
    """Print tables over seeds of the stored studies and of your own runs, and the evidence for each number."""
    from pathlib import Path

    from ltlib.results import formats, provenance, records, table, views
    from ltlib.results import papers as published

    _refuse_empty("--to", to, "table.csv")
    found = records.only(records.measured([study] if study else []), dataset, method)
    rows = published.beside(found, metric, rule) if papers else table.table(found, metric, rule)
    if to is not None:
        print(formats.write(views.sheet(rows), Path(to)))
        return
    print(views.sheet(rows).as_text())
    if len(rows) == 1 and isinstance(rows[0], table.Row):
        print("\n" + "\n".join(provenance.as_lines(provenance.provenance(rows[0]))))


def claim(text: str) -> None:
    """Say whether the seeds support a claim such as 'mislas > crt on ece, cifar10 if100'."""
    from ltlib.results import claim as claims

    print("\n".join(claims.as_lines(claims.verdicts(claims.read(text)))))


def explain(method: str) -> None:
    """Print the card of a method: idea, equation, code, cost, our numbers and the papers'."""
    from ltlib.results import cards

    print(cards.as_markdown(cards.card(method)))


def predict(run: str, folder: str, to: str | None) -> None:
    """Print what a trained network says of your own images, as CSV; one line per image."""
    from pathlib import Path

    from ltlib.files import write_atomic
    from ltlib.results import formats
    from ltlib.results.predict import predict_folder

    rows = predict_folder(run, Path(folder).expanduser(), say=lambda line: print(line, file=sys.stderr))
    text = formats.as_csv(rows)
    if to is None:
        print(text, end="")
    else:
        write_atomic(Path(to).expanduser(), text.encode())
        print(f"{len(rows)} images: {to}")


def data_prepare(**fields: str) -> None:
    """Download or decode the data of an experiment and print what it would train on."""
    from ltlib.experiments.experiment import Experiment
    from ltlib.experiments.prepare import prepare
    from ltlib.experiments.recipe import resolve

    experiment = Experiment.parse(**_given(fields))
    recipe, _ = resolve(experiment)
    prepared = prepare(experiment, recipe)
    facts = prepared.description()
    print(
        f"{facts['name']}: {facts['train_images']:,} training and {facts['test_images']:,} test images, "
        f"{prepared.seen_as()}"
    )
    classes = [f"  {name:<16} {n:>7,}" for name, n in zip(facts["class_names"], facts["counts"], strict=True)]
    print("\n".join(classes if len(classes) <= 100 else [*classes[:10], "  ...", *classes[-10:]]))
    print(f"SHA-256 of the selected training indices: {facts['subset_sha256'] or 'none, the data are as they come'}")


def data_show() -> None:
    """List the data sets and the folders they live in."""
    from ltlib import paths
    from ltlib.data.datasets import DATASETS

    print(f"data in {paths.data_root()}, decoded images in {paths.cache_root()}")
    for name, entry in DATASETS.items():
        print(f"  {name:<15} {entry.description}" + (f"\n{'':<18}{entry.needs}" if entry.needs else ""))


def data_fetch() -> None:
    """Say where the features, photographs and trajectories of the project are, and what to do if one is missing."""
    from ltlib.data.fetch import lines

    print("\n".join(lines()))


def doctor() -> None:
    """Check this machine."""
    from ltlib.doctor import examine

    print("\n".join(examine()))


def _refuse_empty(flag: str, text: str | None, example: str) -> None:
    if text is not None and not text.strip():
        raise InputError(f"{flag} needs a name, such as {example}; got {text!r}.")


def _given(fields: Mapping[str, str | None]) -> dict[str, Any]:
    """The flags that were used; the rest keep the defaults of `Experiment`."""
    return {name: value for name, value in fields.items() if value is not None}


COMMANDS: Commands = {
    command.__name__: command
    for command in (
        train,
        report,
        demo,
        lab,
        sweep,
        import_checkpoint,
        robust,
        evaluate,
        runs_list,
        runs_show,
        runs_export,
        results,
        claim,
        explain,
        predict,
        data_prepare,
        data_show,
        data_fetch,
        doctor,
    )
}


if __name__ == "__main__":
    sys.exit(main())
