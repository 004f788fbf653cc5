"""Writing files such that a crash leaves the old file or the new one, and never a part."""

from __future__ import annotations

import os
from pathlib import Path

from ltlib.errors import InputError


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
