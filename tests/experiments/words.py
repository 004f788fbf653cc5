"""The words of an experiment in README.md and in ``full_run.ipynb``: ``python -m tests.experiments.words`` writes them.

They are described once, in the docstring of `Experiment`.
"""

import json
import re
from pathlib import Path

from ltlib.data.datasets import DATASETS
from ltlib.experiments.experiment import FIELDS, IMBALANCE_TYPES, PROFILES, Experiment, meanings
from ltlib.methods import METHODS

PROJECT = Path(__file__).resolve().parents[2]
README, FULL_RUN = PROJECT / "README.md", PROJECT / "notebooks" / "full_run.ipynb"
CHOICES = {"method": METHODS, "dataset": DATASETS, "imbalance_type": IMBALANCE_TYPES, "profile": PROFILES}
KINDS = {str: "a text", int: "a whole number", float: "a number"}
TABLE = re.compile(r"\| word \| values \| meaning \|\n(?:\|.*\n)+")
PARAMETER = re.compile(r"^(\w+): \w+ = (.*?)  # .*$", re.MULTILINE)


def table() -> str:
    """The table in README.md: one row for each field of an experiment."""
    rows = ["| word | values | meaning |", "| --- | --- | --- |"]
    for name, meaning in meanings(Experiment).items():
        values = ", ".join(f"`{value}`" for value in CHOICES.get(name, ())) or KINDS[type(getattr(Experiment, name))]
        rows.append(f"| `{name}` | {values} | {meaning.replace('``', '`')} |")
    return "\n".join(rows) + "\n"


def with_comments(cell: str) -> str:
    """The parameters cell of ``full_run`` with the first sentence on each field as its comment."""
    said = meanings(Experiment)

    def comment(line: re.Match) -> str:
        if line[1] not in FIELDS:
            return line[0]
        first = said[line[1]].split(". ")[0].rstrip(".").replace("``", "")
        first = first.partition(", such as ")[0]  # papermill reads no = in a comment
        if len(CHOICES.get(line[1], ())) in (2, 3):
            first += f": {', '.join(CHOICES[line[1]])}"
        return f"{line[0].partition('  # ')[0]}  # {first}"

    return PARAMETER.sub(comment, cell)


def parameters(notebook: dict) -> dict:
    """The cell that papermill changes."""
    return next(cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", []))


if __name__ == "__main__":
    README.write_text(TABLE.sub(lambda _: table(), README.read_text()))
    notebook = json.loads(FULL_RUN.read_text())
    cell = parameters(notebook)
    cell["source"] = with_comments("".join(cell["source"])).splitlines(keepends=True)
    FULL_RUN.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
