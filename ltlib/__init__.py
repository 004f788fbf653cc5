"""ltlib: long-tailed and robust image recognition, written to be read.

ARCHITECTURE.md at the top of the repository says what each folder answers and where to begin reading. Nothing else is
imported here, which keeps ``import ltlib`` instant.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ltlib.data.subset import LongTailed
    from ltlib.methods import Method

__all__ = ["LongTailed", "__version__", "load"]
__version__ = "0.1.0"

# GNU's OpenMP reads this when torch is imported. Its threads wait in a loop, of 300,000 turns if nothing is set. Where
# another program wants the core, the loop uses up their share of it, and each of the many waits of a step then takes
# milliseconds: beside a busy program, a training took seven times as long (data/benchmarks/tried). 1,000 is what
# OpenMP itself takes where it knows that there are more threads than cores.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def load(name: str) -> Method:
    """A trained network that comes with the project, ready to predict; see :mod:`ltlib.results.networks`.

    Args:
        name: such as ``cifar10_lt_paper/mislas``; ``ltlib.results.networks.names()`` lists all.

    Raises:
        InputError: no network is called so, or its file is damaged.
    """
    from ltlib.results import networks

    return networks.load(name)


def __getattr__(name: str):
    """``ltlib.LongTailed``, imported when it is first asked for, because it needs torch."""
    if name == "LongTailed":
        from ltlib.data.subset import LongTailed

        return LongTailed
    raise AttributeError(f"module 'ltlib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
