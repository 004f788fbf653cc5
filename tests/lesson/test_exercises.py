"""Exercises: solutions pass, typical wrong answers get the intended hint, an untouched hole fails nothing."""

import math
import re
import subprocess
import sys
import traceback

import numpy as np
import pytest

from ltlib.lesson.exercises import EXERCISES, WrongAnswer, check
from ltlib.lesson.exercises.exercise import Exercise

# exercise -> [(a typical wrong answer, what the hint says)]
WRONG = {
    "factor_from_counts": [
        (lambda counts: min(counts) / max(counts), "turn the fraction over"),
        (lambda counts: counts[0] / counts[-1], "not sorted"),
        (lambda counts: max(counts) / np.mean(counts), "500 / 5 = 100"),
    ],
    "step_counts": [
        (lambda k, n, factor: [n] * (k // 2) + [round(n / factor)] * (k - k // 2), "truncates"),
        (lambda k, n, factor: [n] * (k - k // 2) + [int(n / factor)] * (k // 2), "odd number of classes"),
        (lambda k, n, factor: [int(n / factor)] * (k // 2) + [n] * (k - k // 2), "first half of the classes"),
    ],
    "image_probabilities": [
        (lambda y: np.full(len(y), 1 / len(y)), "with probability 1/3"),
        (lambda y: 1 / (len(np.bincount(y)) * np.bincount(y)), "one probability an image"),
        (lambda y: 1 / np.bincount(y)[y], "add up to 3"),
        (lambda y: np.where(np.r_[True, np.diff(y) > 0], 1 / 3, 0.0), "in class 0 yours differ"),
    ],
    "repeats_per_epoch": [
        (lambda n: np.full(len(n), n.sum() / len(n)), "divide by its images"),
        (lambda n: n.max() / n, "each image is shown"),
        (lambda n: float(n.sum() / len(n) / n[-1]), "one number a class"),
    ],
}
OF_THIS_FILE = sorted(WRONG)
HUNTS = sorted(name for name, exercise in EXERCISES.items() if exercise.faulty)


@pytest.mark.parametrize("name", sorted(EXERCISES))
def test_the_solution_passes(name, capsys):
    EXERCISES[name](EXERCISES[name].solution)
    assert capsys.readouterr().out == f"{name}: correct.\n"


@pytest.mark.parametrize(("name", "answer", "hint"), [(n, a, h) for n in OF_THIS_FILE for a, h in WRONG[n]])
def test_wrong_answers_get_their_hint(name, answer, hint, capsys):
    with pytest.raises(WrongAnswer, match=hint):
        EXERCISES[name](answer)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", sorted(set(EXERCISES) - set(HUNTS)))
def test_the_hole_runs_and_is_not_done(name, capsys):
    exec(EXERCISES[name].hole(), {})
    assert (
        capsys.readouterr().out == f"{name}: not done yet. Replace the `...` with your code and run the cell again.\n"
    )


@pytest.mark.parametrize("name", HUNTS)
def test_a_bug_hunt_starts_from_code_whose_assertion_fails(name, capsys):
    """The cell runs to its end, and the solution does not name the bug in its docstring."""
    exercise = EXERCISES[name]
    exec(exercise.hole(), {})
    told = capsys.readouterr().out
    assert re.match(rf"{name}: not right yet\. assert .+ fails", told, flags=re.DOTALL)
    assert max(map(len, told.splitlines())) <= 100, "a line is longer than a page is wide"
    with pytest.raises(WrongAnswer, match="assert .+ fails"):
        exercise(exercise.faulty)
    faulty, solved = exercise.hole().splitlines(), exercise.solved().splitlines()
    assert "find it" in exercise.hole()
    code = [[line for line in lines if "find it" not in line] for lines in (faulty, solved)]
    assert 1 <= len(set(code[1]) - set(code[0])) <= 3, "one bug, in one or two lines"


@pytest.mark.parametrize("name", sorted(EXERCISES))
def test_the_solution_runs_where_the_exercise_stands(name, capsys):
    """The cell imports what the answer needs: a lesson need not have done so above it."""
    exec(EXERCISES[name].solved(), {})
    assert capsys.readouterr().out == f"{name}: correct.\n"


def test_not_implemented_is_not_done_either(capsys):
    def answer(counts):
        raise NotImplementedError

    check.factor_from_counts(answer)
    assert "not done yet" in capsys.readouterr().out


def test_a_forgotten_return_is_named():
    with pytest.raises(WrongAnswer, match="end it with 'return'"):
        EXERCISES["factor_from_counts"](lambda counts: None)


@pytest.mark.parametrize("answer", [lambda counts: "100", lambda counts: [1, 2], lambda: 100])
def test_an_answer_of_another_type_is_told_and_stops_nothing(answer, capsys):
    """*Run All* reaches the end, although the check itself fails on such an answer."""
    check.factor_from_counts(answer)
    assert "factor_from_counts: not right yet. The check cannot work with your function." in capsys.readouterr().out


def test_a_wrong_answer_is_told_and_stops_nothing(capsys):
    check.factor_from_counts(lambda counts: 7)
    assert capsys.readouterr().out.startswith("factor_from_counts: not right yet. For counts [500, 107, 5] the factor")


def test_an_error_in_the_answer_shows_the_readers_line_and_nothing_of_the_checker():
    def helper():
        return 1 / 0

    def answer(counts):
        return helper()

    with pytest.raises(ZeroDivisionError) as raised:
        check.factor_from_counts(answer)
    names = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert names[1:] == ["tell", "answer", "helper"]
    assert raised.value.__suppress_context__


def test_ipython_leaves_the_checker_out(tmp_path):
    """What a student sees in a notebook: the cell that checks, then the line that fails."""
    cell = "from ltlib.lesson.exercises import check\ndef answer(counts):\n    return counst\n"
    shell = "from IPython.core.interactiveshell import InteractiveShell as Shell"
    code = f"{shell}\nShell().run_cell({cell!r} + 'check.factor_from_counts(answer)')"
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False).stdout
    shown = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "NameError: name 'counst' is not defined" in shown
    assert "return counst" in shown
    assert "exercise.py" not in shown


def area(radius):
    """The area of a circle,
    in square units."""
    squared = radius**2
    return math.pi * squared


def test_hole_and_answer_are_cut_from_the_solution():
    exercise = Exercise(area, lambda answer: None)
    kept = 'def area(radius):\n    """The area of a circle,\n    in square units."""\n'
    imported = "from ltlib.lesson.exercises import check\n\n\n"
    assert exercise.hole() == f"{imported}{kept}    return ...  # your code here\n\n\ncheck.area(area)"
    body = "    squared = radius**2\n    return math.pi * squared\n"
    assert exercise.solved() == f"{imported}{kept}{body}\n\ncheck.area(area)"
    assert exercise.answer() == f"<details>\n<summary>Solution</summary>\n\n```python\n{kept}{body}```\n\n</details>"


@pytest.mark.parametrize("name", OF_THIS_FILE)
def test_solutions_are_cut_without_their_decorator(name):
    assert f"```python\ndef {name}(" in EXERCISES[name].answer()
