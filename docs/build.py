"""Build the web book: ``python docs/build.py [--to build/book]``.

The pages are what the repository holds already: README, the lessons with their stored outputs, the guide, the page on
data. They are gathered under the paths that they have in the repository, which keeps their links to each other. Three
kinds of page are made here: the API reference, one page per module; a card per method; and the evidence explorer.
Sphinx then makes HTML of it. Nothing is executed and nothing is downloaded. A warning is an error.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import re
import shutil
import sys
from pathlib import Path

from evidence import evidence
from sphinx.cmd.build import build_main

from ltlib.methods import METHODS
from ltlib.results import cards, records

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent

PAGES = (
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "data/README.md",
    "notebooks/sweeps/README.md",
    "notebooks/guide/*.md",
    "notebooks/[0-9][0-9]_*.ipynb",
    "notebooks/full_run.ipynb",
)
# A link to one of these becomes a download. Links to source files lead to the highlighted source instead.
FILES = (
    "LICENSE",
    "CITATION.cff",
    "data/published_results.csv",
    "data/excerpts/*.json",
    "notebooks/sweeps/*.yaml",
    "notebooks/images/*",
)


EVIDENCE = """# Evidence

Every number of this project and of the papers it compares with. Filter, then open a row: it shows the command, the
seeds, the recipe, the machine and the predictions behind the number, and the paper's number beside it. The address
bar then holds a permanent address of that number.

```{raw} html
<div id="evidence-explorer">
The numbers need JavaScript. Without it, run <code>python -m ltlib results --papers</code>.
</div>
<script src="_static/evidence-data.js"></script>
<script src="_static/evidence.js"></script>
```
"""


def main() -> int:
    """Build the book; returns Sphinx's exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", default=str(ROOT / "build" / "book"), help="folder of the finished pages")
    to = Path(parser.parse_args().to).resolve()
    source = to.with_name(f"{to.name}-source")
    shutil.rmtree(source, ignore_errors=True)
    gather(source)
    static = f"html_static_path={DOCS / '_static'},{source / '_static'}"
    return build_main(
        [
            "-b",
            "html",
            "-W",
            "--keep-going",
            "-q",
            "-c",
            str(DOCS),
            "-d",
            str(to.with_name(f"{to.name}-doctrees")),
            "-D",
            static,
            str(source),
            str(to),
        ]
    )


def gather(source: Path) -> None:
    """Everything that Sphinx reads, in one folder."""
    for file in (file for pattern in FILES for file in ROOT.glob(pattern)):
        target = source / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    pages = [file.relative_to(ROOT) for pattern in PAGES for file in sorted(ROOT.glob(pattern))]
    for page in pages:
        write = _notebook if page.suffix == ".ipynb" else _markdown
        write(page, source)
    modules = api(source / "api")
    (source / "evidence.md").write_text(EVIDENCE, encoding="utf-8")
    (source / "_static").mkdir(exist_ok=True)
    terms = json.dumps(glossary((ROOT / "notebooks/guide/glossary.md").read_text(encoding="utf-8")), ensure_ascii=False)
    (source / "_static" / "glossary-terms.js").write_text(f"window.GLOSSARY = {terms};\n", encoding="utf-8")
    numbers = json.dumps(evidence(), separators=(",", ":"), ensure_ascii=False)
    (source / "_static" / "evidence-data.js").write_text(f"window.EVIDENCE = {numbers};\n", encoding="utf-8")
    described = method_cards(source / "methods")
    index(
        [page.with_suffix("").as_posix() for page in pages] + described + [f"api/{module}" for module in modules],
        source,
    )


SECTIONS = {
    "lessons": ("Lessons", "Each page is a notebook with its stored outputs. `make lab` opens them to run and change."),
    "methods": (
        "Methods",
        "One card per method: idea, equation, code, cost, numbers. `ltlib explain METHOD` prints it.",
    ),
    "guide": ("Guide", "For teachers and for readers who look something up."),
    "project": ("Project", "How the project is built, what it holds, and how to add to it."),
    "api": ("API reference", "Every module of `ltlib`, from its docstrings."),
}


def section_of(name: str) -> str:
    """The section of the book that a page belongs to."""
    if name.startswith(("api/", "methods/")):
        return name.partition("/")[0]
    if re.match(r"notebooks/(\d\d_|full_run)", name):
        return "lessons"
    return "guide" if "guide/" in name else "project"


def index(names: list[str], source: Path) -> None:
    """The start page, which is README, and a page per section that lists what is in it."""
    for section, (title, about) in SECTIONS.items():
        inside = [name for name in names if section_of(name) == section]
        (source / f"{section}.md").write_text(f"# {title}\n\n{about}\n\n{_tree(inside)}", encoding="utf-8")
    start = links((ROOT / "README.md").read_text(encoding="utf-8"), Path("README.md"))
    sections = _tree(["lessons", "methods", "evidence", "guide", "project", "api"], hidden=True)
    (source / "index.md").write_text(f"{start}\n\n{sections}", encoding="utf-8")


