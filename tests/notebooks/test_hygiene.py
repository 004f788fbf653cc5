"""What every notebook in the repository must look like. `python -m ltlib.lesson.build` makes lessons that do."""

import ast
import json
import math
import re
import textwrap
from pathlib import Path

import nbformat
import papermill
import pytest

from ltlib import paths
from ltlib.lesson import colab, slides
from ltlib.lesson.exercises import EXERCISES

FOLDER = paths.project() / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LESSONS = [file for file in NOTEBOOKS if re.match(r"\d\d_", file.name)]
PROFILE = 'profile: str = os.environ.get("LTLIB_PROFILE", "lesson")'

UP_TO_DATE = "run python -m ltlib.lesson.build --no-run"
MOST_BYTES = 400_000
MOST_LINES = 20  # of code in a cell, without blank ones

every_notebook = pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
every_lesson = pytest.mark.parametrize("file", LESSONS, ids=lambda file: file.stem)


def read(file: Path) -> nbformat.NotebookNode:
    return nbformat.read(file, as_version=4)


def code_cells(file: Path) -> list:
    return [cell for cell in read(file).cells if cell.cell_type == "code"]


def own_cells(file: Path) -> list:
    """The code cells after the one that installs the wheel, which only a lesson has."""
    return [cell for cell in code_cells(file) if colab.TAG not in cell.metadata.get("tags", [])]


def after_the_opening(file: Path) -> list:
    """The code cells after the figures that lesson 00 opens with, which take no parameter."""
    return [cell for cell in own_cells(file) if "opening" not in cell.metadata.get("tags", [])]


def outputs(file: Path) -> list:
    return [output for cell in code_cells(file) for output in cell.outputs]


def shown_source(file: Path) -> list[tuple[str, str]]:
    """(link, code) of what ``show_source`` printed."""
    texts = [output.get("data", {}).get("text/plain", "") for output in outputs(file)]
    block = re.compile(r"^# (\.\./ltlib/\S+)\n(.*?)(?=\n\n# \.\./ltlib/|\Z)", re.DOTALL | re.MULTILINE)
    return [found.groups() for text in texts for found in block.finditer(text)]


def markdown(file: Path) -> str:
    return "\n\n".join(cell.source for cell in read(file).cells if cell.cell_type == "markdown")


@every_notebook
def test_it_is_a_valid_notebook_with_plain_metadata(file):
    notebook = read(file)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}  # no widget state, no papermill
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.language_info == {"name": "python"}
    for cell in notebook.cells:
        folded = {"jupyter"} if colab.TAG in cell.metadata.get("tags", []) else set()
        assert set(cell.metadata) <= {"tags", "slideshow"} | folded, cell.metadata
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


@every_notebook
def test_it_is_small(file):
    assert file.stat().st_size < MOST_BYTES


@every_notebook
def test_cells_are_short(file):
    for cell in code_cells(file):
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert len(lines) <= MOST_LINES, cell.source


@every_lesson
def test_the_first_code_cell_installs_the_wheel_where_there_is_no_ltlib(file):
    assert colab.TAG in code_cells(file)[0].metadata.tags
    stored = json.loads(file.read_text())
    assert colab.prepare(stored, file.name, *colab.addresses()) == stored, UP_TO_DATE


@every_notebook
def test_parameters_come_first_and_are_typed_and_explained(file):
    first, *others = after_the_opening(file)
    assert first.metadata.get("tags") == ["parameters"]
    assert not any("parameters" in cell.metadata.get("tags", []) for cell in others)
    body = ast.parse(first.source).body
    assert all(isinstance(node, ast.Import | ast.AnnAssign) for node in body)
    assert PROFILE in first.source
    for node in body:
        if isinstance(node, ast.AnnAssign):
            line = first.source.splitlines()[node.lineno - 1]
            assert ast.unparse(node.annotation) in ("str", "int", "float", "bool"), line
            assert re.search(r"  # [^'\"|]+$", line), f"a help comment without quotes and bars: {line}"
    names = [node.target.id for node in body if isinstance(node, ast.AnnAssign)]
    seen_by_papermill = papermill.inspect_notebook(str(file))
    assert list(seen_by_papermill) == names
    assert all(parameter["help"] for parameter in seen_by_papermill.values())


