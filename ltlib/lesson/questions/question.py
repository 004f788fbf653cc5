"""A question with choices, and the reason behind each of them."""

from __future__ import annotations

import html
import textwrap
from dataclasses import dataclass

import ipywidgets

from ltlib.errors import InputError
from ltlib.lesson.figures.figure import COLOURS
from ltlib.lesson.shown import WIDTH


@dataclass(frozen=True)
class Question:
    """What is asked before something is shown.

    Attributes:
        text: the question.
        choices: choice -> what the reader is told who chose it.
        right: the right choice.

    Raises:
        InputError: there are fewer than two choices, or the right one is none of them.
    """

    text: str
    choices: dict[str, str]
    right: str

    def __post_init__(self) -> None:
        if len(self.choices) < 2 or self.right not in self.choices:
            raise InputError(
                f"A question has at least two choices, the right one among them; {self.text!r} has "
                f"{list(self.choices)}, and {self.right!r} is called right."
            )

    def feedback(self, choice: str) -> str:
        """The verdict on a choice and its reason, as HTML."""
        good = choice == self.right
        colour, verdict = (COLOURS[2], "✓ Right.") if good else (COLOURS[3], "✗ Not quite.")
        return f'<p><b style="color:{colour}">{verdict}</b> {html.escape(self.choices[choice])}</p>'


class Asked:
    """A question on the page; as the last value of a cell it shows itself.

    Attributes:
        choice: the widget with the choices, none of them chosen.
        answer: the widget that shows the feedback.
    """

    def __init__(self, question: Question):
        self.question = question
        wide = {"width": "auto", "max_width": "100%"}
        self.choice = ipywidgets.RadioButtons(options=list(question.choices), index=None, layout=wide)
        self.answer = ipywidgets.HTML()
        self.choice.observe(self._show, names="value")
        title = ipywidgets.HTML(f"<p><b>Predict:</b> {html.escape(question.text)}</p>")
        self.box = ipywidgets.VBox([title, self.choice, self.answer])

    def _show(self, change: dict) -> None:
        self.answer.value = self.question.feedback(change["new"]) if change["new"] is not None else ""

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        choices = [f"  ( ) {choice}" for choice in self.question.choices]
        text = textwrap.fill(f"Predict: {self.question.text}", WIDTH)
        plain = "\n".join([text, *choices, "Run this cell in JupyterLab to choose."])
        view = {"model_id": self.box.model_id, "version_major": 2, "version_minor": 0}
        return {"application/vnd.jupyter.widget-view+json": view, "text/plain": plain}
