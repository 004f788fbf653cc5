"""The run store: one folder of plain files a run, under ``runs/``.

=======================  ======================================================================================
``run.json``             experiment, recipe, data, versions, hardware, state, timings, final report card
``metrics.jsonl``        one line an epoch
``predictions.npz``      float32 test logits, labels and training counts: every figure without training
``checkpoint.pt``        to resume from
``weights.safetensors``  the final weights, safe to share
``epochs/``              weights of every n-th epoch, ``0005.safetensors``, if the recipe says ``keep_every=n``
``report.ipynb``         the executed notebook, where papermill made one
=======================  ======================================================================================

Whether a run is finished is what ``run.json`` says, never what a notebook looks like.
"""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load as from_safetensors
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from ltlib import distributed, paths
from ltlib.errors import InputError, nearest
from ltlib.experiments.run_files import content, read_json, wrong_predictions, wrong_run
from ltlib.files import write_atomic

START = 1.0  # seconds that a training which starts waits for the lock of its run


class RunInUse(InputError):
    """Another process trains this run. It may be free again in a moment."""


class Run:
    """One run folder. Reads what is there; only :meth:`update` and the ``store_`` methods write."""

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    @property
    def info(self) -> dict:
        """The content of ``run.json``; empty if the run has not begun.

        Raises:
            InputError: the file is damaged.
        """
        file = self.folder / "run.json"
        if not file.exists():
            return {}
        try:
            told = read_json(content(file))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{file} cannot be read ({error}): delete the folder and run again.") from error
        if wrong := wrong_run(told):
            raise InputError(f"{file} is not the file of a run ({wrong}): move its folder away, or delete it.")
        return told

    @property
    def state(self) -> str:
        """``new``, ``running``, ``interrupted``, ``failed`` or ``finished``."""
        state = self.info.get("state", "new")
        # A killed process cannot write that it was killed, but its lock is gone.
        return "interrupted" if state == "running" and not self.in_use() else state

    def in_use(self) -> bool:
        """Whether a living process trains this run. To look changes nothing and does not keep a training from starting.

        Lookers share the lock and do not see each other. A process that starts waits ``START`` seconds for it, which is
        far longer than a look.
        """
        return _held(self.folder / ".lock")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for one process; the system frees it when the process ends, however it ends.

        Raises:
            RunInUse: another process holds it.
            InputError: the folder is not writable.
        """
        paths.make_folder(self.folder, "LTLIB_RUNS")
        try:
            with FileLock(self.folder / ".lock", timeout=START, poll_interval=0.01):
                for left in self.folder.glob(".*.tmp"):  # by a process that was killed while it wrote
                    left.unlink()
                yield
        except Timeout as error:
            raise RunInUse(
                f"The run folder {self.folder} is in use by another process: wait for it, or choose another seed."
            ) from error
        except OSError as error:
            raise InputError(
                f"{self.folder} is not writable ({error.strerror}): set LTLIB_RUNS to a folder that is."
            ) from error

    def update(self, **changes: object) -> None:
        """Change entries of ``run.json``, atomically."""
        self._write("run.json", json.dumps(self.info | changes, indent=2).encode())

    @property
    def metrics(self) -> list[dict]:
        """The records of all finished epochs. A last line that a crash cut off is left out.

        Raises:
            InputError: the file is damaged.
        """
        file = self.folder / "metrics.jsonl"
        if not file.exists():
            return []
        text = content(file)
        try:
            records = [read_json(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]
        except (ValueError, RecursionError) as error:
            raise InputError(f"{file} cannot be read ({error}): delete the folder and run again.") from error
        for number, record in enumerate(records, 1):
            if not isinstance(record, dict) or record.get("epoch") != number:
                raise InputError(f"Line {number} of {file} is not the record of epoch {number}: run it again.")
        return records

    def store_metrics(self, records: list[dict]) -> None:
        """Make ``metrics.jsonl`` say what the checkpoint says."""
        self._write("metrics.jsonl", "".join(json.dumps(r) + "\n" for r in records).encode())

    def append_metrics(self, record: dict) -> None:
        """Add the record of one more epoch. After a crash :meth:`store_metrics` puts the file right."""
        if distributed.rank() == 0:
            try:
                with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
            except OSError as error:
                raise InputError(
                    f"{self.folder / 'metrics.jsonl'} could not be written ({error.strerror}): free some space or make "
                    f"the folder writable, then start again. The run resumes."
                ) from error

    def store_predictions(self, logits: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> None:
        """Keep what every later figure is drawn from."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, logits=logits.astype(np.float32), labels=labels, counts=counts)
        self._write("predictions.npz", buffer.getvalue())

    def store_weights(self, weights: dict[str, Tensor]) -> None:
        """Keep the final weights, without any code."""
        self._write("weights.safetensors", to_safetensors({n: t.cpu().contiguous() for n, t in weights.items()}))

    def keep_weights(self, epoch: int, weights: dict[str, Tensor]) -> None:
        """Keep the weights as they were after ``epoch`` epochs, unless they are kept already."""
        name = f"epochs/{epoch:04d}.safetensors"
        if not (self.folder / name).exists():
            self._write(name, to_safetensors({n: t.cpu().contiguous() for n, t in weights.items()}))

    def kept_epochs(self) -> dict[int, Path]:
        """Epoch -> file of the weights that were kept along the way."""
        return {int(file.stem): file for file in sorted((self.folder / "epochs").glob("[0-9]*.safetensors"))}

    def _write(self, name: str, content: bytes) -> None:
        """Replace a file of the run; of several processes that train it, only the first writes."""
        if distributed.rank() == 0:
            file = self.folder / name
            paths.make_folder(file.parent, "LTLIB_RUNS")
            write_atomic(file, content)

    def predictions(self) -> dict[str, np.ndarray]:
        """``logits`` (N, K) float32, ``labels`` (N,), ``counts`` (K,) of the test set.

        Raises:
            InputError: the run is not finished, or the file is damaged.
        """
        file = self.folder / "predictions.npz"
        if not file.exists():
            raise InputError(f"Run {self.id} has no predictions yet (it is {self.state}): finish it first.")
        try:
            with np.load(io.BytesIO(content(file)), allow_pickle=False) as stored:
                found = {name: stored[name] for name in ("logits", "labels", "counts")}
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"{file} cannot be read ({error}): delete the folder and run again.") from error
        if wrong := wrong_predictions(**found):
            raise InputError(f"{file} does not hold predictions ({wrong}): delete the folder and run again.")
        return found


