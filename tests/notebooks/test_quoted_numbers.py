"""Every number that a page quotes is measured somewhere, and the page says where. ``tests/quotes.py`` reads both."""

import math
import re
from collections.abc import Iterator

import pytest

from ltlib import paths
from ltlib.data import glyphs
from ltlib.results import formats, records, views
from tests import evidence, quotes
from tests.evidence import Value, named_studies
from tests.quotes import Quote, Section

LESSON = "notebooks/{}.ipynb".format

# Numbers that look like results and are none.
NOT_MEASURED = {
    ("data/README.md", "65 %"): "a bound that tests/experiments/test_letters.py demands",
    ("data/README.md", "80 %"): "a bound that tests/experiments/test_letters.py demands",
    ("data/README.md", "30 points"): "a bound that tests/experiments/test_letters.py demands",
    ("data/README.md", "8 %"): "a bound that tests/experiments/test_letters.py demands",
    (LESSON("02_measuring"), "80 %"): "an example in the definition of calibration",
    (LESSON("02_measuring"), "50 %"): "an accuracy assumed in an exercise",
}

# Numbers that follow from a definition; a study cannot hold them.
COMPUTED = {
    (LESSON("05_adversarial_examples"), "15 %"): 100 * glyphs.CONTRAST[0],
    (LESSON("05_adversarial_examples"), "45 %"): 100 * glyphs.CONTRAST[1],
    (LESSON("05_adversarial_examples"), "3 %"): 100 * 8 / 255,
    (LESSON("06_lbgat"), "2.7 points"): 100 * math.sqrt(0.229 * (1 - 0.229) / 250),
    (LESSON("06_lbgat"), "2.9 points"): 100 * math.sqrt(0.215 * (1 - 0.215) / 200),
    (LESSON("08_evidence_and_scale"), "27 times"): 2 * 10 + 1 + 6,  # forward passes of TRADES
}

WHAT_TO_DO = """Quote what a cell under this heading prints; or name there the study, the machine or
published_results.csv that holds the number, and the row by its label; a difference or a ratio stands beside its two
numbers. If it was never measured, leave it out. See "Numbers" in CONTRIBUTING.md."""

every_page = pytest.mark.parametrize("page", quotes.pages(), ids=lambda page: str(page.relative_to(paths.project())))
lesson_cells = [
    pytest.param(cell, id=f"{page.stem}-{cell.id}")
    for page in quotes.notebooks()
    for cell in quotes.cells(page)
    if cell.cell_type == "code" and named_studies(cell.source)
]


def quoted_on(page) -> Iterator[tuple[Section, str, Quote, list[Value]]]:
    """Every quoted number with its section, its block, and the pool of values that it may be."""
    for section in quotes.sections(page):
        for block, above in section.blocks:
            if found := quotes.quotes(block):
                pool = quotes.evidence(section, block, above)
                yield from ((section, block, quote, pool) for quote in found)


def excepted(section: Section, quote: Quote) -> bool:
    key = section.page, str(quote)
    return key in NOT_MEASURED or (key in COMPUTED and Value(COMPUTED[key]).printed_as(quote.number))


def complaint(section: Section, block: str, quote: Quote, what: str) -> str:
    return f'{section.page}, "{section.title}": "{quote}" {what} in\n    {block}'


@every_page
def test_every_quoted_number_is_found_where_its_page_says(page):
    missing = [
        complaint(section, block, quote, "has no evidence")
        for section, block, quote, pool in quoted_on(page)
        if not quotes.supported(quote, block, pool) and not excepted(section, quote)
    ]
    assert not missing, "\n".join([*missing, WHAT_TO_DO])


@every_page
def test_most_other_last_digits_would_be_noticed(page):
    """Where many values may be meant, agreement proves nothing."""
    blunt = []
    for section, block, quote, pool in quoted_on(page):
        *most, last = quote.number
        others = ["".join([*most, digit]) for digit in "0123456789" if digit != last]
        pass_too = [n for n in others if quotes.supported(Quote(n, quote.unit, quote.place), block, pool)]
        if len(pass_too) > 4 and not excepted(section, quote):
            what = f"could be {', '.join(pass_too)} as well: name its row, or quote one more decimal,"
            blunt.append(complaint(section, block, quote, what))
    assert not blunt, "\n".join([*blunt, WHAT_TO_DO])


def test_no_exception_is_left_over():
    quoted = {(section.page, str(quote)) for page in quotes.pages() for section, _, quote, _ in quoted_on(page)}
    assert not {*NOT_MEASURED, *COMPUTED} - quoted


def test_the_table_of_readme_is_that_of_the_stored_runs():
    rows = views.per_run(records.read("demo"))
    for row in rows:
        del row["run"]
    table = f"```\n{formats.as_text(rows)}\ngroups by the papers rule\n```"
    readme = (paths.project() / "README.md").read_text()
    assert table in readme, f"README.md must show what data/reference_runs/demo holds:\n{table}"


