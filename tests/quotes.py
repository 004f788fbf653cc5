"""The numbers that our pages quote, and the places where each of them is measured.

A page is cut at its headings. The evidence of a number stands in its own section: what the cells there print, or what
the section names: a study of ``data/reference_runs``, a machine of ``data/benchmarks``, or ``published_results.csv``.
This module reads pages and evidence; ``tests/notebooks/test_quoted_numbers.py`` compares them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ltlib import paths
from tests.evidence import Value, named, named_studies, plain

NUMBER = re.compile(r"(?<![\w.,/^#:-])\d+(?:,\d{3})*(?:\.\d+)?(?![\w/:]|[.,]\d|-\d)")
LIST = rf"{NUMBER.pattern}(?:(?:, |,? (?:to|and|or|against) | [/±] | -> ){NUMBER.pattern})*"
WITH_UNIT = re.compile(rf"{LIST} ?(?P<unit>%|points?\b|times\b)")
SPREAD = re.compile(rf"± ?{NUMBER.pattern}")

# Without a unit a number is a result if it is one of a pair ("90.0 / 22.9"), a share of 100, or a decimal number above
# 1. Results are printed in per cent, so that a smaller one is a setting.
PAIR = re.compile(rf"(?<!/ ){NUMBER.pattern} / {NUMBER.pattern}(?! /)")
SHARE = re.compile(rf"{NUMBER.pattern}(?= of 100\b)")

# What no result ever is.
A_SIZE = re.compile(r" ?(?:[kMGT]i?B|s|ms|seconds|minutes|hours|million|TFLOP)\b")
AN_INTERVAL = re.compile(r" ?% (?:confidence )?intervals?\b")
A_NAME = re.compile(r"(?:arXiv|Python|torch|requests|version|epoch|sections?) $")
A_GRADE = re.compile(r"\(\d points?\)")

# Unit of a quote -> kinds of values that it may be.
KINDS = {"%": "%", "±": "", "points": "points", "point": "points", "times": "times", "": "% times number"}


@dataclass(frozen=True)
class Quote:
    """A number as a page prints it, with its unit (a key of ``KINDS``) and its place among those of its block."""

    number: str
    unit: str
    place: int = 0

    def __str__(self) -> str:
        return f"± {self.number}" if self.unit == "±" else f"{self.number} {self.unit}".strip()


@dataclass
class Section:
    """What stands under one heading of a page.

    Attributes:
        blocks: paragraphs, list items and table rows, each with the paragraph above its table, or "".
        named: the text that may name evidence, code cells included.
        printed: numbers in the outputs of its cells.
    """

    page: str
    title: str
    blocks: list[tuple[str, str]] = field(default_factory=list)
    named: str = ""
    printed: list[Value] = field(default_factory=list)


# Pages: reading


def pages() -> list[Path]:
    """README and the pages beside it, and everything to read under ``data`` and ``notebooks``."""
    root = paths.project()
    return sorted([*root.glob("*.md"), *root.glob("data/*.md"), *root.glob("notebooks/**/*.md"), *notebooks()])


def notebooks() -> list[Path]:
    return sorted(paths.project().glob("notebooks/*.ipynb"))


def sections(page: Path) -> list[Section]:
    """The page, cut at its headings."""
    name = str(page.relative_to(paths.project()))
    found = [Section(name, "top")]
    for cell in cells(page):
        if cell.cell_type == "code":
            found[-1].named += cell.source
            # What a cell prints from a study is compared with the study, which is then the evidence; but for what a
            # study cannot hold: differences and ratios.
            derived = ("points", "times") if named_studies(cell.source) else ("%", "points", "times", "number")
            found[-1].printed += [value for value in numbers(printed(cell)) if value.kind in derived]
            continue
        for part in re.split(r"^(?=#)", without_listings(cell.source), flags=re.MULTILINE):
            if heading := re.match(r"#+ (.+)\n?", part):
                found.append(Section(name, heading[1]))
            found[-1].named += part
            found[-1].blocks += _blocks(part)
    return found


def cells(page: Path) -> list[NotebookNode]:
    """Of a notebook; any other page is one cell of markdown."""
    if page.suffix == ".ipynb":
        return nbformat.read(page, as_version=4).cells
    return [nbformat.v4.new_markdown_cell(page.read_text())]


def without_listings(markdown: str) -> str:
    """Without blocks of code and folded solutions."""
    return re.sub(r"^```.*?^```$|<details>.*?</details>", "", markdown, flags=re.DOTALL | re.MULTILINE)


def printed(cell: NotebookNode) -> str:
    """The text of a cell's outputs, of a figure its description; but no source code that it shows."""
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "\n".join(text for text in texts if not text.startswith("# ../ltlib"))


