"""A sweep file: many experiments in a few lines of YAML.

.. code-block:: yaml

    common: {dataset: glyphs, profile: lesson}     # fields that all experiments share
    grid:                                          # all combinations of these fields
      method: [cross_entropy, mixup, mislas]
      imbalance_factor: [10, 100]
    seeds: [0, 1, 2]                               # each experiment once for each seed
    workers: 2                                     # and the other options, see `Options`

Instead of ``grid``, ``experiments`` lists maps of fields, which win over ``common``. The words are the fields of
`Experiment`, which checks every value.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltlib.errors import InputError, check_choice, nearest
from ltlib.experiments.experiment import FIELDS, Experiment, read


@dataclass(frozen=True)
class Options:
    """How the runs of a sweep are spread. Validates itself.

    Attributes:
        workers: runs at a time on this machine; 0 takes one for each GPU, or as many as cores and memory allow.
        gpus: GPUs of this machine that the workers share, one for each as long as they last; -1 takes all there are.
        retries: further attempts for a run that failed, or whose process was killed.
        scheduler: address of a Dask cluster that is running; its workers are used instead of this machine's.
        resources: what each run asks of a worker of that cluster, such as ``{GPU: 1}``.
        without_tls: use a cluster that has no TLS, and so runs the code of everyone who can reach it.

    Raises:
        InputError: a value has the wrong type or is out of range.
    """

    workers: int = 0
    gpus: int = -1
    retries: int = 1
    scheduler: str = ""
    resources: dict[str, float] = field(default_factory=dict)
    without_tls: bool = False

    def __post_init__(self) -> None:
        for name, low in (("workers", 0), ("gpus", -1), ("retries", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise InputError(f"{name} must be a whole number from {low}; got {value!r}.")
        if not isinstance(self.scheduler, str) or (self.scheduler and "://" not in self.scheduler):
            raise InputError(f"scheduler must be an address such as tls://host:8786; got {self.scheduler!r}.")
        if not isinstance(self.without_tls, bool):
            raise InputError(f"without_tls must be true or false; got {self.without_tls!r}.")
        if self.scheduler and not self.scheduler.startswith("tls://") and not self.without_tls:
            raise InputError(
                f"The cluster at {self.scheduler} has no TLS: everyone who reaches its port can run code as its owner. "
                "Start it with certificates, as notebooks/sweeps/README.md says, or insist with without_tls."
            )
        if not isinstance(self.resources, dict) or not all(
            isinstance(amount, int | float) and amount > 0 for amount in self.resources.values()
        ):
            raise InputError(f"resources must map names to numbers, such as {{GPU: 1}}; got {self.resources!r}.")

    def passed_over(self) -> str:
        """A sentence on options that do not apply where the runs go; empty if all do."""
        if self.scheduler and (self.workers or self.gpus != -1):
            return f"workers and gpus are of this machine, and passed over: {self.scheduler} has workers of its own"
        if self.resources and not self.scheduler:
            return "resources are asked of the workers of a cluster, and passed over on this machine"
        return ""


OPTIONS = tuple(Options.__dataclass_fields__)
PLAN = ("common", "grid", "experiments", "seeds")
MOST_RUNS = 10_000  # of one file; more is a slip of the pen, and would fill the memory before it is noticed
MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class SweepFile:
    """What a sweep file says.

    Attributes:
        name: of the file, without its ending; the table of results is called so.
        experiments: all of them, in the order of the file, seeds innermost.
        options: of the file, overridden by those given to `read_sweep`.
    """

    name: str
    experiments: tuple[Experiment, ...]
    options: Options


def read_sweep(file: str | Path, **options: object) -> SweepFile:
    """Read and check a sweep file; ``options`` override those it names.

    Raises:
        InputError: it cannot be read, a word is unknown, or a value is not allowed.
    """
    path = Path(file)
    words = _load(path)
    for word in words:
        if word not in PLAN + OPTIONS:
            raise InputError(f"{path} has the word {word!r}.{nearest(word, PLAN + OPTIONS)}")
    given = {name: words[name] for name in OPTIONS if name in words} | options
    for name in given:
        check_choice("option", name, OPTIONS)
    chosen = Options(**{name: _read_option(name, value) for name, value in given.items()})
    return SweepFile(path.stem, tuple(_experiments(path, words)), chosen)


def _read_option(name: str, value: object) -> Any:
    """A number where the command line gives its text."""
    like = getattr(Options(), name)
    return value if isinstance(like, dict) else read(name, value, like)


def _experiments(path: Path, words: dict) -> list[Experiment]:
    """All experiments that the file describes."""
    common = _fields(path, "common", words.get("common", {}))
    if "grid" in words and "experiments" in words:
        raise InputError(f"{path} has a grid and a list of experiments: write two files, or list all in experiments.")
    seeds = words.get("seeds", [0])
    if not isinstance(seeds, list) or not seeds:
        raise InputError(f"{path}: seeds must be a list such as [0, 1, 2]; got {seeds!r}.")
    if "experiments" in words:
        number, settings = _listed(path, words["experiments"], common)
    else:
        number, settings = _grid(path, words, common)
    if number * len(seeds) > MOST_RUNS:
        raise InputError(
            f"{path} describes {number * len(seeds):,} runs, and {MOST_RUNS:,} at most are allowed: split it into "
            "several files."
        )
    settings = list(settings)
    if "seeds" not in words:
        return [_experiment(path, fields) for fields in settings]
    if any("seed" in fields for fields in settings):
        raise InputError(f"{path} gives seeds and a seed of an experiment: keep one of them.")
    return [_experiment(path, fields | {"seed": seed}) for fields in settings for seed in seeds]


def _grid(path: Path, words: dict, common: dict) -> tuple[int, Iterable[dict]]:
    """How many combinations there are, and a map of fields for each; the first field changes slowest."""
    grid = _fields(path, "grid", words.get("grid", {}))
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"{path}: {name} in grid must be a list such as [10, 100]; got {values!r}.")
        if name in common:
            raise InputError(f"{path} gives {name} in common and in grid: keep one of them.")
    combinations = (common | dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values()))
    return math.prod(map(len, grid.values())), combinations


def _listed(path: Path, listed: object, common: dict) -> tuple[int, Iterable[dict]]:
    """How many items ``experiments`` has, and a map of fields for each."""
    if not isinstance(listed, list) or not listed:
        raise InputError(f"{path}: experiments must be a list of maps, '- method: mixup'; got {listed!r}.")
    return len(listed), (common | _fields(path, "experiments", item) for item in listed)


def _fields(path: Path, where: str, given: object) -> dict:
    """A map whose names are fields of an experiment."""
    if not isinstance(given, dict):
        raise InputError(f"{path}: {where} must map fields to values, 'method: mixup'; got {given!r}.")
    for name in given:
        if name not in FIELDS:
            raise InputError(f"{path}: {name!r} in {where} is no field of an experiment.{nearest(name, FIELDS)}")
    return given


def _experiment(path: Path, fields: dict) -> Experiment:
    try:
        return Experiment.parse(**fields)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _load(path: Path) -> dict:
    """The words of the file and their values."""
    try:
        import yaml

        from ltlib.launch.plain_yaml import PlainLoader, Surprise
    except ImportError as error:
        raise InputError("PyYAML is not installed: pip install 'ltlib[sweep]'.") from error
    if path.exists() and not path.is_file():  # a folder, or a pipe, which would be waited for
        raise InputError(f"The sweep file {path} is no file: name a YAML file.")
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise InputError(f"{path} is larger than {MOST_BYTES:,} bytes: split the sweep into several files.")
        words = yaml.load(text.decode("utf-8"), PlainLoader)
    except OSError as error:
        raise InputError(f"The sweep file {path} cannot be read ({error.strerror}): check its path.") from error
    except Surprise as error:
        raise InputError(f"{path}, {error}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(words, dict):
        raise InputError(f"{path} must map words to values; its words are {', '.join(PLAN + OPTIONS)}.")
    return words
