"""Checkpoints that are whole or not there: write beside, fsync, rename; read nothing but plain data."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import torch

from ltlib.errors import InputError

FORMAT = "ltlib checkpoint 1"


def write_atomic(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` such that a crash at any instant leaves the old file or the new one.

    Raises:
        InputError: the disk is full or not writable; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _fsync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(
            f"{path} could not be written ({error.strerror}); what was there before is unchanged. "
            f"Free some space or make the folder writable, then start again: the run resumes."
        ) from error


def _fsync_folder(folder: Path) -> None:
    """Make the rename itself durable. Windows has no such call and needs none."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


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
        content = path.read_bytes()
        if zipfile.ZipFile(io.BytesIO(content)).testzip() is not None:  # compares every checksum
            raise InputError(f"The checkpoint {path} is damaged (a checksum differs). {remedy}")
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except InputError:
        raise
    except (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(
            f"The checkpoint {path} is truncated, damaged or not a checkpoint of ltlib. {remedy}"
        ) from error
    if not isinstance(saved, dict) or saved.get("format") != FORMAT:
        raise InputError(f"{path} is not a checkpoint of this ltlib (expected format {FORMAT!r}). {remedy}")
    if identity is not None and saved["identity"] != identity:
        differs = [k for k in identity if saved["identity"].get(k) != identity[k]]
        names = ", ".join(f"{k} is {saved['identity'].get(k)!r}, not {identity[k]!r}" for k in differs)
        raise InputError(f"The checkpoint {path} belongs to another experiment ({names}). {remedy}")
    return saved["state"]
