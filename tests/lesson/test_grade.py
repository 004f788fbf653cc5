"""Grading: whatever students hand in, each exercise gets the verdict it deserves, and the next one its turn."""

import csv
import json
import os
import sys

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from ltlib.lesson import contain
from ltlib.lesson import grade as grading
from ltlib.lesson.exercises import EXERCISES
from ltlib.lesson.release import release, solved

NAMES = ["step_counts", "image_probabilities", "repeats_per_epoch"]
ALL = grading.exercises_of
LINE = "def step_counts(num_classes, n_max, imbalance_factor):\n    "


@pytest.fixture(autouse=True)
def three_exercises(monkeypatch):
    """Grading asks for three of the four exercises of lesson 01; the hunt for a bug is left out."""
    monkeypatch.setattr(grading, "exercises_of", lambda notebook: [n for n in ALL(notebook) if n != "balanced_draw"])


@pytest.fixture
def hand_in(tmp_path):
    """A notebook that calls itself lesson 01, of these code cells."""

    def write(*codes, name="student.ipynb", title="# 01 Long-tailed data\n\nMine."):
        cells = [new_markdown_cell(title), *map(new_code_cell, ("import numpy as np", *codes))]
        nbformat.write(new_notebook(cells=cells), tmp_path / name)
        return tmp_path / name

    return write


def answers(**changed):
    """The solved cells of lesson 01, some of them changed."""
    return [changed.get(name, EXERCISES[name].solved()) for name in NAMES]


def verdicts(file, **options):
    found = grading.grade(file, **options)
    assert [verdict.exercise for verdict in found] == NAMES
    return [(verdict.verdict, verdict.remark) for verdict in found]


def test_right_wrong_and_empty_answers(hand_in):
    wrong = f"{LINE}return [1] * num_classes"
    found = verdicts(hand_in(*answers(step_counts=wrong, repeats_per_epoch=EXERCISES["repeats_per_epoch"].hole())))
    assert found[0][0] == "wrong"
    assert "For num_classes=10, n_max=500, imbalance_factor=100 the counts are" in found[0][1]
    assert found[1:] == [("correct", ""), ("not done", "")]


def test_answers_that_fail_or_are_not_there(hand_in):
    raises, broken = f"{LINE}return 1 / 0", "def image_probabilities(labels)\n    return labels"
    found = verdicts(hand_in(raises, broken, "print('no third exercise')"))
    assert found == [
        ("fails", "ZeroDivisionError: division by zero"),
        ("missing", "the cell that defines image_probabilities fails or does not finish"),
        ("missing", "no cell defines repeats_per_epoch"),
    ]


def test_cells_that_fail_elsewhere_do_no_harm(hand_in):
    others = ("1 / 0", "import sys; sys.exit()", "input('your name? ')", "%no_such_magic")
    assert verdicts(hand_in(*others, *answers())) == [("correct", "")] * 3


def test_printing_the_verdict_is_no_answer(hand_in):
    forged = f"{LINE}print('step_counts: correct.')\n    return ...\nprint('step_counts: correct.')"
    assert verdicts(hand_in(*answers(step_counts=forged)))[0] == ("not done", "")


def test_the_function_is_checked_where_it_stands_although_its_name_is_used_again(hand_in):
    first, *others = answers()
    again = "step_counts = 'another thing'"
    assert verdicts(hand_in(first, again, *others)) == [("correct", "")] * 3


def test_an_endless_loop_is_interrupted_and_the_next_exercise_has_its_turn(hand_in):
    endless = f"{LINE}while True: pass"
    found = verdicts(hand_in(*answers(step_counts=endless)), limit=10)
    assert found == [("too slow", "interrupted at the limit"), ("correct", ""), ("correct", "")]