def all_runs(root: Path | None = None) -> list[Run]:
    """Every run under ``root`` (default ``LTLIB_RUNS``), by id."""
    root = root or paths.runs_root()
    return [Run(file.parent) for file in sorted(root.glob("*/run.json"))]


def find(name: str, root: Path | None = None) -> Run:
    """The run whose id is or begins with ``name``.

    Raises:
        InputError: no run or several match.
    """
    if "/" in name:
        raise InputError(
            f"{name!r} is not the id of a run. A network that is stored in a file becomes a run with 'python -m ltlib "
            f"import FILE --method METHOD', with its data and imbalance factor."
        )
    ids = {run.id: run for run in all_runs(root)}
    if name in ids:
        return ids[name]
    matches = [run for run_id, run in ids.items() if run_id.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise InputError(f"{name!r} begins {len(matches)} run ids: {', '.join(run.id for run in matches)}; name one.")
    if not ids:
        raise InputError(f"There is no run in {root or paths.runs_root()} yet: start one with 'python -m ltlib train'.")
    raise InputError(f"No run is called {name!r}.{nearest(name, ids)}")


def read_weights(run: Run) -> dict[str, Tensor]:
    """The final weights of a run, by name.

    Raises:
        InputError: they are missing or damaged.
    """
    file = run.folder / "weights.safetensors"
    try:
        return from_safetensors(content(file))
    except (InputError, SafetensorError) as error:
        raise InputError(f"The weights in {file} are missing or damaged: delete the run, train it again.") from error


def fill(module: nn.Module, weights: dict[str, Tensor], run: Run) -> None:
    """Give a module the weights of a run.

    Raises:
        InputError: they are those of another architecture.
    """
    try:
        module.load_state_dict(_current_names(weights))
    except RuntimeError as error:
        raise InputError(f"The weights of run {run.id} do not fit this network: train the run again.") from error


def _current_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights as methods call them today: before results 2, they also counted images, and wrapped the average."""
    renamed = {"average.n_averaged": "averaged"}
    names = {name: renamed.get(name, name.replace("average.module.", "average.")) for name in weights}
    return {names[name]: tensor for name, tensor in weights.items() if name != "seen"}


def _held(lock: Path) -> bool:
    """Whether a living process holds a lock file. No file is made."""
    try:
        import fcntl
    except ImportError:  # Windows has no shared lock: look by taking it for a moment
        try:
            with FileLock(lock, timeout=0) if lock.exists() else contextlib.nullcontext():
                return False
        except Timeout:
            return True
    try:
        with open(lock, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such file: no process has ever trained this run
        return False
    return False
