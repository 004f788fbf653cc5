"""Check the exercises in students' notebooks: ``python -m ltlib.lesson.grade NOTEBOOK ... [--csv FILE]``.

Each notebook is executed in a fresh kernel, its own cells in their order, and right behind an exercise the checker of
the course is run on the student's function. One line an exercise says what came out. A cell that fails does not stop
the others, one that takes too long is interrupted, and a notebook that cannot be read does not stop the next.

What a student has written is executed with the rights of whoever grades, and could forge a verdict: grade strangers'
notebooks in a container, and look at what is handed in.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from ltlib.errors import InputError, check_choice
from ltlib.experiments.recipe import PROFILE
from ltlib.files import write_atomic
from ltlib.lesson import slides

PROBE = ["checks the exercise above"]  # the tags of a cell that is put in
WHOLE = 20  # a notebook may take so many times the limit of one cell


@dataclass(frozen=True)
class Verdict:
    """What came out for one exercise of one notebook.

    Attributes:
        notebook: the file.
        exercise: its name; empty where the notebook could not be read.
        verdict: ``correct``, ``wrong``, ``not done``, ``missing`` (no such function), ``fails`` (it raises),
            ``too slow``, ``not reached`` (the kernel died or the notebook took too long before) or ``unreadable``.
        remark: why, in one line.
    """

    notebook: str
    exercise: str
    verdict: str
    remark: str = ""

    def __str__(self) -> str:
        return f"{self.notebook}  {self.exercise:<24}{self.verdict:<12}{self.remark}".rstrip()


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 if every exercise is correct, 1 if not, 2 after one sentence on standard error."""
    parser = argparse.ArgumentParser("python -m ltlib.lesson.grade", description="Check students' notebooks.")
    parser.add_argument("notebooks", nargs="+", type=Path, metavar="NOTEBOOK")
    parser.add_argument("--profile", default="smoke", help="smoke (default), lesson or paper")
    parser.add_argument("--limit", default=60, type=int, help="seconds that one cell may take (default 60)")
    parser.add_argument("--csv", type=Path, help="a new file for the verdicts")
    options = parser.parse_args(arguments)
    try:
        verdicts = grade_all(options.notebooks, options.profile, options.limit, options.csv)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return int(any(verdict.verdict != "correct" for verdict in verdicts))


def grade_all(files: list[Path], profile: str = "smoke", limit: int = 60, table: Path | None = None) -> list[Verdict]:
    """Grade one notebook after the other, print the verdicts, and keep them in ``table``, a CSV file.

    Raises:
        InputError: a file is missing, the table exists, or the profile or the limit is not allowed.
    """
    check_choice("profile", profile, PROFILE)
    if limit < 1:
        raise InputError(f"limit must be at least 1 second; got {limit}.")
    for file in files:
        if not file.is_file():
            raise InputError(f"{file} is no file: name the notebooks to grade.")
    if table and table.exists():
        raise InputError(f"{table} exists, and is not overwritten: name a new file.")
    verdicts = []
    for file in files:
        found = grade(file, profile, limit)
        print("\n".join(map(str, found)), flush=True)
        verdicts += found
        if table:
            write_atomic(table, as_csv(verdicts).encode())
    return verdicts


