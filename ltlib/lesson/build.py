"""Make the lessons as they are committed: ``python -m ltlib.lesson.build [--no-run] [NOTEBOOK ...]``.

``--new 11_TOPIC`` only writes the notebook that a new lesson begins as.

Cuts the exercises from their solutions anew, executes in the ``lesson`` profile as JupyterLab would, takes out
what belongs to one machine or one session, marks the slides, and writes the notebook back. With ``--no-run`` nothing is
executed and all outputs stay: only exercises, the cell that installs the wheel, and slides are brought up to date.
``full_run.ipynb`` is the template of all reports. It is built only when it is named.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from ltlib import paths
from ltlib.errors import InputError
from ltlib.kernel import OwnKernel
from ltlib.lesson import blank, colab, slides
from ltlib.lesson.exercises import EXERCISES
from ltlib.lesson.widgets import smaller

WIDGET = "application/vnd.jupyter.widget-view+json"


def main(names: list[str], run: bool = True) -> None:
    """Build the named notebooks, by default every lesson; without ``run`` their outputs stay."""
    folder = paths.project() / "notebooks"
    for file in [Path(name) for name in names] or slides.lessons():
        started = time.monotonic()
        notebook = read(file)
        write_exercises(notebook)
        if run:
            with tempfile.TemporaryDirectory() as runs:
                execute(notebook, folder, runs)
                own = {
                    str(paths.cache_root()): "data/cache",
                    f"{paths.project()}{os.sep}": "",
                    str(paths.project()): ".",
                }
                clean(notebook, own | {runs: "runs"})
        slides.prepare(notebook)
        nbformat.validate(notebook)
        nbformat.write(notebook, file)
        print(f"{file.name}: {time.monotonic() - started:.0f} s, {file.stat().st_size / 1000:.0f} kB")


def read(file: Path) -> NotebookNode:
    """A notebook as it is stored; a lesson has the cell that installs the wheel, also when its author wrote none."""
    notebook = nbformat.read(file, as_version=4)
    if not re.match(r"\d\d_", file.name):
        return notebook
    return nbformat.reads(json.dumps(colab.prepare(notebook, file.name, *colab.addresses())), as_version=4)


def write_exercises(notebook: NotebookNode) -> None:
    """Fill every cell called ``exercise-NAME`` or ``solution-NAME`` from the source of the exercise.

    Raises:
        InputError: there is no exercise of this name.
    """
    for cell in notebook.cells:
        kind, _, name = cell.id.partition("-")
        if kind in ("exercise", "solution"):
            if name not in EXERCISES:
                raise InputError(
                    f"The cell {cell.id} needs an exercise called {name!r}, and there is none: write it in "
                    f"ltlib/lesson/exercises and import its file in __init__.py there, or rename the cell."
                )
            exercise = EXERCISES[name]
            cell.source = exercise.hole() if kind == "exercise" else exercise.answer()


def execute(notebook: NotebookNode, folder: Path, runs: str) -> None:
    """Run all cells with an empty run store, so that the stored outputs are what a first reader sees."""
    # Jupyter Server names its session; with a name, training shows one moving line instead of a log.
    environment = os.environ | {
        "LTLIB_PROFILE": "lesson",
        "LTLIB_RUNS": runs,
        "JPY_SESSION_NAME": "build",
        # The sliders of the web book.
        "LTLIB_FRAMES": os.environ.get("LTLIB_FRAMES") or str(paths.project() / "docs" / "frames"),
    }
    resources = {"metadata": {"path": str(folder)}}
    options = {"timeout": 1800, "kernel_name": "python3", "kernel_manager_class": OwnKernel, "coalesce_streams": True}
    NotebookClient(notebook, resources=resources, **options).execute(env=environment)


def clean(notebook: NotebookNode, replace: dict[str, str]) -> None:
    """Take out sessions and machines: widget state, timings, folders.

    Args:
        notebook: executed; changed in place.
        replace: text in outputs -> what to write instead.
    """
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key in ("tags", "jupyter")}
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            # Without a kernel the live view is an error message in JupyterLab; the PNG beside it is not.
            data.pop(WIDGET, None)
            if "image/png" in data:
                data["image/png"] = smaller(data["image/png"])
            for holder, key in _texts(output):
                for old, new in replace.items():
                    holder[key] = holder[key].replace(old, new)


def _texts(output: NotebookNode) -> list[tuple[NotebookNode, str]]:
    """Where the texts of an output stand."""
    data = output.get("data", {})
    found = [(data, kind) for kind in data if kind.startswith("text/")]
    return [*found, (output, "text")] if "text" in output else found


if __name__ == "__main__":
    parser = argparse.ArgumentParser("python -m ltlib.lesson.build", description="Make the lessons.")
    parser.add_argument("notebooks", nargs="*", help="by default every lesson")
    parser.add_argument("--no-run", action="store_true", help="only bring exercises and slides up to date")
    parser.add_argument("--new", metavar="11_TOPIC", help="write the notebook that a new lesson begins as")
    options = parser.parse_args()
    try:
        if options.new:
            print(blank.write(options.new))
        else:
            main(options.notebooks, run=not options.no_run)
    except InputError as error:
        parser.error(str(error))
