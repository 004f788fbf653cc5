"""A card per method: what it does, its equation, its code, its cost, our numbers and the papers', where to read on.

Everything on a card comes from the method's own file, the published numbers and the stored studies. A new method
therefore has a card as soon as it is registered:

* the idea is the docstring of its class, and of its file if the file is about one paper;
* the equations are the comments over the lines of its loss and of the functions that the loss calls, which is the
  convention of ``ltlib/methods``;
* what is known to differ between the paper and its released code is the section ``Paper against code:`` of the
  docstring of its class.

``python -m ltlib explain METHOD`` prints a card, and the web book has a page for each.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ltlib.errors import InputError, check_choice
from ltlib.experiments.costs import price
from ltlib.experiments.experiment import Experiment
from ltlib.methods import METHODS
from ltlib.methods.method import Method, hyperparameters
from ltlib.results import papers, records
from ltlib.results.record import Record
from ltlib.results.table import Row, table

# The functions in which a method computes what it trains and what it predicts, in the order in which they are read.
COMPUTING = ("stages", "loss", "terms", "combine", "classifier_loss", "classify", "logits")
MOST_OF_ONE_PAPER = 3  # methods in one file; a file of more is a collection
METRICS = ("accuracy", "accuracy few", "ECE", "robust accuracy")
HEADINGS = ("Args", "Raises", "Returns", "Attributes", "Paper against code")


@dataclass(frozen=True)
class Card:
    """What there is to say of one method.

    Attributes:
        name, label: on the command line, and in tables.
        idea: paragraphs.
        equations: as they are written over the lines of the code.
        code: pairs of a qualified name and its source.
        settings: name and published default of each hyper-parameter.
        cost: operations of training relative to cross-entropy on CIFAR-10-LT; None where it is not known.
        ours: rows of the stored studies.
        theirs: numbers that papers report.
        differences: between the paper and the released code.
        reading: addresses of papers.
    """

    name: str
    label: str
    idea: tuple[str, ...]
    equations: tuple[str, ...]
    code: tuple[tuple[str, str], ...]
    settings: dict[str, object]
    cost: float | None
    ours: tuple[Row, ...]
    theirs: tuple[papers.Published, ...]
    differences: tuple[str, ...]
    reading: tuple[str, ...]


def card(name: str, stored: Sequence[Record] | None = None) -> Card:
    """The card of a method.

    Args:
        name: a key of ``ltlib.methods.METHODS``.
        stored: records to take numbers from, by default those of all studies.

    Raises:
        InputError: no method is called so.
    """
    check_choice("method", name, METHODS)
    method = METHODS[name]
    stored = stored if stored is not None else records.measured(records.names())
    sections = _sections(inspect.getdoc(method) or "")
    code = tuple(_code(method))
    module = inspect.getdoc(inspect.getmodule(method)) or ""
    of_one_paper = sum(other.__module__ == method.__module__ for other in METHODS.values()) <= MOST_OF_ONE_PAPER
    about = _sections(module)[""] if of_one_paper else []
    return Card(
        name=name,
        label=method.label,
        idea=(*sections[""], *about),
        equations=tuple(dict.fromkeys(e for _, source in code for e in _equations(source))),
        code=code,
        settings=hyperparameters(method),
        cost=_cost(name),
        ours=tuple(table([r for r in stored if r.label == method.label], METRICS)),
        theirs=tuple(line for line in papers.read() if line.label == method.label),
        differences=tuple(sections.get("Paper against code", ())),
        reading=tuple(f"https://arxiv.org/abs/{n}" for n in dict.fromkeys(_arxiv(inspect.getdoc(method), module))),
    )


def _sections(doc: str) -> dict[str, list[str]]:
    """The paragraphs of a docstring by heading; "" has those before the first heading. A list item is a paragraph."""
    found: dict[str, list[str]] = {"": []}
    heading = ""
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[*-] |\w[\w ]*:\n))", doc):
        first, _, rest = block.strip().partition("\n")
        if first.rstrip(":") in HEADINGS and first.endswith(":"):
            heading, block = first.rstrip(":"), rest
        text = " ".join(block.split()).removeprefix("* ").removeprefix("- ")
        text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")
        if text:
            found.setdefault(heading, []).append(text)
    return found


def _code(method: type[Method]) -> list[tuple[str, str]]:
    """What computes the loss and the logits: functions of its class or of the nearest base that is not the interface,
    and the functions of ``ltlib.methods`` that these call."""
    found: dict[str, str] = {}
    waiting = list(COMPUTING)
    for name in waiting:
        owner = next((base for base in method.__mro__ if name in vars(base)), Method)
        if owner is not Method and inspect.isfunction(vars(owner).get(name)):
            source = _source(vars(owner)[name])
            found[f"{owner.__module__}.{owner.__qualname__}.{name}"] = source
            waiting += [called for called in re.findall(r"self\.(\w+)\(", source) if called not in waiting]
    text, module = "\n".join(found.values()), inspect.getmodule(method)
    for name, thing in vars(module).items():
        of_methods = inspect.isfunction(thing) and thing.__module__.startswith("ltlib.methods")
        if of_methods and re.search(rf"\b{name}\(", text):
            found[f"{thing.__module__}.{name}"] = _source(thing)
    return list(found.items())


def _source(thing: Callable) -> str:
    return textwrap.dedent(inspect.getsource(thing)).rstrip()


def _equations(source: str) -> list[str]:
    """Comments, and lines of docstrings, that are equations: they define a symbol or hold a loss."""
    comments = re.findall(r"(?m)^\s*#\s*(.+)$|\S\s\s#\s+(.+)$", source)
    lines = [text for pair in comments for text in pair if text]
    lines += [line.strip().removeprefix('"""').removesuffix('"""') for line in source.splitlines() if '"""' in line]
    return [line for line in lines if re.search(r"^[^=]{1,16}\s=\s\S|\b(CE|KL|MSE)\(", line)]


