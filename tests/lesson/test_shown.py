"""Tables and folded texts: what is on the page, and that nothing in it is taken for a tag."""

import re

import pytest

from ltlib.errors import InputError
from ltlib.lesson import shown


def test_a_table_prints_fractions_in_per_cent_and_puts_numbers_to_the_right():
    made = shown.table([{"method": "a", "n": 3, "gain": 0.123}, {"method": "12", "n": 1_000, "gain": None}])
    sides = re.findall(r"<td [^>]*text-align:(\w+)[^>]*>([^<]*)</td>", made.html)
    assert sides == [
        ("left", "a"),
        ("right", "3"),
        ("right", "12.3%"),
        ("left", "12"),
        ("right", "1000"),
        ("right", "-"),
    ]
    assert [line.split() for line in made.plain.splitlines()] == [
        ["method", "n", "gain"],
        ["------", "----", "-----"],
        ["a", "3", "12.3%"],
        ["12", "1000", "-"],
    ]


@pytest.mark.parametrize("number", ["3.0% ± 1.9%", "-14.1% to 20.1%", "80.4% ± 2.1% (82.6%)", "1,236", "-"])
def test_a_number_with_what_belongs_to_it_stays_in_one_line(number):
    (cell,) = re.findall(r"<td [^>]*>", shown.table([{"mean": number}]).html)
    assert "white-space:nowrap" in cell


@pytest.mark.parametrize("text", ["accuracy few", "3 to many", "a (3%)"])
def test_a_text_can_be_broken(text):
    (cell,) = re.findall(r"<td [^>]*>", shown.table([{"mean": text}]).html)
    assert "white-space:nowrap" not in cell


def test_what_a_file_says_is_no_tag():
    made = shown.table([{"<b>": "<script>"}]).html + shown.folded("<i>", "<script>").html
    assert "<script>" not in made
    assert "<b>" not in made
    assert "<i>" not in made


def test_a_folded_text_is_closed_and_whole():
    made = shown.folded("Three lines", "a\nb\nc")
    assert made.html.startswith("<details><summary>Three lines</summary>")
    assert ">a\nb\nc</pre>" in made.html
    assert made.plain == "Three lines\n\na\nb\nc"


def test_a_table_without_rows_is_refused():
    with pytest.raises(InputError, match="no row"):
        shown.table([])
