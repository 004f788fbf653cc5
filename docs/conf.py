"""Sphinx configuration of the web book. ``python docs/build.py`` gathers the pages and calls it."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "Long-Tail Lab"
author = "the Long-Tail Lab contributors"
copyright = author
html_title = project
language = "en"

extensions = [
    "myst_nb",  # the lessons with their stored outputs, and Markdown pages
    "sphinx.ext.autodoc",  # the API reference, from docstrings
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",  # formulas without a network, also from a disk
]
nb_execution_mode = "off"
nb_merge_streams = True
nb_mime_priority_overrides = [
    ("html", "text/html", 10),
    ("html", "image/png", 20),
    ("html", "application/vnd.jupyter.widget-view+json", None),
]
myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence"]
myst_heading_anchors = 4
myst_links_external_new_tab = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
# Links from type annotations to torch and numpy would need a network.
nitpicky = False
suppress_warnings = [
    "mystnb.unknown_mime_type",  # widgets show the picture that is stored beside them
    "ref.python",  # an attribute called x exists in several classes
]


def _escape_bars(app, what, name, obj, options, lines: list[str]) -> None:
    """``|x|`` is an absolute value in our docstrings and a substitution in reStructuredText."""
    table = any(line.startswith("====") for line in lines)
    for i, line in enumerate(lines):
        parts = line.split("``")
        lines[i] = line if table else "``".join(p if k % 2 else p.replace("|", "\\|") for k, p in enumerate(parts))


def setup(app) -> None:
    app.connect("autodoc-process-docstring", _escape_bars)


html_theme = "pydata_sphinx_theme"
html_css_files = ["book.css"]
html_js_files = ["glossary-terms.js", "glossary.js", "sliders.js"]
html_theme_options = {
    "show_prev_next": True,
    "navigation_with_keys": True,
    "navbar_align": "left",
    "collapse_navigation": True,
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
    "logo": {"text": project},
}
html_sidebars = {"index": [], "evidence": []}  # nothing is below them
html_show_search_summary = False  # a page that is opened from a disk cannot fetch the others
html_show_sourcelink = False
html_copy_source = False
