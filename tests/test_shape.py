"""No function of the package is longer than 60 lines, and none has more than 10 arguments without saying why."""

import ast

import pytest

from ltlib import paths

LINES, ARGUMENTS = 60, 10
REASON = "arguments are many because"  # in the docstring of the function, or of the class that it makes


def too_large(source: str) -> list[str]:
    """One line on each function of ``source`` above a limit."""
    return [fault for node, owner in _functions(ast.parse(source)) for fault in _faults(node, owner)]


def _functions(tree: ast.AST, owner: ast.AST | None = None):
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, owner
        yield from _functions(node, node if isinstance(node, ast.ClassDef) else None)


def _faults(function: ast.FunctionDef, owner: ast.ClassDef | None):
    lines = function.end_lineno - function.lineno + 1
    if lines > LINES:
        yield f"{function.name} has {lines} lines"
    given = function.args
    names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg) if a]
    count = len(names) - (owner is not None and names[:1] in (["self"], ["cls"]))
    described = owner if owner is not None and function.name == "__init__" else function
    if count > ARGUMENTS and REASON not in " ".join((ast.get_docstring(described) or "").split()):
        yield f"{function.name} has {count} arguments and no reason"


def test_functions_are_short_and_their_arguments_few():
    files = sorted((paths.project() / "ltlib").rglob("*.py"))
    assert len(files) > 100
    found = [f"{file.name}: {fault}" for file in files for fault in too_large(file.read_text(encoding="utf-8"))]
    assert not found, found


TEN = ", ".join(f"a{i}" for i in range(10))
WHY = '"""Eleven. The arguments are\n    many because each is a name that overrides can use."""'


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f():\n" + "    x = 1\n" * 59, []),
        ("def f():\n" + "    x = 1\n" * 60, ["f has 61 lines"]),
        ("class A:\n    async def f(self):\n" + "        x = 1\n" * 60, ["f has 61 lines"]),
        (f"def f({TEN}): ...", []),
        (f"def f({TEN}, *, b): ...", ["f has 11 arguments and no reason"]),
        (f"def f({TEN}, **b): ...", ["f has 11 arguments and no reason"]),
        (f"def f({TEN}, b):\n    {WHY}", []),
        (f"class A:\n    def f(self, {TEN}): ...", []),
        (f"class A:\n    def __init__(self, {TEN}, b): ...", ["__init__ has 11 arguments and no reason"]),
        (f"class A:\n    {WHY}\n    def __init__(self, {TEN}, b): ...", []),
        (f"class A:\n    {WHY}\n    def f(self, {TEN}, b): ...", ["f has 11 arguments and no reason"]),
        (f"def g():\n    def f({TEN}, b): ...", ["f has 11 arguments and no reason"]),
    ],
)
def test_a_planted_fault_is_found(source, found):
    assert too_large(source) == found
