"""Rows of ``results.table`` and ``published.beside`` for a reader: in the terminal, as CSV, Markdown and LaTeX.

CSV holds every column, fractions in full. The other three are for reading: per cent, one decimal, and below the table
the command of each row and the reasons why it differs from a paper's.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ltlib import paths
from ltlib.errors import InputError
from ltlib.experiments import runs
from ltlib.files import write_atomic

Rows = list[dict[str, object]]

ABOUT = ("study", "label", "data", "IF", "metric", "attack", "n")
FOOT = (
    "mean ± standard deviation over n seeds, last epoch; 95%: Student's interval for the mean; "
    "groups by the {rule} rule; the commands are those of the first seed"
)


def readable(rows: Rows) -> list[dict[str, str]]:
    """The columns that a reader looks at first, as texts; a column in which nothing stands is left out."""
    shown = [_readable(number, row) for number, row in enumerate(rows, 1)]
    return [{name: text for name, text in line.items() if any(other[name] != "-" for other in shown)} for line in shown]


def _readable(number: int, row: dict[str, object]) -> dict[str, str]:
    spread = f" ± {row['sd']:.1%}" if row["sd"] is not None else ""
    inside = f"{row['low']:.1%} to {row['high']:.1%}" if row["low"] is not None else "-"
    line = {"": str(number)} | {name: str(row[name]) or "-" for name in ABOUT}
    line |= {"mean": f"{row['mean']:.1%}{spread}", "95%": inside}
    line |= {name: _per_cent(row[name]) for name in ("best on test", "chosen on validation")}
    if "paper" in row:
        line |= {name: str(row[name]) for name in ("paper", "its method")}
        line |= {"its value": f"{row['its value']:.2%}", "difference": f"{100 * row['difference']:+.1f} points"}
        line["verified"] = str(row["verified"])
    return line


def _per_cent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def notes(rows: Rows) -> list[str]:
    """The commands of each row and, beside a paper, why the two differ and where its number stands."""
    of_text: dict[str, list[str]] = {}
    for number, row in enumerate(rows, 1):
        texts = [" && ".join(filter(None, (row["command"], row["attack command"])))]
        if "why" in row:
            texts += [f"differs from the paper's: {row['why']}", f"the paper's number stands in: {row['source']}"]
        for text in texts:
            of_text.setdefault(text, []).append(str(number))
    return [f"{', '.join(numbers)}: {text}" for text, numbers in of_text.items()]


def as_text(rows: Rows, rule: str) -> str:
    """For the terminal."""
    if not rows:
        return "no result of this kind"
    return "\n".join([runs.as_text(readable(rows)), FOOT.format(rule=rule), "", *notes(rows)])


def as_csv(rows: Rows, rule: str) -> str:
    """All columns; fractions, undefined ones empty; the values of the seeds with spaces between them."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*rows[0], "rule"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(row | {"values": " ".join(map(repr, row["values"])), "rule": rule} for row in rows)
    return text.getvalue()


def as_markdown(rows: Rows, rule: str) -> str:
    """A table, and a list of commands."""
    shown = readable(rows)

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    table = [line(list(shown[0])), line(["---"] * len(shown[0])), *(line(list(row.values())) for row in shown)]
    return "\n".join([*table, "", f"{FOOT.format(rule=rule)}.", "", *(f"- {note}" for note in notes(rows)), ""])


def as_latex(rows: Rows, rule: str) -> str:
    """A ``tabular`` with the rules of the booktabs package; the commands are comments in front of it."""
    shown = readable(rows)

    def line(cells: list[str]) -> str:
        return f"{' & '.join(_escape(cell) for cell in cells)} \\\\"

    return "\n".join(
        [
            *(f"% {note}" for note in [FOOT.format(rule=rule), *notes(rows)]),
            f"\\begin{{tabular}}{{{'l' * len(shown[0])}}}",
            "\\toprule",
            line(list(shown[0])),
            "\\midrule",
            *(line(list(row.values())) for row in shown),
            "\\bottomrule",
            "\\end{tabular}",
            "",
        ]
    )


def _escape(text: str) -> str:
    return text.translate(LATEX)


LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"±": "$\\pm$", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "\\": "\\textbackslash{}"}
)
FORMATS = {".csv": as_csv, ".md": as_markdown, ".tex": as_latex}


def write(rows: Rows, file: Path, rule: str) -> Path:
    """Write a table in the format that the name of the file ends in; returns the path.

    Args:
        rows: at least one.
        file: its folder is made if there is none.
        rule: by which the rows were grouped.

    Raises:
        InputError: the name has another ending, the file exists with other content, or cannot be written.
    """
    if file.suffix not in FORMATS:
        raise InputError(f"A table is written to a name that ends in {', '.join(FORMATS)}; got {str(file)!r}.")
    if not rows:
        raise InputError("There is no result to write: choose another study, method or metric.")
    text = FORMATS[file.suffix](rows, rule)
    paths.make_folder(file.parent, "--to")
    if file.exists() and file.read_text(encoding="utf-8") != text:
        raise InputError(f"{file} exists with other content: delete it first, or choose another name.")
    write_atomic(file, text.encode())
    return file
