"""The notebooks as a class gets them: ``python -m ltlib.lesson.release FOLDER [--solutions | --nbgrader]``.

Without an option the folded solutions are taken out. With ``--solutions`` they are in the exercises themselves, and
the checks pass. With ``--nbgrader`` each lesson is the source of an nbgrader assignment: a cell with the solution
between nbgrader's marks, and a locked cell that tests it for one point. ``nbgrader generate_assignment`` makes the
students' version of it. Everything else in ``notebooks/`` is copied, so the pages link to each other as before.
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
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--solutions", action="store_true", help="write the solutions into the exercises")
    kind.add_argument("--nbgrader", action="store_true", help="write the sources of nbgrader assignments")
    options = parser.parse_args(arguments)
    try:
        release(options.folder, options.solutions, options.nbgrader)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    how = "for nbgrader" if options.nbgrader else f"{'with' if options.solutions else 'without'} solutions"
    print(f"{options.folder}: the notebooks {how}")
    return 0


def release(folder: Path, solutions: bool = False, nbgrader: bool = False) -> None:
    """Copy ``notebooks/`` into a new folder, with solved exercises, without solutions, or for nbgrader.

    Raises:
        InputError: the folder exists, or cannot be written.
    """
    if folder.exists():
        raise InputError(f"{folder} exists, and nothing in it is overwritten: name a new folder.")
    change = for_nbgrader if nbgrader else solved if solutions else without_solutions
    try:
        with TemporaryDirectory(dir=folder.parent) as beside:
            copy = Path(beside) / "notebooks"
            shutil.copytree(paths.project() / "notebooks", copy, ignore=shutil.ignore_patterns(".*"))
            for file in sorted(copy.glob("*.ipynb")):
                notebook = nbformat.read(file, as_version=4)
                nbformat.write(change(notebook), file)
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


def for_nbgrader(notebook: NotebookNode) -> NotebookNode:
    """The notebook as the source of an nbgrader assignment, in place."""
    cells = []
    for cell in without_solutions(notebook).cells:
        kind, _, name = cell.id.partition("-")
        if kind != "exercise":
            cells.append(cell)
            continue
        cell.source, test = EXERCISES[name].marked()
        cell.outputs, cell.execution_count = [], None
        cell.metadata["nbgrader"] = _nbgrader(name, solution=True)
        tests = nbformat.v4.new_code_cell(test, id=f"test-{name}"[:64])
        tests.metadata["nbgrader"] = _nbgrader(f"test-{name}", solution=False) | {"points": 1}
        cells += [cell, tests]
    notebook.cells = cells
    return notebook


def _nbgrader(grade_id: str, solution: bool) -> dict[str, object]:
    """Metadata of version 3 of nbgrader's format: a cell that students fill in, or one that grades it."""
    return {
        "schema_version": 3,
        "grade_id": grade_id,
        "solution": solution,
        "grade": not solution,
        "locked": not solution,
        "task": False,
    }


if __name__ == "__main__":
    sys.exit(main())
