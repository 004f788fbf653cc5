"""Releasing notebooks to a class: with and without solutions, everything else as it was."""

import ast

import nbformat
import pytest

from ltlib import paths
from ltlib.lesson import release as releasing
from ltlib.lesson.exercises import EXERCISES
from ltlib.lesson.release import release
from ltlib.lesson.slides import lessons


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    root = tmp_path_factory.mktemp("class")
    release(root / "without")
    release(root / "with", solutions=True)
    return root


def cells(file):
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    return notebook.cells


def body(function):
    """The text of a solution, without signature and docstring."""
    lines, statements = function.splitlines(), ast.parse(function).body[0].body[1:]
    return "\n".join(lines[statements[0].lineno - 1 : statements[-1].end_lineno])


@pytest.mark.parametrize("lesson", lessons(), ids=lambda file: file.stem)
def test_without_solutions_a_lesson_has_its_other_cells(lesson, copies):
    found, original = cells(copies / "without" / lesson.name), cells(lesson)
    assert found == [cell for cell in original if not cell.id.startswith("solution-")]
    assert len(found) < len(original)


def test_no_line_of_a_solution_is_left(copies):
    notebooks = list((copies / "without").rglob("*.ipynb"))
    assert not any("Solution" in file.read_text() for file in notebooks)
    sources = "\n".join(cell.source for file in notebooks for cell in cells(file))
    for exercise in EXERCISES.values():
        assert body(exercise.solved().partition("check\n\n\n")[2]) not in sources


@pytest.mark.parametrize("lesson", lessons(), ids=lambda file: file.stem)
def test_with_solutions_the_exercises_hold_them(lesson, copies):
    found = {cell.id: cell for cell in cells(copies / "with" / lesson.name)}
    names = [i.removeprefix("exercise-") for i in found if i.startswith("exercise-")]
    assert names
    for name in names:
        cell = found[f"exercise-{name}"]
        assert cell.source == EXERCISES[name].solved()
        assert (cell.outputs, cell.execution_count) == ([], None)  # what is stored is of the untouched exercise
    assert not any(i.startswith("solution-") for i in found)


def test_all_other_files_are_copied(copies):
    def others(folder):
        return {
            str(file.relative_to(folder)): file.read_bytes()
            for file in folder.rglob("*")
            if file.is_file() and file.suffix != ".ipynb" and "/." not in str(file.relative_to(folder))
        }

    original = others(paths.project() / "notebooks")
    assert others(copies / "without") == original
    assert "images/demo.png" in original


def test_nothing_is_overwritten(tmp_path, capsys):
    (tmp_path / "class").mkdir()
    assert releasing.main([str(tmp_path / "class")]) == 2
    assert "exists, and nothing in it is overwritten: name a new folder." in capsys.readouterr().err
    assert list((tmp_path / "class").iterdir()) == []


def test_a_folder_that_cannot_be_written_leaves_nothing(tmp_path, capsys):
    assert releasing.main([str(tmp_path / "no" / "class")]) == 2
    assert "cannot be written (No such file or directory)" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert releasing.main([str(tmp_path / "class")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'class'}: the notebooks without solutions\n"
