"""The larger files that come with the project: where they are, and what to do where one is missing.

A checkout has them, and so does a wheel that was built in one. There is no public address yet to fetch them from.
"""

from __future__ import annotations

from pathlib import Path

from ltlib import paths
from ltlib.errors import InputError

# What it is -> pattern below the folder of the resources.
PARTS = {
    "features of CIFAR-10-LT": "data/features/*.npz",
    "photographs of CIFAR-10": "data/excerpts/*.png",
    "trajectories of trainings": "data/reference_runs/*/trajectories/*.npz",
}


def found() -> dict[str, list[Path]]:
    """Part -> its files, which can be none."""
    root = paths.resources()
    return {name: sorted(root.glob(pattern)) for name, pattern in PARTS.items()}


def lines() -> list[str]:
    """A line for each part: how many files, how large, where.

    Raises:
        InputError: a part is missing.
    """
    here = found()
    missing = [name for name, files in here.items() if not files]
    if missing:
        raise InputError(
            f"Missing in {paths.resources() / 'data'}: {', '.join(missing)}. The project has no public address to "
            "fetch them from: use a checkout, or install a wheel that 'make wheel' has built in one."
        )
    return [f"{name:<26} {_told(files)}" for name, files in here.items()]


def _told(files: list[Path]) -> str:
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    return f"{len(files)} file{'s' if len(files) > 1 else ''}, {megabytes:.1f} MB, in {files[0].parent}"
