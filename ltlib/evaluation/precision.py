"""What "float32" means: 24 bits of precision, on every GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

import torch

# Since torch 2.9 each kind of operation has a switch of its own.
OPERATIONS = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")

Switch = tuple[Callable[[], Any], Callable[[Any], None], Any]  # how it is read and written; its value without TF32


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Switch TF32 off for the block, and give the user's settings back afterwards.

    GPUs since Ampere compute float32 convolutions in TF32 unless told otherwise. TF32 keeps 11 of the 24 bits of
    precision, while the results of the papers were computed with all of them.
    """
    switches = _readable_switches()
    before = [read() for read, _, _ in switches]
    try:
        for _, write, off in switches:
            write(off)
        yield
    finally:
        for (_, write, _), setting in zip(switches, before, strict=True):
            write(setting)


def _readable_switches() -> list[Switch]:
    """The older switches and then the newer ones, which the older ones change.

    An older switch that contradicts a newer one is left out: torch refuses to read it, and the newer one decides.
    """
    backends: Any = torch.backends
    newer = OPERATIONS if hasattr(backends, "fp32_precision") else ()
    switches = [
        _attribute(backends.cudnn, "allow_tf32", False),
        _attribute(backends.cuda.matmul, "allow_tf32", False),
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"),
        *(_attribute(attrgetter(name)(backends), "fp32_precision", "ieee") for name in newer),
    ]
    readable = []
    for switch in switches:
        with contextlib.suppress(RuntimeError):
            switch[0]()
            readable.append(switch)
    return readable


def _attribute(owner: Any, name: str, off: Any) -> Switch:
    return lambda: getattr(owner, name), lambda value: setattr(owner, name, value), off
