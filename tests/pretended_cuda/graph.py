"""``torch.cuda.CUDAGraph`` on the pretended device: what is recorded is not computed, a replay computes it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves


class Graph:
    """The recorded operators, on the recorded tensors.

    Until the first replay, tensors made during the recording hold NaN, as memory does that no kernel has written to.
    """

    def __init__(self, gpu):
        self.gpu, self.calls, self.kept, self.made = gpu, [], {}, {}

    def before(self, written: list[Tensor]) -> None:
        """Keep the values that the recording is about to write over: a real one would not touch them."""
        for value in written:
            if _place(value) not in self.made:
                self.kept.setdefault(id(value), (value, value.detach().clone()))

    def saw(self, function, args: tuple, kwargs: dict, out: object) -> None:
        """Remember an operator, what it was given and which of its results are new memory."""
        given = {_place(t) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        fresh = [t for t in tree_leaves(out) if isinstance(t, Tensor) and _place(t) not in given]
        self.made |= {_place(t): t for t in fresh}
        self.calls.append((function, args, kwargs, out, {id(t) for t in fresh}))

    @contextlib.contextmanager
    def recording(self, mode: str) -> Iterator[None]:
        """Record what happens inside the block, in this capture error mode."""
        self.mode, state = mode, self.gpu.generator.get_state()
        self.gpu.recording = self
        try:
            yield
        finally:
            self.gpu.recording = None
            self.gpu.generator.set_state(state)  # a recording draws nothing
            with _disable_current_modes(), torch.no_grad():
                for value, before in self.kept.values():
                    value.copy_(before)
                for value in self.made.values():  # and computes nothing
                    if value.is_floating_point():
                        value.fill_(float("nan"))
            self.kept = {}

    def replay(self) -> None:
        """Compute everything again, into the same memory."""
        self.gpu.replays += 1
        with _disable_current_modes(), torch.no_grad():
            for function, args, kwargs, out, fresh in self.calls:
                again = function(*args, **kwargs)
                for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                    if id(old) in fresh:
                        old.copy_(new)


def _place(t: Tensor) -> int:
    return t.untyped_storage().data_ptr()
