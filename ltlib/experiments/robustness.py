"""Robust accuracy of a finished run, stored in its folder with everything that stands behind the number."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from ltlib.attacks import APGD, PGD
from ltlib.attacks.autoattack import Attack, Official, ensemble
from ltlib.data.images import Images
from ltlib.errors import InputError, check_choice
from ltlib.evaluation.robust import kept, robust_report
from ltlib.experiments import execute
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.prepare import prepare
from ltlib.experiments.recipe import resolve
from ltlib.experiments.runs import Run
from ltlib.files import write_atomic
from ltlib.training.device import choose_device

ATTACKS = {
    "pgd20": lambda epsilon, norm: {"PGD-20": PGD(epsilon, norm, step_size=epsilon / 10)},
    "apgd": lambda epsilon, norm: {"APGD-CE": APGD(epsilon, norm), "APGD-T": APGD(epsilon, norm, targets=9)},
    "ensemble": ensemble,
    "official": lambda epsilon, norm: {"AutoAttack": Official(epsilon, norm)},
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
        epsilon, norm: of the ball, see `ltlib.attacks.Ball`.
        attack: a key of ``ATTACKS``: ``pgd20``, ``apgd`` (APGD-CE and APGD-T), ``ensemble`` (and Square) or
            ``official`` (the authors' AutoAttack, which must be installed).
        images: this many test images, spread evenly; 0 takes all.
        surrogate: another run on the same classes, for the check on transfer.

    Returns:
        The report of :func:`ltlib.evaluation.robust.robust_report`, with the run, the name of the data, and the folder
        inside the run that holds the ``arrays``.

    Raises:
        InputError: the run is not finished, its data have changed, or a value is not allowed.
    """
    check_choice("attack", attack, ATTACKS)
    if images < 0:
        raise InputError(f"images must be at least 0, and 0 means all; got {images}.")
    attacks: dict[str, Attack] = ATTACKS[attack](epsilon, norm)
    method = execute.load(run)
    test = _test_images(run)
    if images and images < len(test):
        test = test.take(torch.linspace(0, len(test) - 1, images).long().numpy())
    pixels, labels = torch.from_numpy(np.asarray(test.pixels)), torch.from_numpy(test.labels)
    file = report_file(run, attack, epsilon, norm, len(labels))
    if file.exists():
        print(f"measured already: {file}")
        return json.loads(file.read_text())
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
    report = {"run": run.id, "data": run.info["data"]["name"], "arrays": file.stem} | report
    write_atomic(file, json.dumps(report, indent=1).encode())
    return report


def report_file(run: Run, attack: str, epsilon: float, norm: str, images: int) -> Path:
    """Where the report is kept: one file for each question."""
    return run.folder / f"robust-{attack}-{norm}-{epsilon:.5f}-{images}.json"


def command(report: dict) -> str:
    """The command line that measures what this report says."""
    epsilon, norm = report["epsilon"], report["norm"]
    attack = next(name for name, make in ATTACKS.items() if list(make(epsilon, norm)) == list(report["attacks"]))
    flags = f"--attack {attack} --epsilon {epsilon:.8g} --norm {norm} --images {report['images']}"
    return f"python -m ltlib robust {report['run']} {flags}"


def arrays(run: Run, report: dict) -> dict[str, np.ndarray] | None:
    """What stands behind a report of :func:`reports`, see :func:`ltlib.evaluation.robust.withstood`; None if the report
    was made before such arrays were kept."""
    return kept(run.folder / report["arrays"]) if "arrays" in report else None


def reports(run: Run) -> list[dict]:
    """All robust reports of a run."""
    return [json.loads(file.read_text()) for file in sorted(run.folder.glob("robust-*.json"))]


def _test_images(run: Run) -> Images:
    """The test images that the run was measured on.

    Raises:
        InputError: the data are missing, or are no longer those of the run.
    """
    experiment = Experiment(**run.info["experiment"])
    data = prepare(experiment, resolve(experiment)[0])
    if data.fingerprint != run.info["data"]["fingerprint"]:
        raise InputError(f"The data of run {run.id} have changed since it was trained: train it again.")
    return data.test
