"""The prose does not slip back: no page uses a word that the style avoids more often than it did before."""

import json

import pytest

from tests import prose

STORED = json.loads(prose.STORED.read_text())
FOUND = prose.count()


@pytest.mark.parametrize("page", FOUND)
def test_no_page_gains_a_word_that_the_style_avoids(page):
    before = STORED.get(page, {})
    more = {name: (before.get(name, 0), n) for name, n in FOUND[page].items() if n > before.get(name, 0)}
    assert not more, f"{page} uses (before, now): {more}. See how they are counted in tests/prose.py."


def test_what_became_better_is_kept():
    """Otherwise a page could slip back to its old count."""
    fewer = [page for page, counts in STORED.items() if counts != FOUND.get(page, {})]
    assert not fewer, f"run python -m tests.prose --store: {fewer}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("once an epoch, one line a run", {"a for per": 2}),
        ("It pays for the price of a house.", {"buys, pays, price": 2, "room, house": 1}),
        ("Numbers stand here; whoever lies is sure.", {"stand": 1, "lie": 1, "semicolon": 1, "somebody": 1, "sure": 1}),
        ("All classes alike, too, may go on anew.", {"alike": 1, "too": 1, "may": 1, "go on": 1, "anew": 1}),
        ("once per epoch, an image of a class, understand, relief", {}),
    ],
)
def test_habits_are_counted(text, expected):
    assert prose.tics(text) == expected


def test_code_formulas_and_addresses_are_not_prose(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("One `a; b` $x; y$ [here](https://x.org/a;b).\n\n```\nx; y\n```\n\nTwo; three.\n")
    assert prose.tics(prose.prose(page)) == {"semicolon": 1}