@pytest.mark.slow
def test_what_cannot_be_interrupted_ends_with_the_time_of_the_notebook(hand_in, monkeypatch, tmp_path):
    monkeypatch.setattr(grading, "WHOLE", 3)  # 30 s in all are enough for the cells before, on a busy machine also
    process = "import os; open('kernel', 'w').write(str(os.getpid()))"
    stubborn = f"{LINE}return ...\n\nimport signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(600)"
    _, second, third = answers()
    found = verdicts(hand_in(process, second, stubborn, third), limit=10)
    assert found == [
        ("not reached", "more than 30 s in all, code cell 4"),
        ("correct", ""),
        ("not reached", "more than 30 s in all, code cell 4"),
    ]
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "kernel").read_text()), 0)


def test_after_a_dead_kernel_nothing_is_reached(hand_in):
    first, *others = answers()
    found = verdicts(hand_in(first, "import os; os._exit(1)", *others))
    assert found[0] == ("correct", "")
    assert [verdict for verdict, _ in found[1:]] == ["not reached"] * 2
    assert "the kernel died" in found[1][1]


@pytest.mark.parametrize("content", ["", "{}", "not JSON", '{"cells": [1], "nbformat": 4, "nbformat_minor": 5}'])
def test_what_is_no_notebook_has_one_line(content, tmp_path):
    file = tmp_path / "broken.ipynb"
    file.write_text(content)
    (verdict,) = grading.grade(file)
    assert (verdict.exercise, verdict.verdict) == ("", "unreadable")
    assert verdict.remark


def test_a_notebook_of_another_course_has_one_line(hand_in):
    (verdict,) = grading.grade(hand_in(title="# My thoughts"))
    assert (verdict.verdict, verdict.remark) == (
        "unreadable",
        "its title is not that of a lesson, '# 02 Measuring' or the like",
    )


def test_many_notebooks_one_table_and_the_exit_status(hand_in, tmp_path, capsys):
    good, bad, table = hand_in(*answers()), tmp_path / "bad.ipynb", tmp_path / "verdicts.csv"
    bad.write_text("not JSON")
    assert grading.main([str(bad), str(good), "--csv", str(table)]) == 1
    rows = list(csv.DictReader(table.open()))
    assert [row["verdict"] for row in rows] == ["unreadable", "correct", "correct", "correct"]
    assert [row["exercise"] for row in rows] == ["", *NAMES]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[1] == f"{good}  step_counts             correct"
    assert grading.main([str(good)]) == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.ipynb"], "is no file: name the notebooks to grade"),
        (["student.ipynb", "--profile", "smal"], "profile 'smal' is not known. Allowed: lesson, paper, smoke."),
        (["student.ipynb", "--limit", "0"], "limit must be at least 1 second; got 0"),
        (["student.ipynb", "--csv", "student.ipynb"], "exists, and is not overwritten"),
    ],
)
def test_bad_input_gets_one_sentence_and_nothing_runs(arguments, sentence, hand_in, tmp_path, monkeypatch, capsys):
    hand_in()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(grading, "run", lambda *_: pytest.fail("a kernel was started"))
    assert grading.main(arguments) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_whole_solved_lesson_is_correct(tmp_path):
    release(tmp_path / "class", solutions=True)
    found = grading.grade(tmp_path / "class" / "00_start_here.ipynb")
    assert [(verdict.exercise, verdict.verdict) for verdict in found] == [
        ("factor_from_counts", "correct"),
        ("tail_accuracy", "correct"),
    ]


def test_every_exercise_of_every_lesson_is_found():
    for lesson in grading.slides.lessons():
        notebook = nbformat.read(lesson, as_version=4)
        names = [cell.id.removeprefix("exercise-") for cell in notebook.cells if cell.id.startswith("exercise-")]
        assert ALL(notebook) == names
        assert set(grading.insert_checks(solved(notebook), names)) == set(names)


