"""The notebook that a new lesson begins as: everything that all lessons share, and sentences to replace.

``python -m ltlib.lesson.build --new 11_distillation`` writes it. CONTRIBUTING.md says what else a lesson needs.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from ltlib import paths
from ltlib.errors import InputError

GOALS = """## Goals

- **explain** the problem, in your own words,
- **derive** the method in a few lines, and compare it with the package by an `assert`,
- **measure** what it changes, over several seeds.

**Prerequisites:** [00_start_here](00_start_here.ipynb).

**Words and symbols:** [glossary](guide/glossary.md), [notation](guide/notation.md). **If something fails:**
[common problems](guide/problems.md).

**Time and hardware:** 30 minutes to read; the cells need about a minute on two free CPU cores. No GPU, no download."""

PARAMETERS = """import os

profile: str = os.environ.get("LTLIB_PROFILE", "lesson")  # smoke (seconds) or lesson (a minute)
seed: int = 0  # of the trainings"""

SETUP = """from ltlib.lesson import notebook

experiment = notebook.setup(
    profile=profile,
    seed=seed,
    expects={"smoke": "seconds", "lesson": "about a minute on two free CPU cores"},
)"""

BUG = """## 2. Find the bug, and an open task

What the next function should return, and what it returns instead."""

OPEN_TASK = """**Open task.** A question that this course leaves open, and the command that adds its result to the
table of results."""

REFERENCES = """## References

- The paper, with its address.

All lessons are in the [map](00_start_here.ipynb)."""


def write(name: str) -> Path:
    """Write ``notebooks/NAME.ipynb``; returns the file.

    Args:
        name: two digits and the topic, such as ``11_distillation``.

    Raises:
        InputError: the name is not of this form, or the lesson exists.
    """
    if not re.fullmatch(r"\d\d_[a-z][a-z0-9_]*", name):
        raise InputError(f"A lesson is named by two digits and its topic, such as 11_distillation; got {name!r}.")
    file = paths.project() / "notebooks" / f"{name}.ipynb"
    if file.exists():
        raise InputError(f"{file} exists, and is not overwritten: name a new lesson.")
    nbformat.write(lesson(name), file)
    return file


def lesson(name: str) -> NotebookNode:
    """The cells of a lesson without content, not executed."""
    number, _, topic = name.partition("_")
    title = topic.replace("_", " ").capitalize()
    texts = [
        f"# {number} {title}\n\nThe promise of this lesson, in two sentences.",
        GOALS,
        f"## 1. {title}\n\nThe first idea, in words before its formula.",
        BUG,
        OPEN_TASK,
        "## Takeaways\n\n- What the figures of this lesson have shown.",
        REFERENCES,
    ]
    cells = [new_markdown_cell(text, id=f"{topic}-{i}") for i, text in enumerate(texts)]
    parameters = new_code_cell(PARAMETERS, id=f"{topic}-parameters", metadata={"tags": ["parameters"]})
    setup = new_code_cell(SETUP, id=f"{topic}-setup", metadata={"tags": ["setup"]})
    # The build fills these two from the exercise of this name in ltlib/lesson/exercises.
    exercise = new_code_cell("", id=f"exercise-{topic}", metadata={"tags": ["exercise"]})
    solution = new_markdown_cell("", id=f"solution-{topic}", metadata={"tags": ["solution"]})
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    promise, goals, idea, bug, *rest = cells
    ordered = [promise, goals, parameters, setup, idea, bug, exercise, solution, *rest]
    return new_notebook(cells=ordered, metadata=about)