@every_notebook
def test_setup_comes_second_and_receives_every_parameter(file):
    first, second, *_ = after_the_opening(file)
    assert second.metadata.get("tags") == ["setup"]
    names = [node.target.id for node in ast.parse(first.source).body if isinstance(node, ast.AnnAssign)]
    (call,) = (node for node in ast.walk(ast.parse(second.source)) if isinstance(node, ast.Call))
    assert ast.unparse(call.func) == "notebook.setup"
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    assert {name: given.get(name) for name in names} == {name: name for name in names}


@every_notebook
def test_cells_ran_in_order(file):
    counts = [cell.execution_count for cell in own_cells(file)]
    # The cell that installs the wheel is written into a lesson without a run, and counted by the next run.
    start = 1 if code_cells(file)[0].execution_count in (None, counts[0]) else 2
    assert counts == list(range(start, len(counts) + start))


@every_notebook
def test_nothing_failed_or_complained(file):
    for output in outputs(file):
        assert output.output_type != "error", output
        assert output.get("name") != "stderr", output


@every_notebook
def test_every_image_has_a_text(file):
    for output in outputs(file):
        data = output.get("data", {})
        if any(kind.startswith("image/") for kind in data):
            assert re.match(r"[^<\s].{20,}", data.get("text/plain", "")), data.get("text/plain")
    assert not re.search(r"!\[\s*\]\(", markdown(file))
    assert not re.search(r'<img(?![^>]*\balt="[^"]+")', markdown(file))


@every_notebook
def test_nothing_of_one_machine_or_session_is_stored(file):
    texts = [cell.source for cell in read(file).cells]
    for output in outputs(file):
        data = output.get("data", {})
        assert not any("widget" in kind for kind in data), "a live view without its kernel"
        texts += [str(text) for kind, text in data.items() if kind.startswith("text/")] + [output.get("text", "")]
    whole = "\n".join(texts)
    assert str(paths.project()) not in whole
    assert not re.search(r"(?<![\w./])(/(home|root|Users|tmp|var|opt|mnt|work|private)/\w|[A-Z]:\\\w)", whole)


@every_notebook
def test_links_lead_somewhere(file):
    for target in re.findall(r"\]\(([^)\s]+)\)", markdown(file)):
        if not target.startswith(("https://", "#", "attachment:")):
            assert (file.parent / target.partition("#")[0]).exists(), target


@every_lesson
def test_source_that_is_shown_is_that_of_the_package_at_the_lines_of_its_link(file):
    found = shown_source(file)
    assert bool(found) == any("show_source(" in cell.source for cell in code_cells(file))
    for link, shown in found:
        path, first, last = re.fullmatch(r"\.\./(\S+)#L(\d+)-L(\d+)", link).groups()
        lines = (paths.project() / path).read_text().splitlines()[int(first) - 1 : int(last)]
        same = textwrap.dedent("\n".join(lines)) == shown
        assert same, f"{file.name} shows {link} as it was: execute that cell again and store its output."


def frames(output) -> dict:
    """The pictures of a control, which the web book shows, as they are stored for this output; empty if it has none."""
    name = output.get("metadata", {}).get("frames")
    return json.loads((paths.project() / "docs" / "frames" / f"{name}.json").read_text()) if name else {}


@every_lesson
def test_every_control_has_its_pictures_for_the_web_book(file):
    """One for every choice that the code of the cell offers; named after what they show."""
    for cell in code_cells(file):
        for output in cell.outputs:
            if stored := frames(output):
                assert stored["alt"] == output.data["text/plain"]
                assert len(stored["frames"]) == math.prod(map(len, stored["controls"].values()))
                assert all(name in cell.source for name in stored["controls"])


