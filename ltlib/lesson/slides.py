"""Which cells of a lesson become slides: decided by what a cell is, so that no author has to.

`ltlib.lesson.build` writes the rule into the lessons, and ``make slides`` makes the decks. A deck is shown without
code, so a cell that computes and shows nothing has no place in it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from ltlib import paths

HIDDEN = {"parameters", "setup", "train", "exercise", "solution"}  # tags of what is worked with, not looked at
LINES = 26  # of 28 pixels, that a slide of 800 pixels holds under its heading
WIDTH = 95  # letters in one of them


def lessons() -> list[Path]:
    """The numbered notebooks of the project, in their order."""
    return sorted((paths.resources() / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def prepare(notebook: NotebookNode) -> None:
    """Cut the text where a heading begins and write the rule into the ``slideshow`` metadata, in place."""
    notebook.cells = [part for cell in notebook.cells for part in _cut(cell)]
    for cell, kind in zip(notebook.cells, slide_types(notebook.cells), strict=True):
        cell.metadata.pop("slideshow", None)
        if kind:
            cell.metadata.slideshow = {"slide_type": kind}


def _cut(cell: NotebookNode) -> list[NotebookNode]:
    """A text cell as cells that hold a heading only at their beginning; the first keeps the id."""
    parts = re.split(r"\n+(?=##+ )", cell.source) if cell.cell_type == "markdown" else [cell.source]
    cell.source = parts[0]
    more = (new_markdown_cell(part, id=f"{cell.id}-{i}") for i, part in enumerate(parts[1:], 1))
    return [cell, *more]


def slide_types(cells: list[NotebookNode]) -> Iterator[str]:
    """One word a cell: ``slide`` goes right, ``subslide`` down, ``notes`` are the speaker's, ``skip`` is left out.

    What a cell has computed stays on the slide of the cell before it as long as both fit: its word is empty.
    """
    filled = 0.0
    for cell, following in zip(cells, [*cells[1:], None], strict=False):  # a notebook may have no cell
        if cell.cell_type == "markdown":
            kind, height = _of_markdown(cell, following), _lines(cell.source)
        else:
            kind, height = _of_code(cell), _heights(cell)
            kind = "" if kind == "subslide" and filled + height <= LINES else kind
        if kind not in ("notes", "skip"):
            filled = height if kind else filled + height
        yield kind


def _of_markdown(cell: NotebookNode, following: NotebookNode | None) -> str:
    """Headings, tables, formulas and tasks are shown; other text is what the teacher says."""
    if HIDDEN & _tags(cell):
        return "skip"
    if re.match(r"##? ", cell.source):
        return "slide"
    task = following is not None and "exercise" in _tags(following)
    shown = task or re.search(r"^(### |\$\$|\|)", cell.source, flags=re.MULTILINE)
    return "subslide" if shown else "notes"


def _of_code(cell: NotebookNode) -> str:
    """A cell is shown for its pictures, tables and printed lines; a listing of source is not for a slide."""
    shown = [output for output in cell.outputs if not _text(output).startswith("█")]  # the bar of a training
    if not shown or HIDDEN & _tags(cell) or "show_source(" in cell.source:
        return "skip"
    pictures = any(output.get("data", {}).keys() & {"image/png", "text/html"} for output in shown)
    return "subslide" if pictures or _heights(cell) <= LINES else "skip"


def _heights(cell: NotebookNode) -> float:
    """About how many lines the outputs of a cell take."""
    return sum(map(_height, cell.outputs))


def _height(output: NotebookNode) -> float:
    data = output.get("data", {})
    if "image/png" in data:
        header = base64.b64decode(data["image/png"][:32])
        return 2 + int.from_bytes(header[20:24]) / 28
    return 1 + _lines(_text(output))


def _text(output: NotebookNode) -> str:
    return output.get("text", "") or output.get("data", {}).get("text/plain", "")


def _lines(text: str) -> float:
    return sum(1 + len(line) // WIDTH for line in text.splitlines())


def _tags(cell: NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))
