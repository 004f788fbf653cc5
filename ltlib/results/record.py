"""A finished run as one value, its *record*: the reader's own, or one that comes with the project."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ltlib.data.longtail import default_rule
from ltlib.experiments.attack import attack_command, attack_of
from ltlib.experiments.runs import Run
from ltlib.methods import METHODS
from ltlib.results import predictions, schema
from ltlib.results.predictions import Arrays

OWN = "runs"  # the study that holds the reader's own runs
EPOCHS = {"last": "last epoch", "best_on_validation": "best epoch on validation"}
TAKEN_OVER = ("stage1", "natural_run")  # hyper-parameters that name a run, and with it a seed


@dataclass(frozen=True)
class Report:
    """The robust accuracy of a run under one attack.

    Attributes:
        attack: its name, a key of ``ltlib.experiments.attack.ATTACKS``.
        attacks: the names of its parts, which are run in turn.
        norm, epsilon: of the ball, for images in [0, 1].
        images: how many test images were attacked.
        clean_accuracy, robust_accuracy: of these images, before and after the attack.
        after: accuracy after each part and all before it.
        adversarial: the report card of the attacked images; None in early reports.
        arrays: the name of the predictions behind it; None in early reports.
        checks: what was tried to see whether the attack fails, each with ``passed``.
        reliable: whether all checks passed.
        told: the report as it is stored.
    """

    attack: str
    attacks: tuple[str, ...]
    norm: str
    epsilon: float
    images: int
    clean_accuracy: float
    robust_accuracy: float
    after: dict[str, float]
    adversarial: dict | None
    arrays: str | None
    checks: list[dict]
    reliable: bool
    told: dict = field(repr=False)

    @property
    def title(self) -> str:
        """The attack, its ball and how many images: ``PGD-20, linf 8/255, 1,000 images``."""
        of_255 = self.epsilon * 255
        radius = f"{of_255:.0f}/255" if abs(of_255 - round(of_255)) < 1e-3 else f"{self.epsilon:.4g}"
        return f"{' + '.join(self.attacks)}, {self.norm} {radius}, {self.images:,} images"

    @property
    def command(self) -> str:
        """The command line that measures it."""
        return attack_command(self.told)


@dataclass(frozen=True)
class Record:
    """A finished run with all that its numbers need to be believed.

    Attributes:
        study: a folder of ``data/reference_runs``, or ``runs`` for the reader's own.
        label: the row of a table that it belongs to.
        id: of the run.
        command: the command line that trains it.
        experiment: the fields of ``Experiment``.
        recipe, hyperparameters: the settled recipe, and the method's own settings.
        data: name, classes, counts, sizes and fingerprint of the images.
        versions, revision, hardware: of the software, the commit (or ""), the machine.
        precision: ``float32``, ``bfloat16`` or ``float16``; None in early records.
        started, finished, seconds: when, and how long its own epochs took.
        metrics: the report card of the test set after the epoch that is reported.
        reported_epoch: its number; None in early records, which report the last epoch.
        best_epochs: the epochs that were best on the test set and on held-out images.
        curve: ``epoch``, ``loss`` and ``test_accuracy``, one value per measured epoch; empty in early records.
        robust: its robust reports.
        parameters, trained_images: how many; None in early records.
        weights_sha256: checksum of the final weights; None for own runs, whose weights are there.
        folder: where its files are.
    """

    study: str
    label: str
    id: str
    command: str
    experiment: dict
    recipe: dict
    hyperparameters: dict
    data: dict
    versions: dict[str, str]
    revision: str
    hardware: dict
    finished: str
    seconds: float
    metrics: dict
    folder: Path
    precision: str | None = None
    started: str | None = None
    best_epochs: dict[str, dict] = field(default_factory=dict)
    curve: dict[str, list] = field(default_factory=dict)
    robust: tuple[Report, ...] = ()
    parameters: int | None = None
    trained_images: int | None = None
    weights_sha256: str | None = None
    reported_epoch: int | None = None

    @property
    def method(self) -> str:
        """A key of ``ltlib.methods.METHODS``."""
        return self.experiment["method"]

    @property
    def seed(self) -> int:
        """Of the training."""
        return self.experiment["seed"]

    @property
    def imbalance(self) -> str:
        """``100``, ``step 100`` or ``natural``."""
        kind, factor = self.experiment["imbalance_type"], f"{self.experiment['imbalance_factor']:g}"
        return factor if kind == "exponential" else f"step {factor}" if kind == "step" else kind

    @property
    def reported(self) -> str:
        """Which epoch its numbers are of: ``last epoch``, or ``best epoch on validation``."""
        return EPOCHS[self.recipe.get("keep", "last")]

    @property
    def rule(self) -> str:
        """The group rule of tables that name none."""
        return default_rule(len(self.data["counts"]))

    @property
    def start(self) -> str:
        """The id of the run that it starts from, or ""."""
        return next((self.hyperparameters[name] for name in TAKEN_OVER if self.hyperparameters.get(name)), "")

    @property
    def seconds_per_image(self) -> float | None:
        """Of the stages that this run trained itself."""
        return self.seconds / self.trained_images if self.trained_images else None

    @property
    def is_stored(self) -> bool:
        """Whether it comes with the project."""
        return self.study != OWN

    @property
    def file(self) -> Path:
        """Where the record itself is kept."""
        return self.folder / (f"{self.id}.json" if self.is_stored else "run.json")

    @cached_property
    def predictions(self) -> dict[str, Arrays] | None:
        """What was predicted: ``test``, the arrays of its robust reports, and ``classes`` over the epochs where they
        were measured; None if nothing is stored. See ``predictions.py``.

        Raises:
            InputError: the file is damaged.
        """
        if not self.is_stored:
            return predictions.of_run(Run(self.folder), [report.told for report in self.robust])
        file = self.folder / f"{self.id}.npz"
        return predictions.unpack(file) if file.exists() else None


def from_json(told: dict, study: str, file: Path) -> Record:
    """A record from what its file holds; ``file`` is named where something is wrong.

    Raises:
        InputError: it is no record.
    """
    schema.check(told, "record", file)
    fields: dict[str, Any] = {name: told[name] for name in Record.__dataclass_fields__ if name in told}
    robust = tuple(report_from_json(one, file) for one in told.get("robust", []))
    return Record(
        **fields | {"study": study, "label": one_spelling(told["label"]), "robust": robust, "folder": file.parent}
    )


def report_from_json(told: dict, file: Path) -> Report:
    """A robust report from what its file holds.

    Raises:
        InputError: it is no robust report.
    """
    schema.check(told, "robust report", file)
    names = tuple(told["attacks"])
    fields: dict[str, Any] = {name: told.get(name) for name in Report.__dataclass_fields__}
    return Report(**fields | {"attack": attack_of(told), "attacks": names, "told": told})


def label_of(method: str) -> str:
    """What tables call a method with its published settings."""
    return METHODS[method].label if method in METHODS else method


def one_spelling(text: str) -> str:
    """An accent as one letter, however it was typed (Unicode NFC)."""
    return unicodedata.normalize("NFC", text)