def numbers(text: str) -> list[Value]:
    """All numbers of an output; one with a sign and no unit is a difference in points."""
    number = r"(?<![\w.])([+-])?(\d+(?:\.\d+)?)(%| points| times)?(?: (?:±|\+-) ([\d.]+))?"
    return [
        Value(
            float(digits),
            unit.strip() or ("points" if sign else "number"),
            len(digits.partition(".")[2]),
            float(spread) if spread else None,
        )
        for sign, digits, unit, spread in re.findall(number, text.replace(",", ""))
    ]


def _blocks(part: str) -> list[tuple[str, str]]:
    found, above = [], ""
    for paragraph in re.split(r"\n\s*\n", part):
        if paragraph.startswith("|"):
            found += [(row, above) for row in paragraph.splitlines()]
        else:
            above = paragraph
            items = re.split(r"^(?=\s*(?:[-*]|\d+\.) )", paragraph, flags=re.MULTILINE)
            found += [(" ".join(item.split()), "") for item in items]
    return found


# Pages: what they quote


def quotes(block: str) -> list[Quote]:
    """The results in a paragraph, list item or table row."""
    text = _readable(block)
    units = {i: run["unit"] for run in WITH_UNIT.finditer(text) for i in range(*run.span())}
    units |= {i: "±" for spread in SPREAD.finditer(text) for i in range(*spread.span())}
    others = {i for form in (PAIR, SHARE) for match in form.finditer(text) for i in range(*match.span())}
    found = []
    for match in NUMBER.finditer(text):
        at, number, rest = match.start(), match[0], text[match.end() :]
        if A_SIZE.match(rest) or AN_INTERVAL.match(rest) or A_NAME.search(text[:at]):
            continue
        if at in units or at in others or ("." in number and plain(number) > 1):
            found.append(Quote(number, units.get(at, ""), len(found)))
    return found


def _readable(block: str) -> str:
    """Without formulas, code, addresses, grades, emphasis, and the number of a list item."""
    text = re.sub(r"\$\$.*?\$\$|\$.*?\$|`[^`]*`|\]\([^)]*\)|https?://\S+|<[^>]*>", " ", block)
    return re.sub(r"\*\*|^\s*\d+\. ", "", A_GRADE.sub("", text))


# Evidence


def evidence(section: Section, block: str, above: str = "") -> list[Value]:
    """Everything that a number in the block may be: what cells of its section print, and what is named in the block;
    if nothing is, in the paragraph above its table; or else anywhere in the section."""
    found = (named(text, block, above) for text in (block, above, section.named))
    return section.printed + next(filter(None, found), [])


def supported(quote: Quote, block: str, pool: list[Value]) -> bool:
    """Whether the number is one of the pool, rounded; or the spread ("±") of the number before it; or the difference
    ("points") or ratio ("times") of two numbers of the pool that stand beside it."""
    if _is_one_of(quote, pool):
        return True
    if quote.unit == "±" and quote.place:
        mean = quotes(block)[quote.place - 1].number
        means = (value for value in pool if value.spread is not None and value.printed_as(mean))
        return any(Value(value.spread).printed_as(quote.number) for value in means)
    beside = _beside(quote, block, pool)
    if quote.unit.startswith("point"):
        return any(Value(a - b).printed_as(quote.number) for a, b in beside)
    return quote.unit == "times" and any(Value(max(pair) / min(pair)).printed_as(quote.number) for pair in beside)


def _is_one_of(quote: Quote, pool: list[Value]) -> bool:
    kinds = KINDS[quote.unit].split()
    return any(value.kind in kinds and value.printed_as(quote.number) for value in pool)


def _beside(quote: Quote, block: str, pool: list[Value]) -> list[tuple[float, float]]:
    """The two numbers after the quote, those before it, and the one on each side."""
    row = quotes(block)
    before, after = row[: quote.place][::-1], row[quote.place + 1 :]
    left, right = ([plain(q.number) for q in side if _is_one_of(q, pool)][:2] for side in (before, after))
    pairs = [left, right, left[:1] + right[:1]]
    return [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]
