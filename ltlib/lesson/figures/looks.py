"""One table of colours: a method has the same colour in every figure of the course."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ltlib.lesson.figures.figure import COLOURS, MARKERS

METHOD_COLOURS = {
    "cross entropy": COLOURS[0],
    "balanced softmax": COLOURS[2],
    "logit adjustment": "#332288",
    "resampling": "#ca9161",
    "reweighting": "#999933",
    "mixup": COLOURS[9],
    "crt": "#b8860b",
    "lws": "#661100",
    "mislas": COLOURS[4],
    "reslt": "#d4578f",
    "at": COLOURS[1],
    "alp": "#44aa99",
    "trades": "#332288",
    "at bsl": "#117733",
    "bgat": "#882255",
    "lbgat": "#b2182b",
}
OTHER_NAMES = {"natural": "cross entropy", "plain": "cross entropy", "lbgat0": "lbgat", "lbgat6": "lbgat"}


def method_of(label: str) -> str | None:
    """The method that a label begins with: ``"LBGAT0 + CE, seed 1"`` is ``"lbgat"``; None if it names no method."""
    words = re.sub(r"[^a-z0-9]+", " ", label.lower()).strip()
    known = [*METHOD_COLOURS, *OTHER_NAMES]
    found = [name for name in known if words == name or words.startswith(f"{name} ")]
    if not found:
        return None
    name = max(found, key=len)
    return OTHER_NAMES.get(name, name)


def looks(labels: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker of each label, as keywords of matplotlib.

    The colour is that of the method. Variants of one method in the same figure differ in their markers. Labels that
    name no method, such as seeds, take the colours that are left.
    """
    labels = list(labels)
    methods = {label: method_of(label) for label in labels}
    used = {METHOD_COLOURS[method] for method in methods.values() if method}
    free = [colour for colour in COLOURS if colour not in used]
    found, variants, others = {}, {}, 0
    for label, method in methods.items():
        if method:
            variant = variants[method] = variants.get(method, -1) + 1
            found[label] = {"color": METHOD_COLOURS[method], "marker": MARKERS[variant % len(MARKERS)]}
        else:
            found[label] = {"color": free[others % len(free)], "marker": MARKERS[others % len(MARKERS)]}
            others += 1
    return found
