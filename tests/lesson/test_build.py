"""Building a lesson: exercises are filled in, cells run in the lesson profile, nothing of this machine is left."""

import base64
import io
import shutil

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from ltlib import paths
from ltlib.errors import InputError
from ltlib.lesson import build, figures
from ltlib.lesson.exercises import EXERCISES


def test_a_lesson_is_built_from_end_to_end(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LTLIB_FRAMES", str(tmp_path / "frames"))
    exercise, solution = new_code_cell("old"), new_markdown_cell("old")
    exercise.id, solution.id = "exercise-step_counts", "solution-step_counts"
    code = (
        "import os\nfrom ltlib import paths\nfrom ltlib.lesson import widgets, figures\n"
        "print(os.environ['LTLIB_PROFILE'], paths.project() / 'data', paths.runs_root() / 'x', flush=True)\n"
        "print('second')\n"
        "shares = figures.long_tailed_data.class_shares\n"
        "widgets.explore(lambda n: shares({'a': [n, 1]}, f'picture {n}'), n=([0.1, 0.2], 0.1))"
    )
    file = tmp_path / "lesson.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(code), exercise, solution]), file)

    build.main([str(file)])

    built = nbformat.read(file, as_version=4)
    nbformat.validate(built)
    first, hole, answer = built.cells
    assert hole.source == EXERCISES["step_counts"].hole()
    assert answer.source == EXERCISES["step_counts"].answer()
    text, figure = first.outputs
    assert text.text == "lesson data runs/x\nsecond\n"
    assert set(figure.data) == {"image/png", "text/plain"}
    assert figure.data["text/plain"].startswith("picture 0.1.")
    assert [file.stem for file in (tmp_path / "frames").iterdir()] == [figure.metadata["frames"]]
    assert [cell.execution_count for cell in built.cells[:2]] == [1, 2]
    assert set(built.metadata) == {"kernelspec", "language_info"}
    assert "lesson.ipynb: " in capsys.readouterr().out


def test_without_a_run_only_exercises_and_slides_change(tmp_path, monkeypatch):
    text = new_markdown_cell("said\n\n## Shown", id="text")
    output = new_output("stream", name="stdout", text="kept\n")
    code = new_code_cell("print('kept')", id="code", outputs=[output], execution_count=7)
    exercise = new_code_cell("old", id="exercise-step_counts", metadata={"tags": ["exercise"]})
    file = tmp_path / "lesson.ipynb"
    metadata = {"kernelspec": {"name": "mine", "display_name": "mine"}}
    nbformat.write(new_notebook(cells=[text, code, exercise], metadata=metadata), file)
    monkeypatch.setattr(build, "execute", lambda *_: pytest.fail("executed"))

    build.main([str(file)], run=False)

    built = nbformat.read(file, as_version=4)
    assert [cell.id for cell in built.cells] == ["text", "text-1", "code", "exercise-step_counts"]
    assert built.cells[2].outputs == [output]
    assert built.cells[2].execution_count == 7
    assert built.cells[3].source == EXERCISES["step_counts"].hole()
    assert built.cells[3].metadata == {"tags": ["exercise"], "slideshow": {"slide_type": "skip"}}
    assert built.metadata == metadata


def test_cleaning_keeps_tags_only_and_replaces_texts_everywhere():
    cell = new_code_cell("x", metadata={"tags": ["train"], "execution": {"started": "now"}})
    html = {"text/html": "<b>/secret/place/x</b>", "text/plain": "/secret/place/x"}
    cell.outputs = [new_output("display_data", html), new_output("stream", name="stdout", text="in /secret/place\n")]
    notebook = new_notebook(cells=[cell], metadata={"widgets": {}, "papermill": {}})
    build.clean(notebook, {"/secret/place/": "", "/secret/place": "."})
    assert cell.metadata == {"tags": ["train"]}
    assert cell.outputs[0].data == {"text/html": "<b>x</b>", "text/plain": "x"}
    assert cell.outputs[1].text == "in .\n"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_smaller_pictures_look_the_same():
    noise = np.random.default_rng(0).integers(100, 160, (8, 3, 16, 16), dtype=np.uint8)
    full = figures.image_rows({"a": noise, "b": noise[:3]}, "noise").png()
    small = base64.b64decode(build.smaller(base64.b64encode(full).decode()))
    assert len(small) < len(full) / 2
    before, after = (np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=int) for png in (full, small))
    assert np.abs(after - before).mean() < 3
    assert np.abs(after - before).max() < 64


def test_smaller_pictures_keep_the_colours_of_small_marks():
    """Each of ten methods has one small mark per seed, and white stays white."""
    methods = ["cross-entropy", "Balanced Softmax", "MiSLAS", "AT", "AT-BSL", "ALP", "TRADES", "LBGAT0", "BGAT", "cRT"]
    points = {name: [(0.1 * i, 0.05 * i), (0.1 * i, 0.05 * i + 0.3)] for i, name in enumerate(methods)}
    full = figures.two_measures(points, "seeds", ("clean", "robust"), ("clean", "robust")).png()
    small = base64.b64decode(build.smaller(base64.b64encode(full).decode()))
    before, after = (np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=int) for png in (full, small))
    assert np.abs(after - before).max() < 32  # orange and green of the palette are 100 apart in one channel
    assert (after[(before == 255).all(axis=2)] == 255).all()
    assert len(small) < len(full) / 2


def test_a_cell_that_fails_leaves_the_file_as_it_was(tmp_path):
    file = tmp_path / "lesson.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0")]), file)
    before = file.read_bytes()
    with pytest.raises(Exception, match="ZeroDivisionError"):
        build.main([str(file)])
    assert file.read_bytes() == before


def test_by_default_the_lessons_are_built_and_the_template_is_not(monkeypatch, tmp_path):
    (tmp_path / "notebooks").mkdir()
    for name in ("00_a.ipynb", "full_run.ipynb"):
        nbformat.write(
            new_notebook(cells=[new_markdown_cell("# 00 A"), new_code_cell()]), tmp_path / "notebooks" / name
        )
    shutil.copy(paths.project() / "pyproject.toml", tmp_path)
    built = []
    monkeypatch.setattr(paths, "project", lambda: tmp_path)
    monkeypatch.setattr(build, "execute", lambda notebook, folder, runs: built.append(folder))
    build.main([])
    assert built == [tmp_path / "notebooks"]
    lesson, template = (nbformat.read(tmp_path / "notebooks" / name, 4) for name in ("00_a.ipynb", "full_run.ipynb"))
    assert [cell.id for cell in lesson.cells[:2]] == [lesson.cells[0].id, "install"]
    assert lesson.cells[1].metadata.jupyter == {"source_hidden": True}
    assert "install" not in [cell.id for cell in template.cells]


def test_a_cell_without_its_exercise_is_named():
    notebook = new_notebook(cells=[new_code_cell("", id="exercise-nowhere")])
    with pytest.raises(InputError, match="The cell exercise-nowhere needs an exercise called 'nowhere'"):
        build.write_exercises(notebook)
