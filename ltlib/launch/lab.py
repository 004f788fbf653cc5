"""Open the lessons in JupyterLab: those of the checkout, or copies of those that an installed wheel carries."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ltlib import paths
from ltlib.errors import InputError

FIRST = "notebooks/00_start_here.ipynb"
# JupyterLab's question about news covers the first lesson, and its check for updates needs a network.
QUIET = [
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
]


def lab(folder: str = "long-tail-lab", browser: bool = True) -> int:
    """Open JupyterLab on the first lesson; returns its exit status.

    Args:
        folder: where an installed wheel puts its copies of the lessons. What is there already is not touched, so edits
            and results survive the next start. In a checkout the lessons are opened where they are.
        browser: whether to open a browser window.

    Raises:
        InputError: JupyterLab is not installed, or the folder cannot be written.
    """
    root = paths.project() if paths.resources() == paths.project() else copy_lessons(Path(folder).expanduser())
    try:
        import jupyterlab  # noqa: F401
    except ImportError as error:
        raise InputError("JupyterLab is not installed: pip install 'ltlib[notebooks]'.") from error
    # Runs and data are kept beside the lessons, whichever folder a notebook is started in.
    environment = {"LTLIB_RUNS": str(root / "runs"), "LTLIB_DATA": str(root / "data")} | os.environ
    # Not "jupyter lab", which looks for a script: packages that another environment lends have none here.
    command = [sys.executable, "-m", "jupyterlab", f"--LabApp.default_url=/lab/tree/{FIRST}", *QUIET]
    command += [] if browser else ["--no-browser"]
    command += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # the only user of a container
    server = subprocess.Popen(command, cwd=root, env=environment)
    while True:
        try:
            return server.wait()
        except KeyboardInterrupt:  # the server gets Ctrl-C as well, and asks whether it shall stop
            continue


def copy_lessons(folder: Path) -> Path:
    """Copy the lessons of the wheel into ``folder``, except files that are there; returns the folder.

    Raises:
        InputError: the folder cannot be written.
    """
    lessons = paths.resources() / "notebooks"
    for file in sorted(lessons.rglob("*")):
        target = folder / "notebooks" / file.relative_to(lessons)
        if file.is_dir() or target.exists():
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        except OSError as error:
            raise InputError(
                f"The lessons cannot be copied to {target} ({error.strerror}): name another folder with --to."
            ) from error
    return folder.resolve()
