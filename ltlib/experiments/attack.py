"""Robust accuracy of a finished run, stored in its folder with everything that supports the number."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ltlib.attacks import APGD, FAB, PGD, Ball, Square
from ltlib.attacks.autoattack import Attack, ensemble, gradient_attacks, official
from ltlib.errors import InputError, check_choice
from ltlib.evaluation.robust import describe, kept, robust_report
from ltlib.evaluation.transfer import transfer_table
from ltlib.experiments import execute, run_files
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.prepare import prepare
from ltlib.experiments.recipe import resolve
from ltlib.experiments.runs import Run
from ltlib.files import write_atomic
from ltlib.training.device import choose_device


def _pgd20(epsilon: float, norm: str, classes: int) -> dict[str, Attack]:
    return {"PGD-20": PGD(epsilon, norm, step_size=epsilon / 10)}


def _cw20(epsilon: float, norm: str, classes: int) -> dict[str, Attack]:
    return {"CW-20": PGD(epsilon, norm, step_size=epsilon / 10, loss="margin")}


def _expectation(epsilon: float, norm: str, classes: int) -> dict[str, Attack]:
    """For random networks, as AutoAttack's version "rand": gradients are means over 20 passes."""
    losses = {"CE": "cross_entropy", "DLR": "dlr"} if classes > 2 else {"CE": "cross_entropy", "margin": "margin"}
    return {f"APGD-{name} EOT-20": APGD(epsilon, norm, loss=loss, draws=20) for name, loss in losses.items()}


# What --attack may name -> (epsilon, norm, number of classes) -> the attacks by the names of a report.
ATTACKS: dict[str, Callable[[float, str, int], dict[str, Attack]]] = {
    "pgd20": _pgd20,
    "cw20": _cw20,
    "apgd": gradient_attacks,
    "fab": lambda epsilon, norm, classes: {"FAB-T": FAB(epsilon, norm)},
    "square": lambda epsilon, norm, classes: {"Square": Square(epsilon, norm)},
    "ensemble": ensemble,
    "eot": _expectation,
    "official": official,
}


def measure(
    run: Run,
    *,
    epsilon: float = 8 / 255,
    norm: str = "linf",
    attack: str = "apgd",
    images: int = 0,
    surrogate: Run | None = None,
) -> dict:
    """Attack a finished run on its test images; resumes after the last finished chunk, or reloads.

    Args:
        run: whose network is attacked.
        epsilon, norm: of the ball, see `ltlib.attacks.Ball`; epsilon must be above 0 here.
        attack: a key of ``ATTACKS``: ``pgd20``, ``cw20`` (PGD on the margin), ``apgd`` (APGD-CE and APGD-T), ``fab``
            (FAB-T), ``square``, ``ensemble`` (APGD-CE, APGD-T and Square), ``eot`` (APGD on the mean gradient of 20
            passes, for random networks) or ``official`` (the authors' AutoAttack, which must be installed).
        images: this many test images, spread evenly; 0 takes all.
        surrogate: another run on the same classes, for the check on transfer.

    Returns:
        The report of :func:`ltlib.evaluation.robust.robust_report`, with the run, the name of the data, the attack's
        key, and the folder inside the run that holds the ``arrays``.

    Raises:
        InputError: the run is not finished, its data have changed, or a value is not allowed.
    """
    check_choice("attack", attack, ATTACKS)
    check_radius(epsilon, norm)
    if surrogate:
        _check_same_classes(run, [surrogate])
    method = execute.load(run)
    attacks = ATTACKS[attack](epsilon, norm, len(method.counts))
    pixels, labels = _test_images(run, images)
    file = report_file(run, attack, epsilon, norm, len(labels))
    if file.exists():
        print(f"measured already: {file}")
        return json.loads(file.read_text(encoding="utf-8"))
    device = choose_device()
    other = execute.load(surrogate).to(device) if surrogate else None
    report = robust_report(
        method.to(device),
        pixels.to(device),
        labels.to(device),
        attacks,
        surrogate=other,
        folder=file.with_suffix(""),
        say=lambda line: print(line, flush=True),
    )
    about = {"run": run.id, "data": run.info["data"]["name"], "attack": attack, "arrays": file.stem}
    write_atomic(file, json.dumps(about | report, indent=1).encode())
    return about | report


def check_radius(epsilon: float, norm: str) -> None:
    """Raise :class:`InputError` unless ``epsilon`` is the radius of a ball in which an attack can search."""
    Ball(epsilon, norm)
    if not epsilon > 0:
        raise InputError(
            "epsilon 0 allows no change of an image: the result is clean accuracy. Give a radius such as 8/255."
        )


def report_file(run: Run, attack: str, epsilon: float, norm: str, images: int) -> Path:
    """Where the report is kept: one file for each question."""
    return run.folder / f"robust-{attack}-{norm}-{epsilon:.5f}-{images}.json"


def attack_command(report: dict) -> str:
    """The command line that measures what this report says."""
    flags = f"--epsilon {_as_fraction(report['epsilon'])} --norm {report['norm']} --images {report['images']}"
    return f"python -m ltlib robust {report['run']} --attack {attack_of(report)} {flags}"