def as_csv(verdicts: list[Verdict]) -> str:
    """A table with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Verdict)])
    writer.writeheader()
    writer.writerows(asdict(verdict) for verdict in verdicts)
    return text.getvalue()


def grade(file: Path, profile: str = "smoke", limit: int = 60) -> list[Verdict]:
    """One verdict for each exercise of the lesson that the notebook is."""
    try:
        notebook = nbformat.read(file, as_version=4)
        names = exercises_of(notebook)
    except Exception as error:  # students hand in whatever there is
        return [Verdict(str(file), "", "unreadable", _line(error))]
    probes = insert_checks(notebook, names)
    stopped = run(notebook, file.parent, profile, limit)
    return [Verdict(str(file), name, *judge(name, probes.get(name), stopped)) for name in names]


def exercises_of(notebook: NotebookNode) -> list[str]:
    """The exercises of the lesson whose number the title has.

    Raises:
        InputError: the notebook is no lesson with exercises.
    """
    titles = (re.match(r"# (\d\d) ", cell.source) for cell in notebook.cells if cell.cell_type == "markdown")
    number = next((title[1] for title in titles if title), "none")
    for lesson in slides.lessons():
        if lesson.name.startswith(number):
            cells = nbformat.read(lesson, as_version=4).cells
            return [cell.id.removeprefix("exercise-") for cell in cells if cell.id.startswith("exercise-")]
    raise InputError("its title is not that of a lesson, '# 02 Measuring' or the like")


def insert_checks(notebook: NotebookNode, names: list[str]) -> dict[str, NotebookNode]:
    """Behind the last cell that holds or checks a function put one that checks it; what comes after all is cut off.

    Returns:
        name -> the new cell, where there is a function.
    """
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    probes = {}
    for name in names:
        about = re.compile(rf"\bdef {name}\b|\bcheck\.{name}\(")
        places = [i for i, cell in enumerate(cells) if cell not in probes.values() and about.search(cell.source)]
        if places:
            code = f"from ltlib.lesson.exercises import EXERCISES\nEXERCISES[{name!r}]({name})"
            probes[name] = new_code_cell(code, metadata={"tags": PROBE})
            cells.insert(places[-1] + 1, probes[name])
    last = max((i for i, cell in enumerate(cells) if cell in probes.values()), default=-1)
    notebook.cells = cells[: last + 1]
    for cell in notebook.cells:
        cell.outputs, cell.execution_count = [], None
    return probes


def run(notebook: NotebookNode, folder: Path, profile: str, limit: int) -> str:
    """Execute all cells, come what may; the reason why the last ones were not reached, or an empty text."""
    options = {"timeout": limit, "interrupt_on_timeout": True, "allow_errors": True, "coalesce_streams": True}
    options |= {"kernel_name": "python3", "shutdown_kernel": "immediate"}
    client = NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}, **options)
    client.log.setLevel("CRITICAL")
    begun = []
    client.on_cell_execute = lambda cell, cell_index: begun.append(cell)
    whole, started = WHOLE * limit, time.monotonic()
    with TemporaryDirectory() as runs:
        environment = os.environ | {"LTLIB_PROFILE": profile, "LTLIB_RUNS": runs}
        work = client.async_execute(env=environment, stderr=subprocess.DEVNULL)
        try:
            asyncio.run(asyncio.wait_for(work, whole))
        except (DeadKernelError, TimeoutError):  # nbclient takes its own cancelling for a dead kernel
            number = sum(cell.metadata.get("tags") != PROBE for cell in begun)
            late = time.monotonic() - started >= whole
            return f"{f'more than {whole} s in all' if late else 'the kernel died'}, code cell {number}"
    return ""


def judge(name: str, probe: NotebookNode | None, stopped: str) -> tuple[str, str]:
    """Verdict and remark, from what the checking cell has printed or raised."""
    if probe is None:
        return "missing", f"no cell defines {name}"
    error = next((output for output in probe.outputs if output.output_type == "error"), None)
    if error is None:
        printed = "".join(output.get("text", "") for output in probe.outputs).splitlines()
        if not printed:
            return "not reached", stopped
        return ("correct", "") if printed[-1] == f"{name}: correct." else ("not done", "")
    if error.ename == "WrongAnswer":
        return "wrong", _line(error.evalue)
    if error.ename == "KeyboardInterrupt":
        return "too slow", "interrupted at the limit"
    if error.ename == "NameError" and f"'{name}'" in error.evalue:
        return "missing", f"the cell that defines {name} fails or does not finish"
    return "fails", _line(f"{error.ename}: {error.evalue}")


def _line(text: object) -> str:
    return " ".join(str(text).split())


if __name__ == "__main__":
    sys.exit(main())
