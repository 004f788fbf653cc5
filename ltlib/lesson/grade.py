"""Check the exercises in students' notebooks: ``python -m ltlib.lesson.grade NOTEBOOK ... [--csv FILE]``.

Each notebook is executed in a fresh kernel, its own cells in their order, and right behind an exercise the checker of
the course is run on the student's function. One line an exercise says what came out. A cell that fails does not stop
the others, one that takes too long is interrupted, and a notebook that cannot be read does not stop the next.

All notebooks are read before the first is executed. Each has its own folder for settings, caches and runs, and none of
its processes outlives it. The course is compared with what it was before: a notebook that changes it ends the grading
and is named (`ltlib.lesson.contain`). What a student has written is still executed with the rights of the teacher, and
could forge its own verdict: grade strangers' notebooks in a container, and look at what is handed in.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_output
from traitlets.log import get_logger

from ltlib import paths
from ltlib.errors import InputError, check_choice, one_line
from ltlib.experiments.recipe import PROFILE
from ltlib.files import write_atomic
from ltlib.kernel import OwnKernel
from ltlib.lesson import contain, slides
from ltlib.results.formats import as_csv

PROBE = ["checks the exercise above"]  # the tags of a cell that is put in
WHOLE = 20  # a notebook may take so many times the limit of one cell
MOST = 10_000  # letters of what a cell prints that are kept, the last ones
REMARK = 300  # letters


@dataclass(frozen=True)
class Verdict:
    """What came out for one exercise of one notebook.

    Attributes:
        notebook: the file.
        exercise: its name; empty where the notebook could not be read.
        verdict: ``correct``, ``wrong``, ``not done``, ``missing`` (no such function), ``fails`` (it raises),
            ``too slow``, ``not reached`` (the kernel died or the notebook took too long before), ``unreadable``, or
            ``changed the course`` (the notebook changed files of the course, and nothing in it counts).
        remark: why, in one line.
    """

    notebook: str
    exercise: str
    verdict: str
    remark: str = ""

    def __str__(self) -> str:
        return one_line(f"{self.notebook}  {self.exercise:<24}{self.verdict:<12}{self.remark}".rstrip())


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 if every exercise is correct, 1 if not, 2 after one sentence on standard error."""
    parser = argparse.ArgumentParser("python -m ltlib.lesson.grade", description="Check students' notebooks.")
    parser.add_argument("notebooks", nargs="+", type=Path, metavar="NOTEBOOK")
    parser.add_argument("--profile", default="smoke", help="smoke (default), lesson or paper")
    parser.add_argument("--limit", default=60, type=int, help="seconds that one cell may take (default 60)")
    parser.add_argument("--csv", type=Path, help="a new file for the verdicts")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the processes of the notebook, as Ctrl-C does
    try:
        verdicts = grade_all(options.notebooks, options.profile, options.limit, options.csv)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the table holds the notebooks that were graded", file=sys.stderr)
        return 130
    return int(any(verdict.verdict != "correct" for verdict in verdicts))


def grade_all(files: list[Path], profile: str = "smoke", limit: int = 60, table: Path | None = None) -> list[Verdict]:
    """Grade one notebook after the other, print the verdicts, and keep them in ``table``, a CSV file.

    The table is complete after each notebook, however the grading ends.

    Raises:
        InputError: a file is missing, the table exists or cannot be written, the profile or the limit is not allowed,
            or a notebook changed the course; the table then holds all verdicts up to that notebook.
    """
    check_choice("profile", profile, PROFILE)
    if limit < 1:
        raise InputError(f"limit must be at least 1 second; got {limit}.")
    for file in files:
        if not file.is_file():
            raise InputError(f"{file} is no file: name the notebooks to grade.")
    if table and table.exists():
        raise InputError(f"{table} exists, and is not overwritten: name a new file.")
    handed_in = [(file, _bytes(file)) for file in files]  # before a notebook can change its neighbours
    verdicts: list[Verdict] = []
    _write(table, verdicts)
    course = contain.fingerprint()
    for file, content in handed_in:
        found = grade(file, profile, limit, content)
        spoilt = contain.spoilt(course, contain.fingerprint())
        if spoilt:
            found = [Verdict(str(file), "", "changed the course", _line(", ".join(spoilt)))]
        print("\n".join(map(str, found)), flush=True)
        verdicts += found
        _write(table, verdicts)
        if spoilt:
            raise InputError(
                f"{file} changed {len(spoilt)} files of the course or its environment ({', '.join(spoilt[:3])}), so "
                "nothing after it can be trusted: restore them (git checkout, a new environment), and grade the rest."
            )
    return verdicts


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): make it readable, or leave it out.") from error


