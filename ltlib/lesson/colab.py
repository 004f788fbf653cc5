"""The first cell of every lesson, for Colab, Kaggle and any other machine that has no checkout.

The cell does nothing where ``ltlib`` can be imported. Otherwise it installs the wheel, whose address is in one place:
``[tool.ltlib]`` of ``pyproject.toml``. ``python -m ltlib.lesson.colab`` writes the cell, and the badges where the
repository has a public address, into all lessons. So does every build of a lesson.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from ltlib import __version__, paths
from ltlib.files import write_atomic

TAG = "install"
CELL = """\
# On Colab or Kaggle this installs the course. Where ltlib is installed already, it does nothing.
import importlib.util
import os
import subprocess
import sys

if importlib.util.find_spec("ltlib") is None:
    wheel = os.environ.get("LTLIB_WHEEL") or "{wheel}"
    if not wheel:
        raise SystemExit("Set the environment variable LTLIB_WHEEL to the address of the wheel of ltlib.")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", f"ltlib[notebooks] @ {{wheel}}"], check=True)"""
COLAB, KAGGLE = "https://colab.research.google.com/github/", "https://kaggle.com/kernels/welcome?src="


def addresses() -> tuple[str, str]:
    """The repository's public address and that of the wheel of this version; both "" while there is no such address."""
    settings = tomllib.loads((paths.project() / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ltlib"]
    repository = settings["repository"].rstrip("/")
    return repository, settings["wheel"].format(repository=repository, version=__version__) if repository else ""


def install_cell(wheel: str) -> str:
    """The source of the cell."""
    return CELL.format(wheel=wheel)


def badges(lesson: str, repository: str) -> str:
    """Links that open a lesson on Colab and Kaggle; "" without a public address.

    Args:
        lesson: the name of its file.
        repository: such as ``https://github.com/owner/name``.
    """
    if not repository:
        return ""
    path = f"blob/main/notebooks/{lesson}"
    owner = repository.removeprefix("https://github.com/")
    return (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({COLAB}{owner}/{path}) "
        f"[![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)]({KAGGLE}{repository}/{path})"
    )


def prepare(notebook: dict, lesson: str, repository: str, wheel: str) -> dict:
    """The notebook with the cell of today below its goals, and with badges under its title if there is an address.

    The web book leaves the cell out, because its pages do not run.

    Args:
        notebook: its JSON. It is not changed.
        lesson: the name of its file.
        repository, wheel: of :func:`addresses`.
    """
    cells = [c for c in notebook["cells"] if not _installs(c)]
    stored = next(filter(_installs, notebook["cells"]), {"execution_count": None, "metadata": {}})
    cell = {
        "cell_type": "code",
        "execution_count": stored["execution_count"],
        "id": "install",
        "metadata": {**stored["metadata"], "tags": [TAG, "remove-cell"], "jupyter": {"source_hidden": True}},
        "outputs": [],
        "source": install_cell(wheel).splitlines(keepends=True),
    }
    place = min(2, next(i for i, c in enumerate(cells) if c["cell_type"] == "code"))
    title = dict(cells[0])
    text = re.sub(r"\n\n\[!\[Open in Colab\].*", "", "".join(title["source"]), count=1)
    head, _, rest = text.partition("\n\n")
    shown = badges(lesson, repository)
    title["source"] = "\n\n".join(filter(None, (head, shown, rest))).splitlines(keepends=True)
    return notebook | {"cells": [title, *cells[1:place], cell, *cells[place:]]}


def _installs(cell: dict) -> bool:
    return TAG in cell["metadata"].get("tags", [])


def lessons() -> list[Path]:
    """All lessons of the checkout."""
    return sorted((paths.project() / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def main() -> None:
    """Bring every lesson up to date."""
    for file in lessons():
        before = file.read_text(encoding="utf-8")
        after = json.dumps(prepare(json.loads(before), file.name, *addresses()), indent=1, ensure_ascii=False) + "\n"
        if after != before:
            write_atomic(file, after.encode())
            print(f"{file.name}: first cell brought up to date")


if __name__ == "__main__":
    main()
