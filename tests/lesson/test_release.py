"""Releasing notebooks to a class: with and without solutions, everything else as it was."""

import ast

import nbformat
import pytest

from ltlib import paths
from ltlib.lesson import release as releasing
from ltlib.lesson.exercises import EXERCISES, WrongAnswer
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


@pytest.fixture(scope="module")
def assignments(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nbgrader") / "source"
    assert releasing.main([str(folder), "--nbgrader"]) == 0
    return folder


@pytest.mark.parametrize("lesson", lessons(), ids=lambda file: file.stem)
def test_for_nbgrader_each_exercise_is_a_solution_and_a_test_for_one_point(lesson, assignments):
    found = cells(assignments / lesson.name)
    names = [c.id.removeprefix("exercise-") for c in cells(lesson) if c.id.startswith("exercise-")]
    graded = [c.metadata["nbgrader"] for c in found if "nbgrader" in c.metadata]
    assert [g["grade_id"] for g in graded] == [i for name in names for i in (name, f"test-{name}")]
    assert [(g["solution"], g["grade"], g["locked"], g.get("points")) for g in graded] == [
        (True, False, False, None),
        (False, True, True, 1),
    ] * len(names)
    assert "Solution</summary>" not in "".join(c.source for c in found)


@pytest.mark.parametrize("name", EXERCISES)
def test_the_test_for_nbgrader_passes_the_solution_and_fails_what_is_left_of_it(name):
    solution, test = EXERCISES[name].marked()
    exec(f"{solution}\n\n{test}", {})
    head, marked = solution.split("    ### BEGIN SOLUTION")
    assert marked.rstrip().endswith("    ### END SOLUTION")
    for left in ("    # YOUR CODE HERE\n    raise NotImplementedError()", "    return ...  # your code here"):
        with pytest.raises(WrongAnswer, match="not done yet"):
            exec(f"{head}{left}\n\n{test}", {})


def test_nbgrader_itself_accepts_the_assignments(assignments, tmp_path, monkeypatch):
    format = pytest.importorskip("nbgrader.nbgraderformat", reason="this test needs: pip install nbgrader")
    from nbgrader.preprocessors import ClearSolutions
    from nbgrader.validator import Validator

    for lesson in lessons():
        format.read(str(assignments / lesson.name), as_version=4)  # validates
    # Its validator executes a notebook. The exercises of a lesson do not depend on its other cells.
    notebook = nbformat.read(assignments / "03_mislas.ipynb", as_version=4)
    notebook.cells = [cell for cell in notebook.cells if "nbgrader" in cell.metadata]
    monkeypatch.chdir(tmp_path)
    nbformat.write(notebook, "solved.ipynb")
    assert not Validator().validate("solved.ipynb").get("failed")
    students, _ = ClearSolutions().preprocess(notebook, {})
    assert "YOUR CODE HERE" in students.cells[0].source
    nbformat.write(students, "students.ipynb")
    assert len(Validator().validate("students.ipynb")["failed"]) == len(notebook.cells) // 2


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
