"""Tables for a reader: in the terminal, as CSV, as Markdown and as LaTeX. Nothing else turns results into text.

Labels, class names and reasons come from files that others may have written. Each format therefore makes them neutral:
no cell of a CSV file is a formula, no text in a page is a link or a tag, no line of a comment ends early, and no
character moves the cursor of a terminal.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wcwidth import wcswidth

from ltlib import paths
from ltlib.errors import InputError, one_line
from ltlib.files import write_atomic

Rows = Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class Note:
    """A line below a table.

    Attributes:
        about: the numbers of the rows that it is about, or "".
        text: what it says.
        is_command: whether the text is a command line.
    """

    about: str
    text: str
    is_command: bool = False

    def __str__(self) -> str:
        return f"{self.about}: {self.text}" if self.about else self.text


@dataclass(frozen=True)
class Sheet:
    """A table with all that belongs to it.

    Attributes:
        rows: for reading, one dictionary per row with the same keys; fractions are printed in per cent.
        full: the same rows with every column and every digit, for CSV.
        foot: one sentence on how to read the numbers.
        notes: below the table.
        title: of the page; "" for none.
    """

    rows: Rows
    full: Rows
    foot: str
    notes: Sequence[Note] = ()
    title: str = ""

    def as_text(self) -> str:
        """For the terminal."""
        if not self.rows:
            return "no result of this kind"
        return "\n".join(
            [as_text(self.rows), one_line(self.foot), "", *(one_line(note) for note in self.notes)]
        ).rstrip()

    def as_csv(self) -> str:
        """All columns, fractions in full."""
        return as_csv(self.full)

    def as_markdown(self) -> str:
        """A page: the table, how to read it, the notes."""
        notes = [f"- {note.about + ': ' if note.about else ''}{_in_markdown(note)}" for note in self.notes]
        title = [f"# {_markdown(self.title)}", ""] if self.title else []
        return "\n".join([*title, as_markdown(self.rows), "", f"{_markdown(self.foot)}.", "", *notes]).rstrip() + "\n"

    def as_latex(self) -> str:
        """A ``tabular`` with the rules of the booktabs package; what is below the table is a comment before it."""
        comments = [f"% {one_line(line)}" for line in (self.foot, *self.notes)]
        return "\n".join([*comments, as_latex(self.rows), ""])


def cell(value: object) -> str:
    """A value for reading: a fraction in per cent with one decimal, "-" for None."""
    return "-" if value is None else f"{value:.1%}" if isinstance(value, float) else one_line(value)


def as_text(rows: Rows) -> str:
    """Columns for the terminal. Wide characters, such as Chinese ones, take two places each."""
    if not rows:
        return "no finished run"
    grid = [[one_line(name) for name in rows[0]], *([cell(value) for value in row.values()] for row in rows)]
    widths = [max(_width(text) for text in column) for column in zip(*grid, strict=True)]
    grid.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(text + " " * (width - _width(text)) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in grid
    )


def as_csv(rows: Rows) -> str:
    """Numbers in full, None as an empty cell, the values of a list with spaces between them."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [csv_cell(name) for name in rows[0]], lineterminator="\n")
    writer.writeheader()
    writer.writerows({csv_cell(name): csv_cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def csv_cell(value: object) -> str:
    """The text of a cell, which no spreadsheet takes for a formula.

    A text that begins with = + - @ (also full-width) and is no number gets an apostrophe in front.
    """
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return csv_cell(" ".join(map(str, value)))
    text = one_line(value)
    return f"'{text}" if text.lstrip()[:1] in set("=+-@＝＋－＠") - {""} and not _is_number(text) else text


def as_markdown(rows: Rows) -> str:
    """A table."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    head = [_markdown(name) for name in rows[0]]
    body = [line([_markdown(cell(value)) for value in row.values()]) for row in rows]
    return "\n".join([line(head), line(["---"] * len(head)), *body])


def as_latex(rows: Rows) -> str:
    """A ``tabular``."""

    def line(cells: Sequence[str]) -> str:
        return f"{' & '.join(_latex(text) for text in cells)} \\\\"

    body = [line([cell(value) for value in row.values()]) for row in rows]
    begin = f"\\begin{{tabular}}{{{'l' * len(rows[0])}}}"
    return "\n".join([begin, "\\toprule", line(list(rows[0])), "\\midrule", *body, "\\bottomrule", "\\end{tabular}"])


FORMATS: dict[str, Callable[[Sheet], str]] = {
    ".csv": Sheet.as_csv,
    ".md": Sheet.as_markdown,
    ".tex": Sheet.as_latex,
}


def write(sheet: Sheet, file: Path) -> Path:
    """Write a table in the format that the name of the file ends in; returns the path.

    Args:
        sheet: with at least one row.
        file: its folder is made if there is none.

    Raises:
        InputError: the name has another ending, the file exists with other content, or cannot be written.
    """
    if file.suffix not in FORMATS:
        raise InputError(f"A table is written to a name that ends in {', '.join(FORMATS)}; got {str(file)!r}.")
    if not sheet.rows:
        raise InputError("There is no result to write: choose another study, method or metric.")
    content = FORMATS[file.suffix](sheet).encode()
    refuse_other_content(file, content.__eq__)
    paths.make_folder(file.parent, "--to")
    write_atomic(file, content)
    return file


def refuse_other_content(file: Path, is_same: Callable[[bytes], bool]) -> None:
    """Raise unless ``file`` can be written without a loss.

    Raises:
        InputError: the file exists with other content, is no file, or its name is not possible.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{file} cannot be written ({error.strerror}): choose another name.") from error
    if not is_same(content):
        raise InputError(f"{file} exists with other content: delete it first, or choose another name.")


def _width(text: str) -> int:
    """Places in a terminal. A combining accent takes none."""
    width = wcswidth(text)
    return width if width >= 0 else len(text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# An underscore inside a word is only an underscore; at its edge it begins emphasis.
SPECIAL_IN_MARKDOWN = re.compile(r"[\\`*\[\]|~$#]|(?<!\w)_|_(?!\w)|(?<=https):|(?<=http):|(?<=ftp):|(?<=www)\.", re.I)


def _markdown(text: object) -> str:
    """As text that Markdown leaves as it is: no tag, no link, no emphasis, no formula, no further column."""
    tagless = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return SPECIAL_IN_MARKDOWN.sub(r"\\\g<0>", tagless)


def _in_markdown(note: Note) -> str:
    """A command as code, between more backticks than it holds in a row."""
    text = one_line(note.text)
    if not note.is_command:
        return _markdown(text)
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    padding = " " if "`" in text else ""
    return f"{fence}{padding}{text}{padding}{fence}"


LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"±": "$\\pm$", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "\\": "\\textbackslash{}"}
    | {"<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}"}
)


def _latex(text: object) -> str:
    return one_line(text).translate(LATEX)
