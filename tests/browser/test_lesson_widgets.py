"""A reader's view: JupyterLab in a real browser opens a lesson, runs it, and its controls move its figures.

Needs Chromium from the system's packages and the Python package playwright; skipped with a reason without them.
"""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest

from ltlib import paths
from tests.waiting import PATIENCE, free_port, wait_until, width

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

playwright = pytest.importorskip("playwright.sync_api", reason="the browser test needs: pip install playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="the browser test needs chromium on the PATH")


@pytest.fixture
def lab(tmp_path):
    """A JupyterLab of its own on copies of the lessons; yields what gives the address of a lesson."""
    work = tmp_path / "work"
    (work / "notebooks").mkdir(parents=True)
    for file in (paths.project() / "notebooks").glob("[0-9][0-9]_*.ipynb"):
        # Without the stored counts and outputs, what the page shows later was made in it.
        lesson = nbformat.read(file, as_version=4)
        for cell in lesson.cells:
            if cell.cell_type == "code":
                cell.execution_count, cell.outputs = None, []
        nbformat.write(lesson, work / "notebooks" / file.name)
    port = free_port()
    token = secrets.token_hex(16)
    options = ["--no-browser", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    options += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={work}"]
    options += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    log = tmp_path / "lab.log"
    with open(log, "w") as out:
        command = [sys.executable, "-m", "jupyter", "lab", *options]
        server = subprocess.Popen(command, env=environment(tmp_path), stdout=out, stderr=subprocess.STDOUT)
        try:
            wait_for_server(f"http://127.0.0.1:{port}/api/status?token={token}", server, log)
            yield lambda lesson: f"http://127.0.0.1:{port}/lab/tree/notebooks/{lesson}?reset&token={token}"
        finally:
            server.terminate()
            try:
                server.wait(timeout=20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def environment(tmp_path: Path) -> dict[str, str]:
    """Folders of the test's own, so that neither the user's settings nor runs play a part."""
    settings = tmp_path / "settings" / "@jupyterlab"
    for name, values in {
        # The news dialog would cover the page; with windowing, far cells are not in the page.
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "notebook-extension/tracker": {"windowingMode": "none"},
    }.items():
        file = settings / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    own = {
        "JUPYTERLAB_SETTINGS_DIR": tmp_path / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": tmp_path / "workspaces",
        "JUPYTER_CONFIG_DIR": tmp_path / "config",
        "JUPYTER_DATA_DIR": tmp_path / "jupyter",
        "LTLIB_DATA": tmp_path / "data",
        "LTLIB_CACHE": tmp_path / "cache",
        "LTLIB_RUNS": tmp_path / "runs",
    }
    return os.environ | {name: str(folder) for name, folder in own.items()} | {"LTLIB_PROFILE": "smoke"}


def wait_for_server(address: str, server: subprocess.Popen, log: Path) -> None:
    def answers() -> bool:
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(address, timeout=PATIENCE).close()
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False
        return True

    wait_until(answers)


@pytest.fixture
def page(tmp_path):
    """A page in a headless Chromium. What goes wrong inside it is collected in ``page.failures``, and a
    screenshot is taken at the end, however the test ends."""
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.set_default_timeout(1000 * PATIENCE)
        playwright.expect.set_options(timeout=1000 * PATIENCE)
        page.failures = []
        page.on("pageerror", lambda error: page.failures.append(str(error)))
        yield page
        page.screenshot(path=tmp_path / "lesson.png")
        print(f"screenshot: {tmp_path / 'lesson.png'}")
        browser.close()


def run_all(page) -> None:
    """Run > Run All Cells, and wait until every prompt shows a count. The first cell is folded and has no prompt."""
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    first = page.locator(".jp-CodeCell .jp-InputPrompt").nth(1)
    for _ in range(3):  # JupyterLab forgets cells that were started before its connection to the kernel stood
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        page.wait_for_timeout(3000)
        try:
            playwright.expect(first).not_to_have_text("[ ]:", timeout=30_000)
            break
        except AssertionError:
            continue
    prompts = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].filter(prompt => prompt.innerText)"
    page.wait_for_function(f"{prompts}.every(prompt => /\\[\\d+\\]:/.test(prompt.innerText))", timeout=600_000)
    folded, *counts = page.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()
    assert folded == ""
    assert counts == [f"[{i}]:" for i in range(2, len(counts) + 2)]
    errors = page.locator("[data-mime-type='application/vnd.jupyter.error'], [data-mime-type*=stderr]")
    assert errors.all_inner_texts() == []


def test_a_slider_of_lesson_01_moves_by_keyboard_and_the_figure_follows(lab, page):
    page.goto(lab("01_long_tailed_data.ipynb"))
    run_all(page)

    # the cell with the live imbalance factor: a slider, a figure, and not the stored picture beside them
    cell = page.locator(".jp-CodeCell", has=page.get_by_text("imbalance factor", exact=True))
    figure = cell.locator(".widget-html-content img")
    handle = cell.locator(".widget-slider").first.locator(".noUi-handle")
    figure.scroll_into_view_if_needed()
    assert cell.locator("img").count() == 1
    assert width(figure) == 700
    text, picture = figure.get_attribute("alt"), figure.get_attribute("src")
    assert "exponential: 1,236 images, from 500 to 5" in text

    handle.focus()
    started = time.monotonic()
    page.keyboard.press("ArrowRight")
    playwright.expect(figure).to_have_attribute("alt", re.compile("from 500 to 2; step"))
    print(f"the figure followed within {time.monotonic() - started:.2f} s")
    assert figure.get_attribute("src") != picture
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    playwright.expect(figure).to_have_attribute("alt", re.compile("from 500 to 25; step"))

    assert page.failures == []


@pytest.mark.parametrize(
    ("lesson", "live"),
    [
        pytest.param("03_mislas.ipynb", 1, marks=pytest.mark.slow),
        pytest.param("04_reslt.ipynb", 2, marks=pytest.mark.slow),
        pytest.param("05_adversarial_examples.ipynb", 2, marks=pytest.mark.slow),
        ("06_lbgat.ipynb", 1),
        pytest.param("07_robust_long_tail.ipynb", 2, marks=pytest.mark.slow),
        pytest.param("08_evidence_and_scale.ipynb", 2, marks=pytest.mark.slow),
    ],
)
def test_every_control_moves_its_figure(lab, page, lesson, live):
    page.goto(lab(lesson))
    run_all(page)
    cells = page.locator(".jp-CodeCell", has=page.locator(".widget-html-content img"))
    assert cells.count() == live
    for cell in cells.all():
        figure = cell.locator(".widget-html-content img")
        figure.scroll_into_view_if_needed()
        assert cell.locator("img").count() == 1
        for control in cell.locator(".widget-slider, .widget-dropdown").all():
            before = figure.get_attribute("alt")
            if control.locator("select").count():
                chosen = control.locator("select").evaluate("menu => menu.selectedIndex")
                control.locator("select").select_option(index=1 if chosen == 0 else 0)
            else:
                control.locator(".noUi-handle").focus()
                page.keyboard.press("ArrowRight")
            playwright.expect(figure).not_to_have_attribute("alt", before)
            assert width(figure) > 400
    assert page.failures == []


def test_a_question_answers_a_choice(lab, page):
    page.goto(lab("00_start_here.ipynb"))
    run_all(page)
    cell = page.locator(".jp-CodeCell", has=page.get_by_text("How does accuracy change from head to tail?"))
    cell.scroll_into_view_if_needed()
    assert cell.locator("input:checked").count() == 0
    cell.get_by_text("It is best in the middle", exact=True).click()
    playwright.expect(cell.get_by_text("Not quite.")).to_be_visible()
    cell.get_by_text("It falls from head to tail", exact=True).click()
    playwright.expect(cell.get_by_text("Right.")).to_be_visible()
    assert cell.evaluate("cell => cell.scrollWidth <= cell.clientWidth + 1"), "nothing is cut off"
    assert page.failures == []