def _cost(name: str) -> float | None:
    """Operations of training in the paper's recipe on CIFAR-10-LT, in units of those of cross-entropy."""
    try:
        this, plain = (price(Experiment(m, "cifar10", profile="paper")) for m in (name, "cross_entropy"))
    except InputError:
        return None
    return this.operations / plain.operations


def _arxiv(*texts: str | None) -> list[str]:
    return [number for text in texts for number in re.findall(r"\b(\d{4}\.\d{5})\b", text or "")]


def as_markdown(of: Card) -> str:
    """The card as a page."""
    lines = [f"# {of.label}", "", f"`--method {of.name}`", "", *(f"{text}\n" for text in of.idea)]
    if of.equations:
        lines += ["## Equation", "", "```text", *of.equations, "```", ""]
    lines += ["## Code", ""]
    for name, source in of.code:
        lines += [f"`{name}`", "", "```python", source, "```", ""]
    if of.settings:
        lines += ["## Settings", "", "| name | published default |", "| --- | --- |"]
        lines += [f"| `{name}` | `{value!r}` |" for name, value in of.settings.items()] + [""]
    lines += ["## Numbers", "", *_numbers(of), "## Paper against code", ""]
    lines += [f"- {text}" for text in of.differences] or ["Nothing is known to differ."]
    lines += ["", "## Read on", "", *(f"- <{address}>" for address in of.reading), ""]
    return "\n".join(lines)


def _numbers(of: Card) -> list[str]:
    """Cost, our rows and the papers'."""
    lines = []
    if of.cost is not None:
        lines += [
            f"Training costs {of.cost:.2g} times the operations of cross-entropy, by the recipe on CIFAR-10-LT.",
            "",
        ]
    if of.ours:
        lines += ["Measured here, mean over seeds with Student's 95 % interval:", ""]
        lines += [
            "| study | data | IF | metric | mean | interval | seeds |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        lines += [f"| {' | '.join(_cells(row))} |" for row in of.ours] + [""]
    else:
        lines += ["No stored study has measured it yet.", ""]
    if of.theirs:
        lines += ["Reported by papers:", "", "| paper | data | IF | backbone | metric | value | verified | source |"]
        lines += ["| --- | --- | --- | --- | --- | --- | --- | --- |"]
        for line in of.theirs:
            factor = "" if line.imbalance_factor is None else f"{line.imbalance_factor:g}"
            cells = (line.paper, line.dataset, factor, line.backbone, line.metric, f"{line.value:.1%}", line.verified)
            lines.append(f"| {' | '.join((*cells, line.source))} |")
        lines.append("")
    return lines


def _cells(row: Row) -> list[str]:
    first, show = row.first, row.metric.show
    inside = "one seed" if row.spread.low is None else f"{show(row.spread.low)} to {show(row.spread.high)}"
    metric = f"{row.metric.name}, {row.attack}" if row.attack else row.metric.name
    return [first.study, first.data["name"], first.imbalance, metric, show(row.mean), inside, str(row.n)]
