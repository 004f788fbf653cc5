"""What an exercise is: a solved function and a checker. The hole in the notebook is cut from the solution.

So the two never drift apart. `Exercise.hole` keeps the signature and the docstring and takes out the body,
`Exercise.answer` folds the whole function away, and a test compares the notebooks with both.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable
from types import SimpleNamespace, TracebackType

from ltlib.errors import InputError
from ltlib.lesson.shown import WIDTH

IMPORT = "from ltlib.lesson.exercises import check"
HOLE = "return ...  # your code here"


class WrongAnswer(InputError):
    """The answer to an exercise is not right; the message says in what case, and gives a hint."""


class NotDone(Exception):
    """The hole is still a hole."""


class Exercise:
    """One exercise.

    Args:
        solution: a function whose docstring states the task.
        verify: receives an answer; returns if it is right and raises :class:`WrongAnswer` if not.
        faulty: for *find the bug*: the function that the reader starts from, whose answer is wrong.
    """

    def __init__(self, solution: Callable, verify: Callable[[Callable], None], faulty: Callable | None = None):
        self.name, self.solution, self.verify, self.faulty = solution.__name__, solution, verify, faulty

    def __call__(self, answer: Callable, required: bool = False) -> None:
        """Check an answer and print the verdict.

        Args:
            answer: the student's function.
            required: an untouched hole is a wrong answer. Otherwise it is no failure.

        Raises:
            WrongAnswer: the answer is not right.
        """
        try:
            self.verify(_watched(answer))
        except NotDone:
            if required:
                raise WrongAnswer(f"{self.name} is not done yet.") from None
            print(f"{self.name}: not done yet. Replace the `...` with your code and run the cell again.")
        else:
            print(f"{self.name}: correct.")

    def tell(self, answer: Callable) -> None:
        """Check an answer in a notebook: a wrong one is told and stops nothing, so *Run All* reaches the end.

        Raises:
            Exception: what the reader's own code raised, with the reader's line as the last one of the traceback.
        """
        __tracebackhide__ = True  # IPython leaves this frame out
        try:
            self(answer)
        except WrongAnswer as wrong:
            self._hint(str(wrong))
        except Exception as error:
            own = _from_the_answer(error.__traceback__, answer)
            if own:
                raise error.with_traceback(own) from None
            self._hint(
                "The check cannot work with your function. Compare its arguments, and the type and shape of what it "
                f"returns, with the task. (Python says: {error}.)"
            )

    def _hint(self, text: str) -> None:
        print(textwrap.fill(f"{self.name}: not right yet. {text}", WIDTH, break_on_hyphens=False))

    def hole(self) -> str:
        """The code cell of a notebook: the function without its body, or with its bug, and its check."""
        if self.faulty:
            source = inspect.getsource(self.faulty).replace(f"def {self.faulty.__name__}(", f"def {self.name}(", 1)
            return self._with_check(source.rstrip().splitlines())
        source, function = self._parsed()
        last_kept = function.body[0].end_lineno  # the docstring
        kept = source.splitlines()[function.lineno - 1 : last_kept]
        return self._with_check([*kept, f"    {HOLE}"])

    def solved(self) -> str:
        """The code cell of a notebook with the solution in it."""
        source, function = self._parsed()
        return self._with_check(source.splitlines()[function.lineno - 1 :])

    def marked(self) -> tuple[str, str]:
        """Two code cells for nbgrader: the function with its body marked as the solution, and its test."""
        source, function = self._parsed()
        lines, last_kept = source.splitlines(), function.body[0].end_lineno  # the docstring
        marks = "    ### BEGIN SOLUTION", "    ### END SOLUTION"
        numpy = ["import numpy as np", "", ""] if "np." in source else []
        cell = "\n".join([*numpy, *lines[function.lineno - 1 : last_kept], marks[0], *lines[last_kept:], marks[1]])
        test = f'from ltlib.lesson.exercises import EXERCISES\n\nEXERCISES["{self.name}"]({self.name}, required=True)'
        return cell, test

    def answer(self) -> str:
        """The markdown cell of a notebook: the solution, folded."""
        source, function = self._parsed()
        code = "\n".join(source.splitlines()[function.lineno - 1 :])
        return f"<details>\n<summary>Solution</summary>\n\n```python\n{code}\n```\n\n</details>"

    def _with_check(self, function: list[str]) -> str:
        numpy = ["import numpy as np", ""] if "np." in self._parsed()[0] else []  # whatever the cells above import
        return "\n".join([*numpy, IMPORT, "", "", *function, "", "", f"check.{self.name}({self.name})"])

    def _parsed(self) -> tuple[str, ast.FunctionDef]:
        source = inspect.getsource(self.solution)
        (function,) = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
        return source, function


check = SimpleNamespace()


EXERCISES: dict[str, Exercise] = {}


def exercise(verify: Callable[[Callable], None], faulty: Callable | None = None) -> Callable[[Callable], Callable]:
    """Decorate a solution: makes it an :class:`Exercise` that notebooks call as ``check.<its name>``."""

    def register(solution: Callable) -> Callable:
        made = EXERCISES[solution.__name__] = Exercise(solution, verify, faulty)
        setattr(check, solution.__name__, made.tell)
        return solution

    return register


def _from_the_answer(trace: TracebackType | None, answer: Callable) -> TracebackType | None:
    """The part of a traceback that begins in the reader's function; None if the error was raised outside of it."""
    code = getattr(answer, "__code__", None)
    found = trace
    while found is not None and found.tb_frame.f_code is not code:
        found = found.tb_next
    return found


def _watched(answer: Callable) -> Callable:
    """The answer, but an untouched hole says so."""

    @functools.wraps(answer)
    def watched(*arguments: object) -> object:
        try:
            result = answer(*arguments)
        except NotImplementedError:
            raise NotDone from None
        if result is ...:
            raise NotDone
        if result is None:
            raise WrongAnswer("Your function returns nothing (None): end it with 'return' and the result.")
        return result

    return watched
