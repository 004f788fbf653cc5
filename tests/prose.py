"""Counts words that the style of the course avoids: ``python -m tests.prose`` lists them, ``--store`` keeps the counts.

Markdown cells, README, CONTRIBUTING, the page on data and the guide are counted, without code, formulas and links. Some
hits are legitimate, so a file is compared with the counts that it had before. ``tests/notebooks/test_prose.py`` fails
when a count differs from the stored one. After an improvement, store the new counts.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import nbformat

from ltlib import paths

STORED = Path(__file__).parent / "notebooks" / "prose.json"

TICS = {
    "a for per": r"\b(?:once|twice|times|one \w+|a \w+|images|number|factor|line|row|folder|seed|bar|dot|panel) an? "
    r"(?:epoch|class|batch|run|row|week|seed|method|image|step|stage|file|data set|measure|attack|second)\b",
    "buys, pays, price": r"\b(?:buys?|bought|buying|pays?|paid|paying|prices?|bills?)\b",
    "stand": r"\bstands?\b|\bstood\b|\bstanding\b",
    "lie": r"\b(?:lies|lie|lay)\b",
    "so that": r"\bso that\b",
    "somebody": r"\b(?:some|any|every|no)body\b|\bwho(?:ever)\b",
    "alone": r"\balone\b",
    "sure": r"\b(?:sure|surer|surest|sureness|surely)\b",
    "ladder": r"\bladders?\b|\brungs?\b",
    "alike": r"\balike\b",
    "room, house": r"\b(?:rooms?|houses?|roads?)\b|\blives?\b",
    "for meaning because": r", for (?:the|it|they|no|each|all|every|what|most) \w+ "
    r"(?:is|are|has|have|was|were|does|do)\b",
    "too": r", too\b",
    "withstand": r"\bwithst(?:and|ands|ood|anding)\b",
    "go on": r"\bgo(?:es)? on\b",
    "anew": r"\banew\b",
    "may": r"\bmay\b",
    "beside": r"\bbeside\b",
    "semicolon": r";",
}


def pages() -> list[Path]:
    """Every page whose prose is counted."""
    top = paths.project()
    pages = [top / "README.md", top / "CONTRIBUTING.md", top / "data" / "README.md"]
    return [*pages, *sorted((top / "notebooks" / "guide").glob("*.md")), *sorted((top / "notebooks").glob("*.ipynb"))]


def prose(page: Path) -> str:
    """The sentences of a page: no code, formulas, addresses, solutions or references."""
    if page.suffix == ".ipynb":
        cells = nbformat.read(page, as_version=4).cells
        kept = [cell.source for cell in cells if cell.cell_type == "markdown" and not cell.id.startswith("solution-")]
        text = "\n\n".join(source for source in kept if not source.startswith("## References"))
    else:
        text = page.read_text(encoding="utf-8")
    for nothing in (
        r"^```.*?^```",
        r"`[^`]*`",
        r"\$\$.*?\$\$",
        r"\$[^$\n]*\$",
        r"(?<=\])\([^)]*\)",
        r"^>.*?$",
        r"&\w+;",
    ):
        text = re.sub(nothing, " ", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"\s+", " ", text)


def tics(text: str) -> dict[str, int]:
    """How often each habit occurs in a text; only those that do."""
    counted = {name: len(re.findall(pattern, text, flags=re.IGNORECASE)) for name, pattern in TICS.items()}
    return {name: count for name, count in counted.items() if count}


def count() -> dict[str, dict[str, int]]:
    """Page -> habit -> how often."""
    return {page.relative_to(paths.project()).as_posix(): tics(prose(page)) for page in pages()}


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.prose", description="Count words that the style avoids.")
    parser.add_argument("--store", action="store_true", help="keep the counts as those that must not grow")
    found = count()
    if parser.parse_args().store:
        STORED.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    for page, of_page in found.items():
        print(f"{sum(of_page.values()):4d}  {page}  {of_page}")
    print(f"{sum(sum(of_page.values()) for of_page in found.values()):4d}  in all")


if __name__ == "__main__":
    main()
