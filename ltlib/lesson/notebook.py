"""What a notebook needs before its first idea: checked parameters, a look at what will happen, the real source."""

from __future__ import annotations

import ast
import html
import inspect
import os
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from ltlib import __version__, paths
from ltlib.errors import InputError, nearest
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.plan import plan
from ltlib.training.device import choose_device, hardware, resolve_precision

PATHS = ("PAPERMILL_INPUT_PATH", "PAPERMILL_OUTPUT_PATH")


def setup(
    *, expects: Mapping[str, str] | None = None, instead: Mapping[str, str] | None = None, **parameters: object
) -> Experiment:
    """Check the parameters of a notebook and print what they mean.

    Args:
        expects: profile -> how long the notebook takes with it, such as ``{"lesson": "about 40 s"}``.
        instead: fact -> what to print in its place, for a notebook that may leave the experiment's data aside; an
            empty text leaves the line out.
        parameters: the names of the parameters cell. Names that are fields of `Experiment` make the
            experiment; others belong to the notebook alone.

    Raises:
        InputError: a value is not allowed, or papermill injected a name that the notebook does not have.
    """
    refuse_unknown(injected_names(), parameters)
    fields = Experiment.__dataclass_fields__
    experiment = Experiment.parse(**{name: value for name, value in parameters.items() if name in fields})
    print("\n".join(summary(experiment, expects or {}, instead or {})))
    return experiment


def summary(
    experiment: Experiment, expects: Mapping[str, str], instead: Mapping[str, str] = MappingProxyType({})
) -> list[str]:
    """One line for each fact about what will happen; ``python -m ltlib train --dry-run`` prints all of them.

    Raises:
        InputError: the experiment cannot be run as it is.
    """
    planned = plan(experiment)
    recipe, data, run = planned.recipe, planned.data, planned.run
    device = choose_device()
    facts = {
        "device": f"{hardware(device)['device']}, precision {resolve_precision(recipe.precision, device)}",
        "profile": f"{experiment.profile}: {recipe.backbone}, {planned.epochs} epochs",
        "data": f"{data.name}, {len(data.train):,} training images, from {data.counts.max():,} to "
        f"{data.counts.min():,} per class",
        "imbalance": _imbalance(experiment),
        "seed": str(experiment.seed),
        "changes": experiment.overrides,
        "run": f"{run.id} ({run.state})",
        "time": expects.get(experiment.profile),
    } | dict(instead)
    return [f"Long-Tail Lab {__version__}", *(f"{name:<11}{text}" for name, text in facts.items() if text)]


def _imbalance(experiment: Experiment) -> str:
    if experiment.imbalance_type == "natural":
        return "natural, the data as they are"
    return f"{experiment.imbalance_type}, factor {experiment.imbalance_factor:g}"


def refuse_unknown(injected: list[str], known: dict[str, object]) -> None:
    """papermill passes misspelt names on with a warning, and the run then uses the default: refuse them.

    Raises:
        InputError: an injected name is not a parameter of the notebook.
    """
    for name in injected:
        if name not in known:
            raise InputError(f"{name!r} is no parameter of this notebook.{nearest(name, known)}")


def injected_names() -> list[str]:
    """The names that papermill assigned in its own cell; empty where there is none.

    With ``--inject-paths`` papermill also assigns the paths of its files, which are for whoever wants them.
    """
    try:
        from IPython import get_ipython
    except ImportError:
        return []
    shell = get_ipython()
    cells = shell.user_ns.get("In", []) if shell else []
    names = []
    for cell in cells:
        if cell.startswith("# Parameters\n"):
            targets = [node.targets[0] for node in ast.parse(cell).body if isinstance(node, ast.Assign)]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
    return [name for name in names if name not in PATHS]


class Source:
    """The source of functions or classes, as the last value of a cell it shows itself."""

    def __init__(self, objects: tuple[Callable, ...]):
        self.parts = [_find_source(thing) for thing in objects]

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        plain = "\n\n".join(f"# {link or name}\n{code}" for name, link, code in self.parts)
        return {"text/html": "".join(_as_html(*part) for part in self.parts), "text/plain": plain}


def show_source(*objects: Callable) -> Source:
    """The source of functions or classes of the package, as the package runs it, with links to the files.

    Raises:
        InputError: one of them has no Python source.
    """
    return Source(objects)


def _find_source(thing: Callable) -> tuple[str, str, str]:
    """Qualified name, link from a notebook to the lines (empty outside the checkout), source."""
    try:
        lines, first = inspect.getsourcelines(thing)
        file, module = inspect.getsourcefile(thing), inspect.getmodule(thing)
    except (TypeError, OSError):
        file, module = None, None
    if not file or not module:
        raise InputError(f"show_source shows functions, methods and classes written in Python; got {thing!r}.")
    file = Path(file).resolve()
    name = f"{module.__name__}.{getattr(thing, '__qualname__', '')}".rstrip(".")
    link = ""
    if file.is_relative_to(paths.project()):
        # Relative to notebooks/, so that it works in JupyterLab and on GitHub alike.
        relative = Path(os.path.relpath(file, paths.project() / "notebooks")).as_posix()
        link = f"{relative}#L{max(first, 1)}-L{max(first, 1) + len(lines) - 1}"
    return name, link, textwrap.dedent("".join(lines)).rstrip()


def _as_html(name: str, link: str, code: str) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    # Colours stand in the tags themselves: a style sheet would not survive GitHub. The frame sets a text
    # colour of its own, so that a dark JupyterLab stays legible.
    body = highlight(code, PythonLexer(), HtmlFormatter(noclasses=True, nowrap=True))
    title = f'<a href="{html.escape(link)}">{name}</a>' if link else name
    frame = "background:#f8f8f8;color:#1f2328;border:1px solid #d0d7de"
    shape = "padding:0.7em;overflow-x:auto;white-space:pre;line-height:1.35"
    return f'<div>{title}<pre style="{frame};{shape}">{body}</pre></div>'
