"""What a notebook needs before its first idea: checked parameters, and a look at what will happen."""

from __future__ import annotations

import ast

from ltlib.errors import InputError, nearest
from ltlib.experiments.experiment import Experiment


def setup(**parameters: object) -> Experiment:
    """Check the parameters of a notebook and print what they mean.

    Args:
        parameters: the names of the parameters cell. Names that are fields of `Experiment` make the
            experiment; others belong to the notebook alone.

    Raises:
        InputError: a value is not allowed, or papermill injected a name that the notebook does not have.
    """
    refuse_unknown(injected_names(), parameters)
    fields = Experiment.__dataclass_fields__
    return Experiment.parse(**{name: value for name, value in parameters.items() if name in fields})


def refuse_unknown(injected: list[str], known: dict[str, object]) -> None:
    """papermill passes misspelt names on with a warning, and the run then uses the default: refuse them.

    Raises:
        InputError: an injected name is not a parameter of the notebook.
    """
    for name in injected:
        if name not in known:
            raise InputError(f"{name!r} is no parameter of this notebook.{nearest(name, known)}")


def injected_names() -> list[str]:
    """The names that papermill assigned in its own cell; empty where there is none."""
    try:
        from IPython import get_ipython
    except ImportError:
        return []
    shell = get_ipython()
    cells = shell.user_ns.get("In", []) if shell else []
    names = []
    for cell in cells:
        if cell.startswith("# Parameters\n"):
            names += [node.targets[0].id for node in ast.parse(cell).body if isinstance(node, ast.Assign)]
    return names