def _tree(entries: list[str], hidden: bool = False) -> str:
    listed = "\n".join(entries)
    return f"```{{toctree}}\n{':hidden:' if hidden else ':maxdepth: 1'}\n\n{listed}\n```\n"


def method_cards(folder: Path) -> list[str]:
    """A page per registered method; returns their names in the book."""
    folder.mkdir()
    stored = records.measured(records.names())
    for name in METHODS:
        (folder / f"{name}.md").write_text(cards.as_markdown(cards.card(name, stored)), encoding="utf-8")
    return [f"methods/{name}" for name in METHODS]


def api(folder: Path) -> list[str]:
    """A page per module of ltlib; returns the modules, in the order of the layers."""
    folder.mkdir(parents=True)
    modules = []
    for file in sorted((ROOT / "ltlib").rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if parts[-1] == "__main__" or not file.read_text(encoding="utf-8").strip():
            continue
        modules.append(name)
        text = f"# {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n"
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    return modules


def glossary(text: str) -> list[dict[str, object]]:
    """The entries of the glossary: the ways a term is written, its first sentences as plain text, its anchor."""
    entries = []
    for part in text.split("\n## ")[1:]:
        title, _, body = part.partition("\n")
        first = body.strip().split("\n\n")[0]
        plain = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", re.sub(r"[*`$]", "", " ".join(first.split())))
        name, _, short = title.partition(" (")
        words = [name, *([short.rstrip(")")] if short else [])]
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        entries.append({"words": words, "text": plain, "anchor": anchor})
    return entries


def _markdown(page: Path, source: Path) -> None:
    target = source / page
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(links(ROOT.joinpath(page).read_text(encoding="utf-8"), page), encoding="utf-8")


def _notebook(page: Path, source: Path) -> None:
    """A lesson with its stored outputs; a stored widget view shows its picture."""
    notebook = json.loads((ROOT / page).read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = links("".join(cell["source"]), page)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            data.pop("application/vnd.jupyter.widget-view+json", None)
            if name := output.get("metadata", {}).get("frames"):
                data["text/html"] = slider(name, source)
            if "text/html" in data:
                data["text/html"] = links("".join(data["text/html"]), page)
    target = source / page
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(notebook), encoding="utf-8")


def slider(name: str, source: Path) -> str:
    """The HTML of a figure under controls, whose frames were drawn when the lesson was built."""
    frames = json.loads((DOCS / "frames" / f"{name}.json").read_text(encoding="utf-8"))
    folder = source / "_static" / "frames"
    folder.mkdir(parents=True, exist_ok=True)
    # A script, because a page that is opened from a disk cannot fetch a file.
    script = f"(window.FRAMES ??= {{}})[{json.dumps(name)}] = {json.dumps(frames)};\n"
    (folder / f"{name}.js").write_text(script, encoding="utf-8")
    place = frames["start"]
    first = frames["frames"][_place(frames["controls"], place)]
    return (
        f'<div class="frames" data-frames="{name}"><img alt="{html.escape(frames["alt"])}" '
        f'src="data:image/png;base64,{first}"></div><script src="../_static/frames/{name}.js"></script>'
    )


def _place(controls: dict[str, list], values: list) -> int:
    """The position of a combination of values among the frames, of which the last control varies fastest."""
    place = 0
    for options, value in zip(controls.values(), values, strict=True):
        place = place * len(options) + options.index(value)
    return place


def links(text: str, page: Path) -> str:
    """The text of a page with links that lead somewhere in the book.

    A link to a source file leads to its highlighted source, one to a stored study to its rows in the evidence explorer.
    """
    up = "../" * (len(page.parts) - 1)
    module = re.compile(r"(?:\.\./)*ltlib/([\w/]+?)(?:/__init__)?\.py(?:#L\d+(?:-L\d+)?)?")
    study = re.compile(r"(?:\.\./)*data/reference_runs/?(\w*)/?")

    def lead(target: str) -> str:
        if found := module.fullmatch(target):
            return f"{up}_modules/ltlib/{found[1]}.html"
        if found := study.fullmatch(target):
            return f"{up}evidence.html{'#study=' + found[1] if found[1] else ''}"
        return ""

    def in_html(match: re.Match) -> str:
        return f'href="{lead(match[1]) or match[1]}"'

    def in_markdown(match: re.Match) -> str:
        to = lead(match[2])
        if to:
            return f'<a href="{to}">{match[1]}</a>'
        if os.path.normpath(page.parent / match[2]) == "README.md":
            return f"[{match[1]}]({up}index.md)"
        return match[0]

    text = plain_fences(re.sub(r'href="([^"]+)"', in_html, text))
    return re.sub(r"\[([^\]]+)\]\(([^)\s]+)\)", in_markdown, text)


def plain_fences(text: str) -> str:
    """The text with ``text`` as the language of code blocks that name none, which Sphinx takes for Python."""
    inside, lines = False, text.split("\n")
    for i, line in enumerate(lines):
        if line.lstrip().startswith("```"):
            if not inside and line.strip() == "```":
                lines[i] = line + "text"
            inside = not inside
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