def tables_of(study: str) -> Iterator[list[dict]]:
    """Every summary of a study."""
    found = records.read(study)
    for rule in set.intersection(*(set(record.metrics["groups"]) for record in found)):
        yield views.summary(found, rule)
    for attack, epsilon in {(report.attack, report.epsilon) for record in found for report in record.robust}:
        yield views.robust_summary(found, attack, epsilon)


def lines(table: str) -> list[list[str]]:
    """The cells of each line; lines of dashes are left out."""
    return [re.split(r"\s{2,}", line.strip()) for line in table.splitlines() if not line.startswith("---")]


@pytest.mark.parametrize("cell", lesson_cells)
def test_printed_tables_are_those_of_the_stored_runs(cell):
    made = []
    for study in named_studies(cell.source):
        for table in tables_of(study):
            made += lines(formats.as_text([{name: row[name] for name in row if name != "command"} for row in table]))
    for table in re.findall(r"^label .*\n(?:.+\n?)+", quotes.printed(cell), flags=re.MULTILINE):
        wrong = [line for line in lines(table) if line not in made]
        assert not wrong, "not in the stored runs: build the lesson again (python -m ltlib.lesson.build)"


@pytest.mark.parametrize("cell", lesson_cells)
def test_what_cells_and_figures_say_of_a_row_is_stored(cell):
    """A row begins with a label of the study; every percentage behind it is one of its runs, or their mean or sd.

    Where the cell also reads the papers' numbers, it may be what a paper reports for the method of this label.
    """
    named = named_studies(cell.source)
    labels = {label for study in named for label in evidence.measures(study)}
    row = re.compile(rf"(?:^|\. )(?:{'|'.join(map(re.escape, sorted(labels, key=len, reverse=True)))})(?=:|  |, seed)")
    for text in re.split(r"\n|; ", quotes.printed(cell)):
        if found := row.search(text):
            pool = evidence.of_studies(named, f"{found[0].removeprefix('. ')}, every run")
            pool += [Value(value.spread) for value in pool if value.spread is not None]
            if "papers.read()" in cell.source:
                label = found[0].removeprefix(". ")
                pool += [Value(100 * row.value) for row in evidence.published_rows() if row.label == label]
            for number in re.findall(r"(\d+(?:\.\d+)?)%", text[found.end() :]):
                assert any(value.printed_as(number) for value in pool), f"{number}% is not in {named}: {text}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It finds 41 of 100 images, 8.3 points more", ["41", "8.3 points"]),
        ("15.0, 14 and 16 % and 2.3 to 2.6 times", ["15.0 %", "14 %", "16 %", "2.3 times", "2.6 times"]),
        ("47.2 ± 0.9, and 90 / 21 in one run", ["47.2", "± 0.9", "90", "21"]),
        ("| LBGAT | 88.22 | WRN-34-10 | 8/255 | 100 |", ["88.22"]),
        ("1,924 images, IF 100, rate 0.1, momentum 0.9, a 95 % interval", []),
        ("`beta=0.5 %`, $2.5\\,\\%$, [7.1](https://x.org/7.2), arXiv 2104.00466, 1.35 GB", ["7.1"]),
    ],
)
def test_results_are_told_from_settings(text, expected):
    assert [str(quote) for quote in quotes.quotes(text)] == expected


@pytest.mark.parametrize(
    ("block", "number", "found"),
    [
        ("It gains 6 points (77.1 against 71.3 %).", "6", True),
        ("It gains 5 points (77.1 against 71.3 %).", "5", False),
        ("From 71.3 to 77.1 %, 6 points.", "6", True),
        ("It gains 6 points (77.2 against 71.2 %).", "6", False),
        ("It gains 6 points.", "6", False),
    ],
)
def test_a_difference_stands_beside_its_two_numbers(block, number, found):
    pool = [Value(77.13), Value(71.3)]
    quote = next(quote for quote in quotes.quotes(block) if quote.number == number)
    assert quotes.supported(quote, block, pool) is found


def test_a_spread_belongs_to_the_number_before_it():
    block = "It has 48.3 %, but ± 2.9, and 45.5 ± 1.4 without."
    spreads = [quote for quote in quotes.quotes(block) if quote.unit == "±"]
    pool = [Value(48.28, spread=2.91), Value(45.5, spread=2.9)]
    assert [quotes.supported(quote, block, pool) for quote in spreads] == [True, False]


def test_a_number_is_looked_for_in_the_rows_that_its_block_names():
    of_mislas = evidence.of_studies(["demo"], "MiSLAS has")
    assert any(value.printed_as("79.5") for value in of_mislas)
    assert not any(value.printed_as("74.7") for value in of_mislas)
    assert any(value.printed_as("74.7") for value in evidence.of_studies(["demo"], "Both have"))
