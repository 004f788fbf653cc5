"""One formatter for all tables: aligned for every script, and neutral whatever the texts hold."""

import csv
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import mistune
import pytest

from ltlib.errors import InputError, one_line
from ltlib.results import formats
from ltlib.results.formats import Note, Sheet

HOSTILE = [
    "=HYPERLINK(1)",
    " =1+1",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "＝1",
    "a|b",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[text](http://a.b)",
    "![picture](http://a.b/c.png)",
    "see https://a.b/c and www.a.b",
    "`code` *bold* _it_ ~~gone~~ $x$",
    "&lt;b&gt;",
    "back\\slash \\input{/etc/passwd}",
    "line\nbreak\r\n\\input{x}\x0b\x0c\u2028\u2029\x85end",
    "\x1b[31mred\x1b[2J\x07",
    "right\u202eleft",
    "caf\u0065\u0301 \udce9",
    "漢字 かな",
    "# title",
]


def sheet(text):
    row = {"name": text, "accuracy": 0.5}
    return Sheet([row], [row], f"foot {text}", [Note("1", text, is_command=True), Note("", text)], text)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_cell_of_a_csv_file_is_a_formula_or_has_two_lines(text):
    content = sheet(text).as_csv()
    assert content.count("\n") == 2
    (row,) = csv.DictReader(io.StringIO(content))
    assert row["name"].lstrip()[0] not in "=+-@＝"
    assert row["name"].removeprefix("'") == one_line(text)


def test_numbers_stay_numbers():
    row = {"a": -0.25, "b": "-1.5e-3", "c": None, "d": [1, 2], "e": "-", "f": ("=1", "2")}
    (back,) = csv.DictReader(io.StringIO(formats.as_csv([row])))
    assert list(back.values()) == ["-0.25", "-1.5e-3", "", "1 2", "'-", "'=1 2"]


class Page(HTMLParser):
    """What a browser shows: the tags, and the text of each block."""

    def __init__(self, markdown):
        super().__init__()
        self.tags, self.blocks = [], []
        read = mistune.create_markdown(escape=False, plugins=["table", "url", "strikethrough", "math"])
        self.feed(read(markdown))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag in ("h1", "th", "td", "p", "li"):
            self.blocks.append("")

    def handle_data(self, data):
        if data.strip() or (self.blocks and self.tags[-1] == "code"):
            self.blocks[-1] += data


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_the_text_and_nothing_else(text):
    """Read back by another program, which knows links without brackets, tables and tags."""
    page = Page(sheet(text).as_markdown())
    assert [tag for tag in page.tags if tag not in ("thead", "tbody", "table", "tr")] == [
        *("h1", "th", "th", "td", "td", "p", "ul", "li", "code", "li")
    ]
    expected = " ".join(one_line(text).split())
    title, _, _, name, share, foot, command, note = (" ".join(block.split()) for block in page.blocks)
    assert (title, name, share, foot, note) == (expected, expected, "50.0%", f"foot {expected}.", expected)
    assert command == f"1: {expected}"


@pytest.mark.parametrize("text", HOSTILE)
def test_latex_holds_no_command_of_the_text(text):
    comments, _, tabular = sheet(text).as_latex().partition("\\begin{tabular}")
    assert all(line.startswith("% ") for line in comments.splitlines())
    known = r"toprule|midrule|bottomrule|end\{tabular\}|textasciitilde|textasciicircum|textbackslash|textless"
    commands = re.findall(r"\\([a-zA-Z]+(?:\{tabular\})?)", tabular)
    assert [c for c in commands if not re.fullmatch(rf"{known}|textgreater|textbar|pm", c)] == []
    assert len(tabular.splitlines()) == 7
    assert not re.search(r"(?<!\\)[#~^]|(?<!\\)%", tabular)


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")
def test_latex_accepts_it(tmp_path):
    body = "\n".join(sheet(text).as_latex() for text in HOSTILE if text.isascii())
    page = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}\n{body}\n\\end{{document}}\n"
    (tmp_path / "t.tex").write_text(page)
    assert subprocess.run(["pdflatex", "-halt-on-error", "t.tex"], cwd=tmp_path, capture_output=True).returncode == 0


@pytest.mark.parametrize("text", HOSTILE)
def test_a_terminal_gets_one_line_without_control_characters(text):
    lines = sheet(text).as_text().split("\n")
    assert len(lines) == 7
    assert all(c.isprintable() or c == "　" for line in lines for c in line if c != "\u0301")
    "\n".join(lines).encode()


def test_columns_are_aligned_for_wide_and_combining_characters():
    names = ["plain", "漢字", "cafe\u0301", "한글 text", "ｗｉｄｅ"]
    lines = formats.as_text([{"name": name, "n": 1} for name in names]).splitlines()
    places = {"plain": 5, "漢字": 4, "cafe\u0301": 4, "한글 text": 9, "ｗｉｄｅ": 8}  # by hand
    assert lines[1] == "---------  -"
    for name, line in zip(names, lines[2:], strict=True):
        assert line == name + " " * (9 - places[name] + 2) + "1"


def test_a_message_is_always_one_line():
    error = InputError("The folder /a\nb\x1b[31m cannot be read:\r\nchoose another.")
    assert str(error) == "The folder /a b\\x1b[31m cannot be read: choose another."


def test_nothing_is_overwritten_and_a_folder_is_no_file(tmp_path):
    (tmp_path / "t.csv").mkdir()
    (tmp_path / "b.csv").write_bytes(b"\xff\x00")
    for name, message in {
        "t.csv": "cannot be written",
        "b.csv": "exists with other content",
        "x" * 300 + ".csv": "cannot be written",
        "t.xlsx": "ends in .csv, .md, .tex; got",
        "": "ends in .csv, .md, .tex; got",
    }.items():
        with pytest.raises(InputError, match=message):
            formats.write(sheet("a"), tmp_path / name if name else type(tmp_path)(""))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.csv", "t.csv"]
    assert (tmp_path / "b.csv").read_bytes() == b"\xff\x00"
