"""Where things live on disk. Three environment variables move them; nothing depends on the working directory.

======================  ===========================  ==================================================
variable                default                      holds
======================  ===========================  ==================================================
``LTLIB_DATA``          ``<project>/data``           downloads and the user's own image folders
``LTLIB_CACHE``         ``<project>/data/cache``     decoded images (safe to delete)
``LTLIB_RUNS``          ``<project>/runs``           one folder a run
======================  ===========================  ==================================================

``<project>`` is the checkout this package was installed from; for a plain installation, the working directory.
"""

from __future__ import annotations

import functools
import os
import tomllib
from pathlib import Path

from ltlib.errors import InputError


def project() -> Path:
    """The root of the checkout, or the working directory when the package is installed without one."""
    return checkout() or Path.cwd()


def checkout() -> Path | None:
    """The root of the checkout, or None when the package is installed without one."""
    return _checkout(Path(__file__).resolve().parent.parent)


@functools.cache
def _checkout(root: Path) -> Path | None:
    """``root`` if its ``pyproject.toml`` is that of this package, not of whatever the package was installed into."""
    try:
        described = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
        return root if described["project"]["name"] == "ltlib" else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def resources() -> Path:
    """The folder with the lessons (``notebooks/``) and the stored and published results (``data/``).

    In a checkout that is its root. An installed wheel carries copies of them, see ``setup.py``.
    """
    bundle = Path(__file__).resolve().parent / "bundle"
    return bundle if bundle.is_dir() else project()


def user_path(path: str | Path, what: str) -> Path:
    """A path as the user wrote it, with ``~`` and ``~user`` replaced.

    Args:
        path: of a file or folder, which need not exist.
        what: the name of the setting, for the message.

    Raises:
        InputError: no such user, a null character, or a name longer than any file's.
    """
    try:
        found = Path(path).expanduser()
        os.lstat(found)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return found
    except RuntimeError as error:  # of pathlib
        raise InputError(f"{what}={str(path)!r} is the folder of a user who does not exist: write it out.") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{what}={str(path)[:60]!r} is not a path ({reason}): name a folder.") from error
    return found


def data_root() -> Path:
    """Folder of downloads and users' data sets."""
    return user_path(os.environ.get("LTLIB_DATA") or project() / "data", "LTLIB_DATA")


def cache_root() -> Path:
    """Folder of decoded images."""
    return user_path(os.environ.get("LTLIB_CACHE") or project() / "data" / "cache", "LTLIB_CACHE")


def runs_root() -> Path:
    """Folder of all runs."""
    return user_path(os.environ.get("LTLIB_RUNS") or project() / "runs", "LTLIB_RUNS")


def make_folder(path: Path, variable: str) -> Path:
    """Create ``path``; a full or read-only disk becomes a sentence that names the variable to set instead."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"The folder {path} cannot be created ({error.strerror}): free some space or make it writable, "
            f"or set {variable} to a folder that is."
        ) from error
    return path
