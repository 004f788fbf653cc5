"""Slides: the rule by example, and what nbconvert makes of it."""

import base64
import io
import re

import nbformat
import pytest
from nbconvert import SlidesExporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from ltlib.lesson import slides

PRINTED = [new_output("stream", name="stdout", text="one\ntwo\n")]
PROGRESS = [new_output("display_data", {"text/plain": "████  mislas  epoch 10/10"})]


def picture(height):
    buffer = io.BytesIO()
    Image.new("L", (700, height)).save(buffer, "png")
    data = {"image/png": base64.b64encode(buffer.getvalue()).decode(), "text/plain": "a picture"}
    return [new_output("display_data", data)]


def code(outputs, source="x", tags=()):
    return new_code_cell(source, outputs=outputs, metadata={"tags": list(tags)})


def types(*cells):
    return list(slides.slide_types([new_markdown_cell(cell) if isinstance(cell, str) else cell for cell in cells]))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("# 01 Title\n\nA promise.", "slide"),
        ("## A section\n\nText.", "slide"),
        ("### A part", "subslide"),
        ("The loss is\n\n$$L = 0$$", "subslide"),
        ("Compare:\n\n| a | b |\n| --- | --- |", "subslide"),
        ("What the figure says, with $x$ and a # in it.", "notes"),
    ],
)
def test_headings_tables_and_formulas_are_shown_and_the_rest_is_said(text, kind):
    assert types(text) == [kind]


def test_the_task_of_an_exercise_is_shown_and_the_cells_around_it_are_not():
    exercise = code(PRINTED, tags=["exercise"])
    solution = new_markdown_cell("## <details>", metadata={"tags": ["solution"]})
    assert types("Write it.", exercise, solution, "Said.") == ["subslide", "skip", "skip", "notes"]


@pytest.mark.parametrize("tag", ["parameters", "setup", "train", "exercise"])
def test_working_cells_are_left_out(tag):
    assert types(code(picture(100), tags=[tag])) == ["skip"]


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        (code([]), "skip"),
        (code(PROGRESS), "skip"),
        (code(PRINTED, "notebook.show_source(f)"), "skip"),
        (code([new_output("stream", name="stdout", text="a line\n" * 40)]), "skip"),
        (code([new_output("display_data", {"text/html": "<table>", "text/plain": "a line\n" * 40})]), "subslide"),
        (code(picture(600) + picture(600)), "subslide"),
    ],
)
def test_code_is_shown_for_what_it_shows(cell, kind):
    assert types("## Full\n\n" + "text\n" * 25, cell) == ["slide", kind]


def test_outputs_share_a_slide_as_long_as_they_fit():
    figure = code(picture(400))  # 2 + 400 / 28 = 16.3 lines of 26
    assert types("## Short", figure, code(PRINTED), figure) == ["slide", "", "", "subslide"]
    assert types("## Long\n\n" + "text\n" * 10, figure) == ["slide", "subslide"]
    assert types("## Short", "said", figure) == ["slide", "notes", ""]


def test_text_is_cut_where_a_heading_begins_and_nothing_is_lost():
    text = "said\n\n## One\n\n```\n# a comment\n```\n\n### Two\n\nmore ## here"
    notebook = new_notebook(cells=[new_markdown_cell(text, id="a"), code([], "## no heading")])
    slides.prepare(notebook)
    assert [cell.id for cell in notebook.cells[:-1]] == ["a", "a-1", "a-2"]
    assert "\n\n".join(cell.source for cell in notebook.cells[:-1]) == text
    assert notebook.cells[-1].source == "## no heading"
    once = nbformat.from_dict(notebook)
    slides.prepare(notebook)
    assert notebook == once


@pytest.mark.parametrize("file", slides.lessons(), ids=lambda file: file.stem)
def test_a_deck_has_a_slide_for_every_section_no_empty_one_and_no_solution(file):
    notebook = nbformat.read(file, as_version=4)
    exporter = SlidesExporter(exclude_input=True)
    html, _ = exporter.from_notebook_node(notebook)
    sections = re.findall(r"<section[^>]*>(?:(?!<section|</section>).)*</section>", html, flags=re.DOTALL)
    shown = [re.sub(r'<aside class="notes">.*?</aside>', "", section, flags=re.DOTALL) for section in sections]
    headings = [re.sub("<[^>]+>", "", title) for title in re.findall(r"<h2[^>]*>(.*?)<a", html, flags=re.DOTALL)]
    expected = re.findall(r"^## (.+)$", "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown"), re.M)
    assert len(headings) == len(expected)
    for section in shown:
        assert "<img" in section or re.sub("<[^>]+>", "", section).strip()
    assert "<summary>Solution" not in html
    assert not re.search(r"def \w+\(", re.sub("<[^>]+>", "", "".join(shown)))
