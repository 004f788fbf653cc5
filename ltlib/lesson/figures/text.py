"""Names as a figure can draw them: signs that matplotlib reads as commands, and scripts that need another font."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

MAIN = "DejaVu Sans"  # comes with matplotlib
NO_LETTERS = ("Last Resort", "cm", "STIXSize")  # boxes, and symbols of formulas under the codes of letters


def plain(name: str) -> str:
    """A name of the reader's own, such as that of a class, as matplotlib should be given it.

    A dollar begins no formula, an underscore at the start hides no entry of a legend, and a character that no font on
    this machine can draw becomes a question mark, without a warning for each time that it is drawn.
    """
    shown = "".join(character if _drawable(character) else "?" for character in str(name))
    return (" " + shown if shown.startswith("_") else shown).replace("$", r"\$")


def class_names(names: Sequence[str]) -> list[str]:
    """The names of classes. One that no font can draw is called by its number, so classes stay apart.

    Args:
        names: in the order of the classes.
    """
    return [plain(name) if all(map(_drawable, name)) else f"class {k}" for k, name in enumerate(names)]


def choose_fonts(figure: Figure) -> None:
    """Give the figure the fonts that its texts need beside the usual one."""
    texts = figure.findobj(Text)
    families = {_family(c) for text in texts for c in text.get_text() if not c.isspace()}
    needed = sorted(family for family in families if family and family != MAIN)
    if needed:
        for text in texts:
            text.set_fontfamily([MAIN, *needed])


def _drawable(character: str) -> bool:
    return character.isspace() or _family(character) is not None


@functools.cache
def _family(character: str) -> str | None:
    """The first font family on this machine that has the character; None where there is none."""
    code = ord(character)
    if code in _characters(font_manager.findfont(MAIN)):
        return MAIN
    return next((name for name, file in _others().items() if code in _characters(file)), None)


@functools.cache
def _characters(file: str) -> frozenset[int]:
    """The codes of all characters in a font file."""
    return frozenset(font_manager.get_font(file).get_charmap())


@functools.cache
def _others() -> dict[str, str]:
    """Every other installed font family and a file of it; those that hold Chinese, Japanese and Korean come first."""
    files = {entry.name: entry.fname for entry in reversed(font_manager.fontManager.ttflist)}
    names = sorted(files, key=lambda name: ("CJK" not in name, name))
    return {name: files[name] for name in names if not name.startswith(NO_LETTERS)}
