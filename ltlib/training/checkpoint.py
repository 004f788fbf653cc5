"""Checkpoints that are whole or not there: write beside, fsync, rename; read nothing but plain data.

Training does not wait for the disk. :func:`on_host` copies a state to the host in one transfer, and a :class:`Writer`
brings it to the disk while the next epoch runs.
"""

from __future__ import annotations

import io
import os
import pickle
import stat
import zipfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ltlib.errors import InputError
from ltlib.files import write_atomic

FORMAT = "ltlib checkpoint 1"


def save(path: Path, state: dict, identity: dict) -> None:
    """Write a checkpoint: ``state`` (tensors and plain values) and whose it is."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "identity": identity, "state": state}, buffer)
    write_atomic(path, buffer.getvalue())


def load(path: Path, identity: dict | None = None) -> dict:
    """Read the state of the checkpoint at ``path``; any experiment's if no ``identity`` is given.

    Only tensors and plain values are ever unpickled (``weights_only=True``), so a hostile file runs no code.

    Raises:
        InputError: the file is damaged, is no checkpoint of ours, or belongs to another experiment; the
            message says which and what to do.
    """
    remedy = f"Delete {path} to train from the beginning, or restore the right file."
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe or a device would be read for ever
            raise InputError(f"The checkpoint {path} is not a regular file. {remedy}")
        content = path.read_bytes()
        if zipfile.ZipFile(io.BytesIO(content)).testzip() is not None:  # compares every checksum
            raise InputError(f"The checkpoint {path} is damaged (a checksum differs). {remedy}")
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"The checkpoint {path} cannot be read ({error.strerror}). {remedy}") from error
    except (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(
            f"The checkpoint {path} is truncated, damaged or not a checkpoint of ltlib. {remedy}"
        ) from error
    if not isinstance(saved, dict) or saved.get("format") != FORMAT:
        raise InputError(f"{path} is not a checkpoint of this ltlib (expected format {FORMAT!r}). {remedy}")
    if not isinstance(saved.get("identity"), dict) or not isinstance(saved.get("state"), dict):
        raise InputError(f"The checkpoint {path} does not hold a training: it was changed by hand. {remedy}")
    if identity is not None and saved["identity"] != identity:
        theirs, usual = saved["identity"], "the default"
        differs = [k for k in theirs | identity if theirs.get(k, usual) != identity.get(k, usual)]
        names = ", ".join(f"{k} is {theirs.get(k, usual)!r}, not {identity.get(k, usual)!r}" for k in differs)
        raise InputError(f"The checkpoint {path} belongs to another experiment ({names}). {remedy}")
    return saved["state"]


def restore(load_state: Callable[[dict], None], state: dict, path: Path) -> None:
    """Give ``state`` to ``load_state``.

    Raises:
        InputError: the state has another shape than the training expects.
    """
    try:
        load_state(state)
    except InputError:
        raise
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[-1].strip() or type(error).__name__
        raise InputError(
            f"The checkpoint {path} does not fit this training ({reason}): it was written by another version or "
            f"changed by hand. Delete it to train from the beginning, or restore the right file."
        ) from error


def on_host(state: dict) -> dict:
    """A copy of a nested state on the host, which later steps of the training do not change.

    All tensors of a GPU come over in one transfer, so the host waits once.
    """
    there: list[Tensor] = []
    _replaced(state, lambda t: there.append(t) if t.device.type != "cpu" else None)
    copies = iter(_transfer(there) if there else ())
    return _replaced(state, lambda t: t.detach().clone() if t.device.type == "cpu" else next(copies))


def _replaced(value: Any, change: Callable[[Tensor], object]) -> Any:
    """The nested state with each tensor replaced by what ``change`` makes of it, in a fixed order."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return type(value)((key, _replaced(inner, change)) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return type(value)(_replaced(inner, change) for inner in value)
    return value


def _transfer(tensors: list[Tensor]) -> list[Tensor]:
    """Copies on the host of tensors of one device, brought over as one block of bytes and laid out as they were."""
    # Wide types first: each tensor then begins at a multiple of the size of its numbers.
    order = sorted(range(len(tensors)), key=lambda i: -tensors[i].dtype.itemsize)
    axes = [sorted(range(t.dim()), key=lambda axis, t=t: -t.stride(axis)) for t in tensors]  # as they are in memory
    flat = [tensors[i].detach().permute(axes[i]).reshape(-1).view(torch.uint8) for i in order]
    pieces = torch.cat(flat).cpu().split([len(piece) for piece in flat])
    copies: list[Tensor] = list(tensors)
    for i, piece in zip(order, pieces, strict=True):
        shape = [tensors[i].shape[axis] for axis in axes[i]]
        back = [axes[i].index(axis) for axis in range(len(axes[i]))]
        copies[i] = piece.view(tensors[i].dtype).view(shape).permute(back).clone()
    return copies


def not_finite(state: object, name: str = "") -> str:
    """The path of the first floating tensor in a state on the host that holds NaN or an infinite value, or empty."""
    if isinstance(state, Tensor):
        return name if state.is_floating_point() and not torch.isfinite(state).all() else ""
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list | tuple) else ()
    found = (not_finite(inner, f"{name}.{key}" if name else str(key)) for key, inner in items)
    return next(filter(None, found), "")


class Writer:
    """Writes checkpoints of one training in a thread, one after the other; leaving the block waits for the last.

    Args:
        path, identity: see :func:`save`.
    """

    def __init__(self, path: Path, identity: dict):
        self.path, self.identity = path, identity
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="writing a checkpoint")
        self.pending: Future | None = None

    def write(self, state: dict) -> None:
        """Begin to write ``state``, once the one before it is on the disk.

        Args:
            state: must not change any more, see :func:`on_host`.

        Raises:
            InputError: the one before could not be written.
        """
        self.wait()
        self.pending = self.thread.submit(save, self.path, state, self.identity)

    def wait(self) -> None:
        """Return when everything is on the disk.

        Raises:
            InputError: it could not be written.
        """
        pending, self.pending = self.pending, None
        if pending:
            pending.result()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.thread.shutdown(wait=True)
        if kind is None:  # an error on its way is not replaced by another
            self.wait()