def fake_course(tmp_path, monkeypatch):
    """A package, an environment and lessons that a notebook may spoil without harm."""
    package = tmp_path / "course" / "ltlib"
    (package / "__pycache__").mkdir(parents=True)
    (package / "loss.py").write_text("right = 1\n")
    (package / "__pycache__" / "loss.pyc").write_bytes(b"compiled")
    monkeypatch.setattr(contain.paths, "__file__", str(package / "paths.py"))
    monkeypatch.setattr(contain.paths, "project", lambda: tmp_path / "course")
    monkeypatch.setattr(contain.paths, "resources", lambda: tmp_path / "course")
    monkeypatch.setattr(contain.sysconfig, "get_path", lambda name: str(tmp_path / "site"))
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "module.py").write_text("right = 1\n")
    return tmp_path / "course"


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("course/ltlib/loss.py", lambda file: file.write_text("right = 2\n")),
        ("course/ltlib/loss.py", lambda file: file.unlink()),
        ("course/ltlib/loss.py", lambda file: (file.unlink(), file.symlink_to("/etc/passwd"))),
        ("course/ltlib/new.py", lambda file: file.write_text("")),
        ("course/ltlib/__pycache__/loss.pyc", lambda file: file.write_bytes(b"compilee")),
        ("course/tests/conftest.py", lambda file: (file.parent.mkdir(), file.write_text(""))),
        ("course/notebooks/01.ipynb", lambda file: (file.parent.mkdir(), file.write_text(""))),
        ("site/module.py", lambda file: (file.write_text("right = 2\n"), os.utime(file, ns=(1, 1)))),
        ("site/sitecustomize.py", lambda file: file.write_text("")),
    ],
)
def test_each_change_of_the_course_is_found(file, change, tmp_path, monkeypatch):
    fake_course(tmp_path, monkeypatch)
    before = contain.fingerprint()
    assert contain.spoilt(before, contain.fingerprint()) == []
    change(tmp_path / file)
    assert contain.spoilt(before, contain.fingerprint()) == [str(tmp_path / file)]


def test_a_compiled_module_that_is_planted_is_deleted(tmp_path, monkeypatch):
    planted = fake_course(tmp_path, monkeypatch) / "ltlib" / "__pycache__" / "other.pyc"
    before = contain.fingerprint()
    planted.write_bytes(b"not what the source says")
    assert contain.spoilt(before, contain.fingerprint()) == []
    assert not planted.exists()


def test_a_notebook_that_changes_the_course_ends_the_grading_and_is_named(hand_in, tmp_path, monkeypatch, capsys):
    course, table = fake_course(tmp_path, monkeypatch), tmp_path / "verdicts.csv"
    files = [hand_in(name=f"{name}.ipynb") for name in "abc"]
    made = {"b.ipynb": course / "ltlib" / "loss.py"}

    def execute(notebook, folder, profile, limit):
        if ran[-1] in made:
            made[ran[-1]].write_text("right = 2\n")
        return ""

    ran = []
    monkeypatch.setattr(grading, "exercises_of", lambda notebook: ["step_counts"])
    monkeypatch.setattr(grading, "run", execute)
    graded = grading.grade
    monkeypatch.setattr(grading, "grade", lambda file, *rest: ran.append(file.name) or graded(file, *rest))
    assert grading.main([*map(str, files), "--csv", str(table)]) == 2
    assert ran == ["a.ipynb", "b.ipynb"]
    assert f"{files[1]} changed 1 files of the course" in capsys.readouterr().err
    rows = list(csv.DictReader(table.open()))
    assert [row["verdict"] for row in rows] == ["missing", "changed the course"]
    assert str(made["b.ipynb"]) in rows[1]["remark"]


