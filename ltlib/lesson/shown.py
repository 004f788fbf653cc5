"""Tables and long texts as a cell shows them: HTML on the page, plain text in exports and for screen readers.

>>> from ltlib.lesson import shown
>>> shown.table([{"method": "MiSLAS", "accuracy": 0.795}])
>>> shown.folded("The commands", "python -m ltlib train ...")
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ltlib.errors import InputError
from ltlib.results.formats import as_text, cell

# A number, one with its spread or your own beside it, a range, or none.
NUMBER = re.compile(r"[-+±]?[\d.,]+ ?%?(?: ± [\d.]+ ?%)?(?: to -?[\d.]+ ?%| \(-?[\d.]+ ?%\))?|-")
WIDTH = 100  # letters of a line of text that a page of the web book shows whole
# The styles are in the tags, because a style sheet would not survive GitHub. Rules and shading take no colour of the
# page, so they are legible on a dark one.
RULE = "border-bottom:1px solid rgba(128,128,128,0.45)"
SHAPE = "padding:0.25em 0.7em"


@dataclass(frozen=True)
class Shown:
    """What a cell shows: as its last value it shows itself."""

    html: str
    plain: str

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.plain}


def table(rows: Sequence[Mapping[str, object]]) -> Shown:
    """A table that breaks its lines where the page is narrow. Fractions are printed in per cent, None as "-".

    Args:
        rows: one dictionary per row, with the same keys.

    Raises:
        InputError: there is no row.
    """
    if not rows:
        raise InputError("This table has no row: nothing of this kind has been measured.")
    texts = [[cell(value) for value in row.values()] for row in rows]
    sides = ["right" if all(map(NUMBER.fullmatch, column)) else "left" for column in zip(*texts, strict=True)]
    head = "".join(_cell("th", name, side) for name, side in zip(rows[0], sides, strict=True))
    body = "".join(
        f'<tr style="{RULE}">{"".join(_cell("td", text, side) for text, side in zip(line, sides, strict=True))}</tr>'
        for line in texts
    )
    style = "border-collapse:collapse;font-size:0.9em;margin:0;max-width:100%"
    return Shown(
        f'<div style="overflow-x:auto"><table style="{style}"><thead><tr style="{RULE}">{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>",
        as_text(rows),
    )


def folded(title: str, text: str) -> Shown:
    """A long text, such as a log or commands, that opens at a click on its title.

    Args:
        title: what it is, with how much of it there is.
        text: shown as it is, with a bar where a line is too long.
    """
    style = "overflow-x:auto;white-space:pre;font-size:0.85em;line-height:1.35;max-height:24em"
    inside = f'<pre style="{style}">{html.escape(text)}</pre>'
    return Shown(f"<details><summary>{html.escape(title)}</summary>{inside}</details>", f"{title}\n\n{text}")


def _cell(tag: str, text: str, side: str) -> str:
    nowrap = ";white-space:nowrap" if side == "right" and tag == "td" else ""
    return f'<{tag} style="{SHAPE};text-align:{side}{nowrap}">{html.escape(text)}</{tag}>'