def test_no_pictures_are_left_of_a_control_that_is_gone():
    used = {output.get("metadata", {}).get("frames") for file in LESSONS for output in outputs(file)} - {None}
    assert {file.stem for file in (paths.project() / "docs" / "frames").glob("*.json")} == used


@every_lesson
def test_the_headings_are_those_of_a_lesson(file):
    first, second, *_, last = (cell.source for cell in read(file).cells if cell.cell_type == "markdown")
    assert re.match(rf"# {file.name[:2]} \w.*\n\n\S.*", first), "title and promise"
    assert second.startswith("## Goals\n")
    assert "**Prerequisites:**" in second
    assert "**Time and hardware:**" in second
    assert 3 <= second.count("\n- **") <= 6, "three to six goals that begin with a verb"
    headings = re.findall(r"^## (.+)$", markdown(file), flags=re.MULTILINE)
    assert headings[-2:] == ["Takeaways", "References"]
    assert last.startswith("## References\n")


@every_lesson
def test_sections_are_numbered(file):
    headings = re.findall(r"^## (.+)$", markdown(file), flags=re.MULTILINE)
    numbers = [re.match(r"(\d+)\. \w", h) for h in headings if h not in ("Goals", "Takeaways", "References")]
    assert [number and int(number[1]) for number in numbers] == list(range(1, len(numbers) + 1))


@every_lesson
def test_there_is_a_bug_to_find_and_an_open_task(file):
    names = [cell.id.removeprefix("exercise-") for cell in read(file).cells if cell.id.startswith("exercise-")]
    assert sum(EXERCISES[name].faulty is not None for name in names) == 1
    assert len(re.findall(r"^\*\*(?:\d+\. )?Open task\.\*\* \w", markdown(file), flags=re.MULTILINE)) == 1


def test_photographs_are_in_five_lessons_and_there_are_eight_drawings():
    code = {file.stem: "\n".join(cell.source for cell in code_cells(file)) for file in LESSONS}
    with_photographs = [name for name, text in code.items() if "excerpt()" in text]
    drawn = set(re.findall(r"^drawings\.(\w+)\(\)", "\n".join(code.values()), flags=re.MULTILINE))
    assert len(with_photographs) >= 5, with_photographs
    assert len(drawn) >= 8, drawn


@every_lesson
def test_exercises_are_cut_from_their_source(file):
    cells = read(file).cells
    for i, cell in enumerate(cells):
        kind, _, name = cell.id.partition("-")
        if kind == "exercise":
            assert cell.source == EXERCISES[name].hole(), UP_TO_DATE
            assert cell.metadata.tags == ["exercise"]
            assert cells[i + 1].id == f"solution-{name}"
        if kind == "solution":
            assert cell.source == EXERCISES[name].answer(), UP_TO_DATE
            assert cell.metadata.tags == ["solution"]


@every_lesson
def test_slides_are_marked_by_their_rule(file):
    notebook = read(file)
    slides.prepare(notebook)
    assert notebook == read(file), UP_TO_DATE


def test_every_exercise_stands_in_one_lesson():
    ids = [cell.id for file in LESSONS for cell in read(file).cells]
    assert sorted(i.removeprefix("exercise-") for i in ids if i.startswith("exercise-")) == sorted(EXERCISES)
    checks = re.findall(r"check\.(\w+)\(", "\n".join(cell.source for file in LESSONS for cell in code_cells(file)))
    assert sorted(checks) == sorted(EXERCISES)


@every_lesson
def test_stored_json_is_what_nbformat_writes(file):
    """So that building again changes only what is different."""
    assert file.read_text() == nbformat.writes(read(file)) + "\n"
    assert json.loads(file.read_text())["nbformat"] == 4