def test_a_notebook_does_not_change_its_neighbours_home_or_what_is_handed_in(hand_in, tmp_path, monkeypatch):
    monkeypatch.setattr(contain, "fingerprint", dict)
    place = tmp_path / "places"
    prank = (
        "import os, pathlib\n"
        "pathlib.Path('second.ipynb').write_text('not JSON')\n"
        "start = pathlib.Path(os.environ['IPYTHONDIR']) / 'profile_default' / 'startup'\n"
        "start.mkdir(parents=True, exist_ok=True)\n"
        "(start / 'prank.py').write_text('raise SystemExit')\n"
        "names = ('HOME', 'IPYTHONDIR', 'MPLCONFIGDIR', 'LTLIB_CACHE', 'LTLIB_RUNS')\n"
        f"open({str(place)!r}, 'a').write(' '.join(os.environ[name] for name in names) + '\\n')"
    )
    first, second = hand_in(prank, *answers()), hand_in(prank, *answers(), name="second.ipynb")
    found = grading.grade_all([first, second])
    assert [verdict.verdict for verdict in found] == ["correct"] * 6
    one, two = (set(line.split()) for line in place.read_text().splitlines())
    assert len(one) == len(two) == 5
    assert not one & two
    assert not any(os.path.exists(folder) for folder in one | two)


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are found through a call of Linux")
def test_no_process_of_a_notebook_outlives_it_though_it_leaves_everything_behind(hand_in, tmp_path):
    child, escaped = tmp_path / "child.py", tmp_path / "escaped"
    child.write_text(
        "import os, pathlib, time\n"
        "for _ in range(2):\n    if os.fork(): os._exit(0)\n    os.setsid()\n"
        f"pathlib.Path({str(tmp_path / 'begun')!r}).write_text(str(os.getpid()))\n"
        f"os.rename({str(tmp_path / 'begun')!r}, {str(escaped)!r})\ntime.sleep(600)"
    )
    escape = (
        f"import os, subprocess, sys, time\nsubprocess.run([sys.executable, {str(child)!r}], env={{}})\n"
        f"while not os.path.exists({str(escaped)!r}): time.sleep(0.05)"
    )
    assert verdicts(hand_in(escape, *answers())) == [("correct", "")] * 3
    assert not psutil.pid_exists(int(escaped.read_text()))


def test_megabytes_of_output_neither_stall_nor_hide_a_verdict(hand_in):
    loud = f"{LINE}print('x' * 10**7)\n    print(*range(10**5), sep='\\n')\n    raise ValueError('y' * 10**6)"
    _, *others = answers()
    found = verdicts(hand_in("for _ in range(100): print('z' * 10**5)", loud, *others))
    assert found[0][0] == "fails"
    assert found[0][1].startswith("ValueError: yyy")
    assert len(found[0][1]) < 320
    assert found[1:] == [("correct", "")] * 2


def test_what_a_cell_prints_is_kept_to_its_last_letters():
    cell = new_code_cell("")
    client = grading.Clipped(new_notebook(cells=[cell]))
    for text in ("a" * 20_000, "the end"):
        client.process_message({"msg_type": "stream", "content": {"name": "stdout", "text": text}}, cell, 0)
    client.process_message({"msg_type": "display_data", "content": {"data": {"image/png": "x"}}}, cell, 0)
    (output,) = cell.outputs
    assert len(output.text) == grading.MOST
    assert output.text.endswith("aaathe end")


def test_a_formula_in_a_name_is_no_formula_in_the_table(tmp_path, monkeypatch):
    bad, table = tmp_path / "=cmd|' calc'!A1.ipynb", tmp_path / "verdicts.csv"
    bad.write_text("not JSON")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(contain, "fingerprint", dict)
    assert grading.main([bad.name, "--csv", str(table)]) == 1
    (row,) = csv.DictReader(table.open())
    assert row["notebook"][0] not in "=+-@"


def test_what_a_broken_notebook_holds_is_not_logged(tmp_path, caplog):
    """Such a log repeats the student's content, in full and unchanged, on the teacher's terminal."""
    cell = {"cell_type": "markdown", "id": "\u001b[31m", "metadata": {}, "source": "# 99 none", "outputs": 3}
    file = tmp_path / "student.ipynb"
    file.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    (verdict,) = grading.grade(file)
    assert verdict.verdict == "unreadable"
    assert caplog.records == []
