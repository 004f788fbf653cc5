"""YAML without its surprises: ``010`` is not 8, ``2024-01-02`` is not a date, and no short text fills the memory."""

from __future__ import annotations

import re

import yaml

DEEPEST = 20  # levels of lists and maps; a sweep file has four


class Surprise(yaml.YAMLError):
    """YAML would read something else than what is written; the message says what to write instead."""


class PlainLoader(yaml.SafeLoader):
    """Builds plain data, and refuses what YAML reads otherwise than most readers do, and what can grow without bound.

    A name that is given twice is refused, because YAML keeps the last one. So is an alias (``*name``), with which a few
    lines can stand for a list of any size.
    """

    def __init__(self, stream):
        super().__init__(stream)
        self.depth = 0

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            alias = self.peek_event()
            raise Surprise(f"line {_line(alias)}: the alias *{alias.anchor} is not allowed; write the value out")
        self.depth += 1
        if self.depth > DEEPEST:
            raise Surprise(f"line {_line(self.peek_event())}: more than {DEEPEST} lists or maps inside each other")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if isinstance(key.value, str):
                if key.value in seen:
                    raise Surprise(f"line {_line(key)}: {key.value[:40]!r} is given twice; keep one")
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _line(of: yaml.Node | yaml.Event) -> int:
    return of.start_mark.line + 1


def _whole_number(loader: PlainLoader, node: yaml.ScalarNode) -> int:
    """YAML also reads ``010`` (8), ``0x10`` (16), ``1_000`` and ``1:30`` (90) as whole numbers."""
    if not re.fullmatch(r"[+-]?(0|[1-9][0-9]{0,30})", node.value):
        raise Surprise(f"line {_line(node)}: {node.value[:40]} must be a plain number such as 10, or a text in quotes")
    return int(node.value)


def _number(loader: PlainLoader, node: yaml.ScalarNode) -> float:
    """YAML also reads ``1:30.5`` (90.5) and ``1_0.5`` as numbers."""
    if ":" in node.value or "_" in node.value:
        raise Surprise(f"line {_line(node)}: {node.value[:40]} must be a plain number such as 0.5, or a text in quotes")
    return loader.construct_yaml_float(node)


def _neither(loader: PlainLoader, node: yaml.Node) -> None:
    kind = node.tag.rpartition(":")[2]
    raise Surprise(f"line {_line(node)}: YAML takes this for a {kind}; write it in quotes if a text is meant")


PlainLoader.add_constructor("tag:yaml.org,2002:int", _whole_number)
PlainLoader.add_constructor("tag:yaml.org,2002:float", _number)
for tag in ("timestamp", "binary", "set", "omap", "pairs"):
    PlainLoader.add_constructor(f"tag:yaml.org,2002:{tag}", _neither)
