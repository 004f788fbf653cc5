"""A card per method: what it does, its equation, its code, its cost, our numbers and the papers', where to read on.

Everything on a card comes from the method's own file, the published numbers and the stored studies. A new method
therefore has a card as soon as it is registered:

* the idea is the docstring of its class, and of its file if the file is about one paper;
* the equations are the comments over the lines of its loss and its logits, and of the functions that these and the
  constructor call, which is the convention of ``ltlib/methods``;
* the symbols are those that all methods share, and the section ``Symbols:`` of the docstring of its class or a base;
* what a setting means is the section ``Args:`` there;
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
from functools import cache

from ltlib.errors import InputError, check_choice
from ltlib.experiments.costs import price
from ltlib.experiments.experiment import Experiment
from ltlib.methods import METHODS
from ltlib.methods.method import Method, hyperparameters
from ltlib.results import papers, records
from ltlib.results.record import Record
from ltlib.results.table import Row, table

# Where a method computes what it trains and what it predicts; the functions that these call follow.
COMPUTING = ("stages", "loss", "logits")
WIDTH = 100  # characters of a line that a page of the book shows without scrolling
MOST_OF_ONE_PAPER = 3  # methods in one file; a file of more is a collection
METRICS = ("accuracy", "accuracy few", "ECE", "robust accuracy")
HEADINGS = ("Args", "Raises", "Returns", "Attributes", "Paper against code", "Symbols")
# A reason that code must give, and no part of the idea.
REASON = re.compile(r"The arguments are many because [^.]*\.")
# Symbols that mean the same in all methods, by their name without the index. A method's own meaning comes first.
SHARED = {
    "L": "the loss that is trained.",
    "z": "the logits of an image, one number per class; z_k is that of class k.",
    "y": "the class of the image.",
    "y_partner": "the class of the image that is mixed in.",
    "k": "any class, of K.",
    "i": "any class, of K.",
    "p": "softmax(z), the predicted probabilities; p_y is that of class y.",
    "n": "training images of a class; n_k is that of class k, and N the sum over all classes.",
    "b": "an image of the batch, of B; in W f + b it is the bias of the classifier.",
    "W": "the rows of the classifier; w_k is that of class k.",
    "w": "a row of the classifier; w_k is that of class k.",
    "f": "the features of the image, which the network hands to its classifier, D numbers.",
    "lambda": "share of the image itself where two images are mixed, drawn for each batch.",
    "CE": "cross-entropy; CE(z, y) is -log p_y.",
    "KL": "Kullback-Leibler divergence of two predictions.",
    "MSE": "mean squared error.",
}
SYMBOL = re.compile(r"[A-Za-z]+(?:_[A-Za-z0-9]+)*")


@dataclass(frozen=True)
class Card:
    """What there is to say of one method.

    Attributes:
        name, label: on the command line, and in tables.
        idea: paragraphs.
        equations: as they are written over the lines of the code.
        symbols: name and meaning of those in the equations.
        code: pairs of a qualified name and its source.
        settings: name and published default of each hyper-parameter.
        meanings: of the settings, by name, where the docstrings say them.
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
    symbols: dict[str, str]
    code: tuple[tuple[str, str], ...]
    settings: dict[str, object]
    meanings: dict[str, str]
    cost: float | None
    ours: tuple[Row, ...]
    theirs: tuple[papers.Published, ...]
    differences: tuple[str, ...]
    reading: tuple[str, ...]