def _write(table: Path | None, verdicts: list[Verdict]) -> None:
    if table:
        rows = [asdict(verdict) for verdict in verdicts]
        header = ",".join(Verdict.__dataclass_fields__) + "\n"
        write_atomic(table, (as_csv(rows) if rows else header).encode())


def grade(file: Path, profile: str = "smoke", limit: int = 60, content: bytes | None = None) -> list[Verdict]:
    """One verdict for each exercise of the lesson that the notebook is.

    Args:
        file: the notebook; it is executed in its folder.
        profile: of the lesson.
        limit: seconds that one cell may take.
        content: of the file, if it was read before.
    """
    try:
        text = (_bytes(file) if content is None else content).decode("utf-8")
        with _quiet_reader():
            notebook = nbformat.reads(text, as_version=4)
        names = exercises_of(notebook)
    except Exception as error:  # students hand in whatever there is
        return [Verdict(str(file), "", "unreadable", _line(error))]
    probes = insert_checks(notebook, names)
    stopped = run(notebook, file.parent, profile, limit)
    return [Verdict(str(file), name, *judge(name, probes.get(name), stopped)) for name in names]


@contextlib.contextmanager
def _quiet_reader() -> Iterator[None]:
    """nbformat logs what is wrong together with the student's own content, which may hold anything.

    The verdict says what is wrong.
    """
    logger = cast(logging.Logger, get_logger())
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


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


class Clipped(NotebookClient):
    """Keeps the last letters that a cell prints, and its errors; figures and tables are not looked at."""

    def process_message(self, msg, cell, cell_index):
        kind = msg["msg_type"]
        if kind in ("display_data", "execute_result", "update_display_data", "clear_output") or kind[:4] == "comm":
            return None
        if kind != "stream":
            return super().process_message(msg, cell, cell_index)
        printed = next((output for output in cell.outputs if output.output_type == "stream"), None)
        if printed is None:
            printed = new_output("stream", name="stdout", text="")
            cell.outputs.append(printed)
        printed.text = (printed.text + msg["content"]["text"])[-MOST:]
        return None


def run(notebook: NotebookNode, folder: Path, profile: str, limit: int) -> str:
    """Execute all cells, come what may; the reason why the last ones were not reached, or an empty text."""
    options = {"timeout": limit, "interrupt_on_timeout": True, "allow_errors": True, "kernel_manager_class": OwnKernel}
    options |= {"kernel_name": "python3", "shutdown_kernel": "immediate"}
    client = Clipped(notebook, resources={"metadata": {"path": str(folder)}}, **options)
    client.log.setLevel("CRITICAL")
    begun = []
    client.on_cell_execute = lambda cell, cell_index: begun.append(cell)
    whole, started = WHOLE * limit, time.monotonic()
    with TemporaryDirectory(ignore_cleanup_errors=True) as home, contain.no_process_left():
        variables = contain.environment(Path(home), LTLIB_PROFILE=profile, LTLIB_DATA=str(paths.data_root().absolute()))
        work = client.async_execute(env=variables, stderr=subprocess.DEVNULL)
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
    line = " ".join(str(text)[: 4 * REMARK].split())
    return line if len(line) <= REMARK else f"{line[:REMARK]}..."


if __name__ == "__main__":
    sys.exit(main())
