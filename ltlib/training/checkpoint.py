"""Checkpoints that are whole or not there: write beside, fsync, rename; read nothing but plain data."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import torch

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
        theirs, usual = saved["identity"], "the default"
        differs = [k for k in theirs | identity if theirs.get(k, usual) != identity.get(k, usual)]
        names = ", ".join(f"{k} is {theirs.get(k, usual)!r}, not {identity.get(k, usual)!r}" for k in differs)
        raise InputError(f"The checkpoint {path} belongs to another experiment ({names}). {remedy}")
    return saved["state"]