def card(name: str, stored: Sequence[Record] | None = None) -> Card:
    """The card of a method.

    Args:
        name: a key of ``ltlib.methods.METHODS`` or a method's label; large and small letters, spaces, hyphens and
            underscores are the same.
        stored: records to take numbers from, by default those of all studies.

    Raises:
        InputError: no method is called so.
    """
    name = _registered(name)
    method = METHODS[name]
    stored = stored if stored is not None else records.measured(records.names())
    sections = _sections(inspect.getdoc(method) or "")
    code = tuple(_code(method))
    module = inspect.getdoc(inspect.getmodule(method)) or ""
    of_one_paper = sum(other.__module__ == method.__module__ for other in METHODS.values()) <= MOST_OF_ONE_PAPER
    about = _sections(module)[""] if of_one_paper else []
    equations = tuple(dict.fromkeys(e for _, source in code for e in _equations(source)))
    return Card(
        name=name,
        label=method.label,
        idea=(*sections[""], *about),
        equations=equations,
        symbols=_symbols(method, equations),
        code=code,
        settings=hyperparameters(method),
        meanings=_meanings(method),
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
        text = REASON.sub("", re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")).strip()
        if text:
            found.setdefault(heading, []).append(text)
    return found


def _registered(name: str) -> str:
    """The key of a method, given that key or its label in any spelling.

    Raises:
        InputError: no method is called so.
    """
    keys = {_plain(method.label): key for key, method in METHODS.items()} | {_plain(key): key for key in METHODS}
    if _plain(name) not in keys:
        check_choice("method", name, METHODS)
    return keys[_plain(name)]


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()


def _bases(method: type[Method]) -> list[type]:
    """The class of a method and those of its bases that belong to it rather than to the interface."""
    return [base for base in method.__mro__ if issubclass(base, Method) and base is not Method]


def _code(method: type[Method]) -> list[tuple[str, str]]:
    """What computes the loss and the logits, each function before those that it calls, and an extended one before its
    extension. Functions come from ``ltlib.methods`` only."""
    bases, found = _bases(method), {}
    for name in COMPUTING:
        _follow(name, bases, bases, found)
    for base in bases:
        if "__init__" in vars(base):
            _follow_functions(base, _source(vars(base)["__init__"]), found)
    return list(found.items())


def _follow(name: str, among: Sequence[type], bases: Sequence[type], found: dict[str, str]) -> None:
    """Add the first function of this name ``among`` classes, and what it calls, unless it is there."""
    owner = next((base for base in among if inspect.isfunction(vars(base).get(name))), None)
    if owner is None or f"{owner.__module__}.{owner.__qualname__}.{name}" in found:
        return
    source = _source(vars(owner)[name])
    for extended in re.findall(r"super\(\)\.(\w+)\(", source):
        _follow(extended, among[among.index(owner) + 1 :], bases, found)
    found[f"{owner.__module__}.{owner.__qualname__}.{name}"] = source
    for called in re.findall(r"self\.(\w+)\(", source):
        _follow(called, bases, bases, found)
    _follow_functions(owner, source, found)


def _follow_functions(owner: type, source: str, found: dict[str, str]) -> None:
    """Add the functions of ``ltlib.methods`` that a source of this class calls; checks of input are none of them."""
    known = vars(inspect.getmodule(owner))
    for name in re.findall(r"(?<![.\w])(?!check_)(\w+)\(", source):
        thing = known.get(name)
        if inspect.isfunction(thing) and thing.__module__.startswith("ltlib.methods"):
            found.setdefault(f"{thing.__module__}.{name}", _source(thing))


def _source(thing: Callable) -> str:
    return textwrap.dedent(inspect.getsource(thing)).rstrip()


def _equations(source: str) -> list[str]:
    """Comments, and lines of docstrings, that are equations: they define a symbol or hold a loss."""
    comments = re.findall(r"(?m)^\s*#\s*(.+)$|\S\s\s#\s+(.+)$", source)
    lines = [text for pair in comments for text in pair if text]
    lines += [line.strip().removeprefix('"""').removesuffix('"""') for line in source.splitlines() if '"""' in line]
    return [line for line in lines if re.search(r"^[^=]{1,16}\s=\s\S|\b(CE|KL|MSE)\(|\blog p_", line)]


def _symbols(method: type[Method], equations: Sequence[str]) -> dict[str, str]:
    """Name and meaning of the symbols in the equations; the nearest class that explains one is believed."""
    used = {name for line in equations for name in SYMBOL.findall(line)}
    used |= {part for name in used for part in name.split("_")}
    own: dict[str, str] = {}
    explained: set[str] = set()
    for base in _bases(method):
        for text in _sections(inspect.getdoc(base) or "").get("Symbols", []):
            names, _, meaning = text.partition(": ")
            new = [name for name in names.split(", ") if name not in explained]
            if used & set(new):
                own[", ".join(new)] = meaning
            explained |= set(new)
    # With an index of one letter it is the symbol itself: who explains z_j needs no z.
    explained |= {name[:-2] for name in explained if name[-2:-1] == "_"}
    return {name: text for name, text in SHARED.items() if name in used - explained} | own


def _meanings(method: type[Method]) -> dict[str, str]:
    """What the docstrings of a method and its bases say of each setting."""
    found: dict[str, str] = {}
    for base in _bases(method):
        _, _, listed = (inspect.getdoc(base) or "").partition("\nArgs:\n")
        listed = re.split(r"\n(?=\S)", listed)[0]
        for names, text in re.findall(r"(?ms)^    (\w[\w, ]*): (.+?)(?=^    \w|\Z)", listed):
            meaning = re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"`\1`", " ".join(text.split())).replace("``", "`")
            for name in names.split(", "):
                found.setdefault(name, meaning)
                if found[name].startswith("see ") and not meaning.startswith("see "):
                    found[name] = meaning
    return found


def _cost(name: str) -> float | None:
    """Operations of training in the paper's recipe on CIFAR-10-LT, in units of those of cross-entropy."""
    try:
        return _operations(name) / _operations("cross_entropy")
    except InputError:
        return None


@cache
def _operations(name: str) -> float:
    return price(Experiment(name, "cifar10", profile="paper")).operations


def _arxiv(*texts: str | None) -> list[str]:
    return [number for text in texts for number in re.findall(r"\b(\d{4}\.\d{5})\b", text or "")]


def as_markdown(of: Card) -> str:
    """The card as a page."""
    lines = [f"# {of.label}", "", f"`--method {of.name}`", "", *(f"{text}\n" for text in of.idea)]
    if of.equations:
        lines += ["## Equation", "", "```text", *_with_places(of), "```", ""]
        lines += [f"- `{name}`: {meaning}" for name, meaning in of.symbols.items()] + [""]
    lines += ["## Code", ""]
    for name, source in of.code:
        lines += [f"`{name}`", "", "```python", source, "```", ""]
    if of.settings:
        lines += ["## Settings", "", "| name | default | meaning |", "| --- | --- | --- |"]
        for name, value in of.settings.items():
            lines.append(f"| `{name}` | `{_short(value)}` | {of.meanings.get(name, '').replace('|', '/')} |")
        lines.append("")
    lines += ["## Numbers", "", *_numbers(of), "## Paper against code", ""]
    lines += [f"- {text}" for text in of.differences] or ["Nothing is known to differ."]
    lines += ["", "## Read on", "", *(f"- <{address}>" for address in of.reading), ""]
    return "\n".join(lines)


def _numbers(of: Card) -> list[str]:
    """Cost, our rows and the papers'."""
    lines = []
    if of.cost is not None:
        times = f"{of.cost:,.0f}" if of.cost >= 10 else f"{of.cost:.2g}"
        lines += [f"Training costs {times} times the operations of cross-entropy, by the recipe on CIFAR-10-LT.", ""]
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
        lines += ["Reported by papers:", "", "| paper | data | IF | backbone | metric | value | source | source read |"]
        lines += ["| --- | --- | --- | --- | --- | --- | --- | --- |"]
        lines += [f"| {' | '.join(cells)} |" for cells in _reported(of.theirs)] + [""]
    return lines


def _reported(numbers: Sequence[papers.Published]) -> list[list[str]]:
    """Cells of the papers' numbers, those of one setting together; a number in several places is one row."""
    rows: dict[tuple[str, ...], list[papers.Published]] = {}
    in_order = sorted(numbers, key=lambda n: (n.dataset, n.imbalance_factor or 0, n.backbone, n.verified != "yes"))
    for line in in_order:
        factor = "" if line.imbalance_factor is None else f"{line.imbalance_factor:g}"
        metric = papers.METRICS.get(line.metric, line.metric)
        rows.setdefault((line.dataset, factor, line.backbone, metric, f"{line.value:.1%}"), []).append(line)
    found = []
    for setting, lines in rows.items():
        told = [line for line in lines if line.verified == lines[0].verified]
        names, sources = dict.fromkeys(n.paper for n in told), dict.fromkeys(n.source for n in told)
        exact = [source for source in sources if not any(other.startswith(f"{source} ") for other in sources)]
        found.append([", ".join(names), *setting, ", ".join(exact), lines[0].verified])
    return found


def _with_places(of: Card) -> list[str]:
    """The equations, each behind the function that computes it."""
    place = {e: next(name for name, source in of.code if e in source).rpartition(".")[2] for e in of.equations}
    width = max(map(len, place.values()))
    lines = [f"{place[equation]:{width}}  {equation.replace('``', '')}" for equation in of.equations]
    return [part for line in lines for part in textwrap.wrap(line, WIDTH, subsequent_indent=" " * (width + 2))]


def _short(value: object) -> str:
    """A default as a reader types it: 0.0314 for 8 / 255."""
    return f"{value:.4g}" if isinstance(value, float) else repr(value)


def _cells(row: Row) -> list[str]:
    first, show = row.first, row.metric.show
    inside = "one seed" if row.spread.low is None else f"{show(row.spread.low)} to {show(row.spread.high)}"
    metric = f"{row.metric.name}, {row.attack}" if row.attack else row.metric.name
    return [first.study, first.data["name"], first.imbalance, metric, show(row.mean), inside, str(row.n)]
