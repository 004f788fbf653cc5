"""Every default as the identity of runs knows it: ``python -m tests.experiments.defaults`` stores them again.

Defaults are left out of the identity of a run. A run of another default must not be taken for one of this, so a changed
default needs another ``REVISION`` in ``ltlib/experiments/plan.py``. A new name does not.
"""

import json
from dataclasses import asdict
from pathlib import Path

from ltlib.experiments.plan import DECIDES_NOTHING, REVISION
from ltlib.experiments.recipe import Recipe
from ltlib.methods import METHODS
from ltlib.methods.method import hyperparameters

FILE = Path(__file__).with_name("defaults.json")


def now() -> dict:
    """The defaults of the recipe and of each method, and the revision."""
    methods = {name: hyperparameters(method) for name, method in METHODS.items()}
    return json.loads(json.dumps({"revision": REVISION, "settings": {"Recipe": asdict(Recipe())} | methods}))


def stored() -> dict:
    """The same, as they were stored."""
    return json.loads(FILE.read_text())


def changed() -> list[str]:
    """Names whose default is another one than was stored. A name that is new or gone is none of them."""
    settings = now()["settings"]
    return [
        f"{owner}.{name}"
        for owner, values in stored()["settings"].items()
        for name, value in values.items()
        if name not in DECIDES_NOTHING and settings.get(owner, {}).get(name, value) != value
    ]


if __name__ == "__main__":
    if FILE.exists() and changed() and now()["revision"] == stored()["revision"]:
        raise SystemExit(f"raise REVISION in ltlib/experiments/plan.py first: {', '.join(changed())} changed")
    FILE.write_text(json.dumps(now(), indent=1) + "\n")
