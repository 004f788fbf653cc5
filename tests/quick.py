"""Which tests a change needs at once: ``python -m tests.quick`` names them for ``make quick``.

The tests mirror the package, so a change in ``ltlib/data/lists.py`` needs ``tests/data/test_lists.py``. A file without
tests of its own name needs all tests of its folder. The layers, the list of dependencies and the notebooks' form are
checked for every change.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

ALWAYS = (
    "tests/test_layers.py",
    "tests/test_environment.py",
    "tests/test_shape.py",
    "tests/notebooks/test_hygiene.py",
    "tests/notebooks/test_prose.py",
)


def changed(root: Path) -> set[str]:
    """Files that differ from the last commit, from ``main`` where there is one, and new files that git does not ignore.

    Without git there are none.
    """
    found: set[str] = set()
    for command in ("diff --name-only HEAD", "diff --name-only main...HEAD", "ls-files --others --exclude-standard"):
        told = subprocess.run(["git", "-C", root, *command.split()], capture_output=True, text=True, check=False)
        found |= set(told.stdout.splitlines()) if told.returncode == 0 else set()
    return found


def needed(root: Path, files: Iterable[str]) -> list[str]:
    """The test files and folders that belong to these files, relative to ``root``, and those that always run."""
    found = set(ALWAYS)
    for file in map(Path, files):
        if file.parts[0] == "tests" and file.name.startswith("test_") and (root / file).exists():
            found.add(str(file))
        elif file.parts[0] == "ltlib" and file.suffix == ".py":
            found |= _beside(root, file)
    return sorted(found)


def _beside(root: Path, file: Path) -> set[str]:
    """``ltlib/data/lists.py`` has ``tests/data/test_lists.py``; otherwise the nearest folder that mirrors its own."""
    folder = Path("tests", *file.parts[1:-1])
    while not (root / folder).is_dir():
        folder = folder.parent
    own = {str(path.relative_to(root)) for path in (root / folder).glob(f"test_{file.stem}*.py")}
    return own or {str(folder) if folder != Path("tests") else "tests/experiments/test_command_line.py"}


if __name__ == "__main__":
    here = Path(__file__).resolve().parent.parent
    print(" ".join(needed(here, changed(here))))
