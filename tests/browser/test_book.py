"""A visitor's view of the web book, opened from a disk without a server: search, formulas, links, glossary, evidence.

Needs Chromium from the system's packages and the Python package playwright; skipped with a reason without them.
"""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ltlib import paths
from ltlib.lesson import figures, widgets
from tests.waiting import width

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

playwright = pytest.importorskip("playwright.sync_api", reason="the browser test needs: pip install playwright")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="the browser test needs chromium on the PATH"),
]

LARGEST_PAGE = 2 * 2**20
LARGEST_DATA = 3 * 2**20


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    """The finished pages. Sphinx treats a warning as an error."""
    to = tmp_path_factory.mktemp("book") / "html"
    done = subprocess.run(
        [sys.executable, paths.project() / "docs" / "build.py", "--to", to], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return to


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture
def page(browser, book):
    """Open a page of the book; an error in a script fails the test."""
    errors = []
    opened = browser.new_page(viewport={"width": 1366, "height": 900})
    opened.set_default_timeout(120_000)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    # Nothing may be fetched from a network.
    opened.on("request", lambda r: errors.append(r.url) if not r.url.startswith(("file:", "data:")) else None)

    def go(name: str):
        opened.goto(f"{book.as_uri()}/{name}")
        return opened

    yield go
    opened.close()
    assert errors == []


def point_at(opened, term) -> dict[str, float]:
    """Where the definition of a term appears. Scrolling hides it, also scrolling that ends late."""
    for _ in range(100):
        opened.mouse.move(0, 0)
        term.scroll_into_view_if_needed()
        opened.wait_for_timeout(500)
        term.hover()
        if box := opened.locator(".term-definition").bounding_box():
            return box
    raise AssertionError("the definition did not appear")


def test_every_page_is_light_and_every_link_inside_leads_somewhere(book):
    heavy = [f.name for f in book.rglob("*.html") if f.stat().st_size > LARGEST_PAGE]
    assert heavy == []
    broken = []
    for file in book.rglob("*.html"):
        for target in re.findall(r'<a [^>]*href="([^"#?]+)', file.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:", target) and not (file.parent / target).exists():
                broken.append(f"{file.relative_to(book)}: {target}")
    assert broken == []


def test_search_finds_a_lesson(page):
    opened = page("search.html?q=label-aware+smoothing")
    result = opened.locator("#search-results a", has_text="MiSLAS").first
    result.click()
    opened.wait_for_url(lambda address: "search.html" not in address)
    assert "label-aware" in opened.locator("article").inner_text().lower()


def test_a_formula_is_typeset_from_the_disk(page):
    opened = page("notebooks/03_mislas.html")
    formula = opened.locator("mjx-container").first
    formula.wait_for()
    assert formula.bounding_box()["width"] > 5
    assert width(opened.locator("article img").first) > 100


def test_previous_and_next_lead_through_the_lessons(page):
    opened = page("notebooks/02_measuring.html")
    opened.locator("a.right-next").first.click()
    opened.wait_for_url("**/notebooks/03_mislas.html")


def test_a_term_of_the_glossary_shows_its_definition(page):
    opened = page("notebooks/03_mislas.html")
    term = opened.locator("a.term", has_text=re.compile("^ECE$")).first
    definition = opened.locator(".term-definition")
    assert not definition.is_visible()
    for term_shown in (term, opened.locator("a.term").last):
        box = point_at(opened, term_shown)
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 1366
        assert 0 <= box["y"] <= box["y"] + box["height"] <= 900
    point_at(opened, term)
    assert "confidence" in definition.inner_text()
    opened.mouse.move(0, 0)
    definition.wait_for(state="hidden")
    assert opened.evaluate("document.documentElement.scrollWidth") <= 1366
    term.click()
    opened.wait_for_url("**/glossary.html#*")
    assert page("notebooks/03_mislas.html").locator("a.term", has_text=re.compile("^If$")).count() == 0


def test_a_slider_moves_without_a_kernel(page, book, tmp_path, monkeypatch):
    """A small lesson with a slider and a menu, through the same steps as every lesson of the book."""
    frames = tmp_path / "frames"
    monkeypatch.setenv("LTLIB_FRAMES", str(frames))
    shares = figures.long_tailed_data.class_shares
    explorer = widgets.explore(
        lambda n, kind: shares({kind: [n, 1]}, f"picture {n} {kind}"), n=([5, 10, 20], 10), kind=(["a", "b"], "b")
    )
    _, metadata = explorer._repr_mimebundle_()
    sys.path.insert(0, str(paths.project() / "docs"))
    build = importlib.import_module("build")
    monkeypatch.setattr(build, "DOCS", tmp_path)
    html = build.slider(metadata["frames"], tmp_path)
    shutil.copytree(tmp_path / "_static", book / "_static", dirs_exist_ok=True)
    (book / "notebooks" / "made_up.html").write_text(
        f'<html><meta charset="utf-8"><script src="../_static/sliders.js"></script><body>{html}</body></html>',
        encoding="utf-8",
    )
    stored = json.loads((frames / f"{metadata['frames']}.json").read_text(encoding="utf-8"))["frames"]
    opened = page("notebooks/made_up.html")
    image, slider = opened.locator("div.frames img"), opened.get_by_label("n", exact=True)

    def shows() -> int:
        return stored.index(image.get_attribute("src").removeprefix("data:image/png;base64,"))

    assert shows() == 3, "the start is n=10, kind=b"
    slider.focus()
    opened.keyboard.press("ArrowRight")
    assert shows() == 5
    assert opened.locator("div.frames output").first.inner_text() == "20"
    opened.get_by_label("kind").select_option("a")
    assert shows() == 4
    assert width(image) > 100


def test_every_slider_of_the_lessons_moves(page, book):
    lessons = [
        file.stem
        for file in sorted((paths.project() / "notebooks").glob("[0-9][0-9]_*.ipynb"))
        if '"frames": "' in file.read_text(encoding="utf-8")
    ]
    if not lessons:
        pytest.skip("no lesson has been built with frames yet")
    for lesson in lessons:
        boxes = page(f"notebooks/{lesson}.html").locator("div.frames")
        assert boxes.count() > 0
        for box in boxes.all():
            before = box.locator("img").get_attribute("src")
            control = box.locator("input, select").first
            control.focus()
            last = "c => c.tagName === 'SELECT' ? c.selectedIndex === c.options.length - 1 : c.value === c.max"
            control.press("ArrowLeft" if control.evaluate(last) else "ArrowRight")
            assert box.locator("img").get_attribute("src") != before


def test_the_evidence_explorer_filters_opens_and_keeps_an_address(page, book):
    assert (book / "_static" / "evidence-data.js").stat().st_size < LARGEST_DATA
    opened = page("evidence.html#study=ladder_glyphs")
    assert opened.locator("h1").inner_text().startswith("Evidence")
    rows = opened.locator(".evidence-table tbody tr")
    rows.first.wait_for()
    opened.get_by_label("metric").select_option("ECE")
    search = opened.get_by_label("search in all columns")
    search.fill("MiSLAS")
    assert 0 < rows.count() < 10
    first = rows.first.locator("button")
    first.focus()
    opened.keyboard.press("Enter")
    detail = opened.locator(".evidence-detail").first
    assert "python -m ltlib train --method mislas" in detail.inner_text()
    assert detail.locator("rect.bar").count() == 10
    assert detail.locator("circle.point").count() > 3
    address = opened.url
    again = page("index.html")
    again.goto(address)
    assert again.locator(".evidence-detail").count() == 1


def test_every_number_of_the_explorer_is_that_of_the_stored_files(book):
    text = (book / "_static" / "evidence-data.js").read_text(encoding="utf-8")
    data = json.loads(text.removeprefix("window.EVIDENCE = ").rstrip(";\n"))
    stored = {}
    for file in (paths.project() / "data" / "reference_runs").glob("*/*.json"):
        stored[f"{file.parent.name}/{file.stem}"] = json.loads(file.read_text(encoding="utf-8"))
    assert {run for row in data["own"] for run in row["runs"]} <= set(stored)
    keys = {"accuracy": "accuracy", "ECE": "ece", "NLL": "nll", "worst class": "worst_class_accuracy"}
    compared = 0
    for row in data["own"]:
        metric, _, group = row["metric"].partition(" ")
        for run, value in zip(row["runs"], row["values"], strict=True):
            card = stored[run]["metrics"]
            if row["metric"] in keys:
                expected = card[keys[row["metric"]]]
            elif metric in keys and group:
                rule = "papers" if "papers" in card["groups"] else "threshold"
                expected = card["groups"][rule][group][keys[metric]]
            else:
                continue
            assert value == expected, (row["id"], run)
            compared += 1
        assert row["mean"] == pytest.approx(sum(row["values"]) / len(row["values"]))
    assert compared > 1500
    for run, facts in data["runs"].items():
        n, accuracy = zip(*((n, a) for n, _, a in facts["bins"]), strict=True)
        total = sum(a * b for a, b in zip(n, accuracy, strict=True)) / sum(n)
        assert total == pytest.approx(stored[run]["metrics"]["accuracy"], abs=1e-4), run
    identities = [row["id"] for row in data["own"] + data["published"]]
    assert len(set(identities)) == len(identities)
