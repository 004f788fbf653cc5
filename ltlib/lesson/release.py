"""The notebooks as a class gets them: ``python -m ltlib.lesson.release FOLDER [--solutions]``.

Without the option the folded solutions are taken out; with it, the solutions stand in the exercises themselves and
their checks pass. Everything else in ``notebooks/`` is copied, so that the pages link to each other as before.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbformat import NotebookNode

from ltlib import paths
from ltlib.errors import InputError
from ltlib.lesson.exercises import EXERCISES


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 after one sentence on standard error."""
    parser = argparse.ArgumentParser("python -m ltlib.lesson.release", description="Copy the notebooks for a class.")
    parser.add_argument("folder", type=Path, help="a new folder; beside notebooks/, links to the code work as well")
    parser.add_argument("--solutions", action="store_true", help="write the solutions into the exercises")
    options = parser.parse_args(arguments)
    try:
        release(options.folder, options.solutions)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.folder}: the notebooks {'with' if options.solutions else 'without'} solutions")
    return 0


def release(folder: Path, solutions: bool = False) -> None:
    """Copy ``notebooks/`` into a new folder, with solved exercises or without solutions.

    Raises:
        InputError: the folder exists, or cannot be written.
    """
    if folder.exists():
        raise InputError(f"{folder} exists, and nothing in it is overwritten: name a new folder.")
    try:
        with TemporaryDirectory(dir=folder.parent) as beside:
            copy = Path(beside) / "notebooks"
            shutil.copytree(paths.project() / "notebooks", copy, ignore=shutil.ignore_patterns(".*"))
            for file in sorted(copy.glob("*.ipynb")):
                notebook = nbformat.read(file, as_version=4)
                nbformat.write(solved(notebook) if solutions else without_solutions(notebook), file)
            copy.rename(folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}): name a folder that can.") from error


def without_solutions(notebook: NotebookNode) -> NotebookNode:
    """The notebook without its folded solutions, in place."""
    notebook.cells = [cell for cell in notebook.cells if "solution" not in cell.metadata.get("tags", [])]
    return notebook


def solved(notebook: NotebookNode) -> NotebookNode:
    """The notebook with each solution in its exercise instead of folded away below, in place."""
    for cell in notebook.cells:
        kind, _, name = cell.id.partition("-")
        if kind == "exercise":
            cell.source, cell.outputs, cell.execution_count = EXERCISES[name].solved(), [], None
    return without_solutions(notebook)


if __name__ == "__main__":
    sys.exit(main())