def attack_of(report: dict) -> str:
    """The key of ``ATTACKS`` that a report was measured with; reports before version 2 tell it by their attacks."""
    if "attack" in report:
        return report["attack"]
    before = {"PGD-20": "pgd20", "APGD-CE + APGD-T": "apgd", "APGD-CE + APGD-T + Square": "ensemble"}
    return before.get(" + ".join(report["attacks"]), "official")


def _as_fraction(epsilon: float) -> str:
    """``8/255`` where that is the very number, otherwise eight digits."""
    whole = round(255 * epsilon)
    return f"{whole}/255" if math.isclose(whole / 255, epsilon, rel_tol=1e-12) else f"{epsilon:.8g}"


def attack_arrays(run: Run, report: dict) -> dict[str, np.ndarray] | None:
    """The arrays behind a report of :func:`robust_reports`, see :func:`ltlib.evaluation.robust.withstood`; None if the
    report was made before such arrays were kept."""
    return kept(run.folder / report["arrays"]) if "arrays" in report else None


def robust_reports(run: Run) -> list[dict]:
    """All robust reports of a run.

    Raises:
        InputError: one of them is damaged.
    """
    return [_report_in(file) for file in sorted(run.folder.glob("robust-*.json"))]


def _report_in(file: Path) -> dict:
    """The report that a file holds."""
    shape = {"norm": str, "epsilon": float, "images": int, "clean_accuracy": float, "robust_accuracy": float}
    shape |= {"reliable": bool, "attacks": dict | list, "checks": list}
    try:
        told = run_files.read_json(run_files.content(file))
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict) or not all(isinstance(told.get(name), kind) for name, kind in shape.items()):
        raise InputError(f"{file} is no whole robust report: delete it, and attack the run again.")
    return told


def _test_images(run: Run, images: int) -> tuple[Tensor, Tensor]:
    """The test images that the run was measured on, evenly spread if not all, and their labels.

    Raises:
        InputError: the data are missing, or are no longer those of the run, or ``images`` is negative.
    """
    if images < 0:
        raise InputError(f"images must be at least 0, and 0 means all; got {images}.")
    experiment = Experiment(**run.info["experiment"])
    data = prepare(experiment, resolve(experiment)[0])
    if data.test.is_features:
        raise InputError(f"Run {run.id} was trained on features, and an attack changes the pixels of images.")
    if data.fingerprint != run.info["data"]["fingerprint"]:
        raise InputError(f"The data of run {run.id} have changed since it was trained: train it again.")
    test = data.test
    if images and images < len(test):
        test = test.take(torch.linspace(0, len(test) - 1, images).long().numpy())
    return torch.from_numpy(np.asarray(test.pixels)), torch.from_numpy(test.labels)


def transfer(run: Run, surrogates: list[Run], *, epsilon: float = 8 / 255, norm: str = "linf", images: int = 0) -> dict:
    """The black-box table of a finished run: its accuracy on adversarial images of other runs, and on its own.

    Args:
        run: whose network is tried.
        surrogates: runs on the same classes, on which the adversarial images are found.
        epsilon, norm, images: see :func:`measure`.

    Returns:
        ``run``, ``data``, ``epsilon``, ``norm``, ``images``, ``attacks`` with their settings, and ``table``: id of the
        source -> attack -> accuracy; the run's own row is the white-box attack. Stored in the run's folder.

    Raises:
        InputError: there is no surrogate, one has other classes, a run is not finished, or a value is not allowed.
    """
    check_radius(epsilon, norm)
    if not surrogates:
        raise InputError("A transfer table needs other runs: name them with --surrogate RUN or --surrogate RUN,RUN.")
    _check_same_classes(run, surrogates)
    device = choose_device()
    methods = {other.id: execute.load(other).to(device) for other in (run, *surrogates)}
    pixels, labels = (t.to(device) for t in _test_images(run, images))
    classes = len(methods[run.id].counts)
    attacks = _pgd20(epsilon, norm, classes) | _cw20(epsilon, norm, classes)
    table = transfer_table(methods[run.id], methods, pixels, labels, attacks)
    found = {
        "run": run.id,
        "data": run.info["data"]["name"],
        "epsilon": epsilon,
        "norm": norm,
        "images": len(labels),
        "attacks": describe(attacks),
        "table": table,
    }
    file = run.folder / f"transfer-{norm}-{epsilon:.5f}-{len(labels)}.json"
    write_atomic(file, json.dumps(found, indent=1).encode())
    return found


def _check_same_classes(run: Run, others: list[Run]) -> None:
    for other in others:
        if other.info["data"]["class_names"] != run.info["data"]["class_names"]:
            raise InputError(f"Run {other.id} has other classes than {run.id}: name a surrogate trained on the same.")


def transfer_lines(found: dict) -> list[str]:
    """The table of :func:`transfer` for the terminal."""
    lines = [f"{found['run']} on adversarial images of other runs, {found['norm']} epsilon {found['epsilon']:.5f}"]
    for source, row in found["table"].items():
        where = "its own (white box)" if source == found["run"] else source
        lines.append(f"  {where:<50} " + "   ".join(f"{name} {value:.1%}" for name, value in row.items()))
    return lines
