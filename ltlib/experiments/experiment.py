"""The vocabulary of an experiment. These fields are the parameters of a notebook, the ``-p`` names of papermill
and the flags of the command line: the same words, the same meaning, checked in one place."""

from __future__ import annotations

import inspect
import math
import re
import shlex
from dataclasses import asdict, dataclass, fields
from typing import Any

from ltlib.data.datasets import DATASETS
from ltlib.data.longtail import KINDS
from ltlib.errors import InputError, check_choice, nearest
from ltlib.methods import METHODS

PROFILES = ("smoke", "lesson", "paper")
IMBALANCE_TYPES = (*KINDS, "natural")


@dataclass(frozen=True)
class Experiment:
    """What to train on what. Validates itself.

    Attributes:
        method: what to train, a key of ``ltlib.methods.METHODS``.
        dataset: on which images, a key of ``ltlib.data.datasets.DATASETS``.
        imbalance_factor: images of the largest class divided by those of the smallest, at least 1. It is not used with
            ``natural``.
        imbalance_type: how the counts of the classes fall. ``natural`` keeps the data as they are, which ImageNet-LT,
            Places-LT and iNaturalist 2018 always are.
        profile: the size of everything. ``smoke`` takes seconds and is for tests, ``lesson`` takes about a minute on
            two cores, and ``paper`` is the authors' recipe.
        seed: of the training. The long-tailed subset is always the published one.
        data_dir: folder of the data set. Empty means ``LTLIB_DATA``.
        overrides: changes to the recipe or to numbers of the method, such as ``epochs=5, lr=0.05``. A name that does
            not exist is answered with all that do.

    Raises:
        InputError: a value has the wrong type or is not allowed.
    """

    method: str = "cross_entropy"
    dataset: str = "glyphs"
    imbalance_factor: float = 100.0
    imbalance_type: str = "exponential"
    profile: str = "lesson"
    seed: int = 0
    data_dir: str = ""
    overrides: str = ""

    def __post_init__(self) -> None:
        for name in ("method", "dataset", "imbalance_type", "profile", "data_dir", "overrides"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"{name} must be a text; got {getattr(self, name)!r}.")
        check_choice("method", self.method, METHODS)
        check_choice("dataset", self.dataset, DATASETS)
        check_choice("imbalance_type", self.imbalance_type, IMBALANCE_TYPES)
        check_choice("profile", self.profile, PROFILES)
        if DATASETS[self.dataset].natural:
            if self.imbalance_type == "step":
                raise InputError(f"{self.dataset} is long-tailed as it comes: leave imbalance_type='step' out.")
            object.__setattr__(self, "imbalance_type", "natural")
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or not 0 <= self.seed < 2**63:
            raise InputError(f"seed must be a whole number from 0; got {self.seed!r}.")
        factor = self.imbalance_factor
        if not isinstance(factor, int | float) or isinstance(factor, bool) or not 1 <= factor < math.inf:
            raise InputError(f"imbalance_factor is n_max / n_min, a number from 1; got {factor!r}.")
        object.__setattr__(self, "imbalance_factor", float(factor))

    @classmethod
    def parse(cls, **texts: object) -> Experiment:
        """An experiment from texts (the command line) or mixed values (papermill).

        Raises:
            InputError: a name is unknown or a text cannot be read as its field's type.
        """
        defaults = asdict(cls())
        for name in texts:
            if name not in defaults:
                raise InputError(f"{name!r} is no field of an experiment.{nearest(name, defaults)}")
        values: dict[str, Any] = {name: read(name, value, defaults[name]) for name, value in texts.items()}
        return cls(**values)  # which checks the types


FIELDS = tuple(f.name for f in fields(Experiment))


def meanings(described: type) -> dict[str, str]:
    """What each attribute of a class and its bases means, as their docstrings say it under ``Attributes:``.

    This is the only description: the command line's help, the table in README.md and the parameters of ``full_run``
    take it from here. Empty under ``python -OO``, which drops docstrings.
    """
    found: dict[str, str] = {}
    for base in reversed(described.__mro__):
        _, _, attributes = inspect.cleandoc(vars(base).get("__doc__") or "").partition("Attributes:\n")
        block = re.split(r"\n(?=\S)", attributes)[0]  # to the next heading
        for names, text in re.findall(r"^ {4}(\w[\w, ]*): (.*(?:\n {8}.*)*)", block, re.MULTILINE):
            found |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return found


def command(experiment: Experiment, verb: str = "train") -> str:
    """The command line that runs this experiment. It names what differs from the defaults."""
    default = asdict(Experiment())
    flags = [
        f"--{name.replace('_', '-')} {shlex.quote(f'{value:g}' if isinstance(value, float) else str(value))}"
        for name, value in asdict(experiment).items()
        if value != default[name] or name in ("method", "dataset")
    ]
    return " ".join(["python -m ltlib", verb, *flags])


def read(name: str, value: object, like: object) -> Any:
    """``value`` as the type of ``like`` where it is a text that reads so; other values pass unchanged.

    Raises:
        InputError: the text does not read as that type.
    """
    if not isinstance(value, str) or isinstance(like, str):
        return value
    text = value.strip()
    try:
        if isinstance(like, bool):
            return {"true": True, "false": False}[text.lower()]
        return int(text) if isinstance(like, int) else _number(text)
    except (ValueError, KeyError, ZeroDivisionError):
        kind = "true or false" if isinstance(like, bool) else "a whole number" if isinstance(like, int) else "a number"
        raise InputError(f"{name} must be {kind}; got {value!r}.") from None


def _number(text: str) -> float:
    """A float, also where it is written as a fraction: the radius of an attack is usually quoted as ``8/255``."""
    numerator, slash, denominator = text.partition("/")
    return float(numerator) / float(denominator) if slash else float(text)
