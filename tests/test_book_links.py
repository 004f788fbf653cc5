"""Every link of a page leads, in the web book, to a page, to a file that the book carries, or to a generated page.

Sphinx says the same, as a warning that is an error, but only after minutes; see ``tests/browser/test_book.py``.
"""

import importlib.util
import json
import os
import re
import sys
from pathlib import Path

import pytest

from ltlib import paths

ROOT = paths.project()


def load_build():
    """docs/build.py, which is a script and imports its neighbour docs/evidence.py."""
    folder = str(ROOT / "docs")
    spec = importlib.util.spec_from_file_location("book_build", f"{folder}/build.py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    return module


build = load_build()

PAGES = [file.relative_to(ROOT) for pattern in build.PAGES for file in sorted(ROOT.glob(pattern))]
FILES = {file.relative_to(ROOT).as_posix() for pattern in build.FILES for file in ROOT.glob(pattern)}
GENERATED = re.compile(r"(_modules/.+|evidence)\.html|index\.md")


def text_of(page: Path) -> str:
    """The page as the book holds it, without its blocks of code."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return build.links(re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL), page)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_to_something_in_the_book(page):
    there = FILES | {p.as_posix() for p in PAGES}
    text = text_of(page)
    for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'href="([^"]+)"', text):
        if re.match(r"https?://|#|mailto:", target):
            continue
        name = os.path.normpath(page.parent / target.partition("#")[0])
        assert name in there or GENERATED.fullmatch(name), f"{target} is not in the book: add it to docs/build.py"
