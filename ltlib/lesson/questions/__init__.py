"""Questions to answer before a cell runs: predict, choose, read why. Nothing is stored, and nothing can fail.

>>> from ltlib.lesson.questions import ask
>>> ask("tail_confidence")
"""

from ltlib.errors import check_choice
from ltlib.lesson.questions.catalogue import QUESTIONS
from ltlib.lesson.questions.question import Asked, Question

__all__ = ["QUESTIONS", "Asked", "Question", "ask"]


def ask(name: str) -> Asked:
    """Show a question of the catalogue.

    Raises:
        InputError: there is no question of that name.
    """
    check_choice("question", name, QUESTIONS)
    return Asked(QUESTIONS[name])
