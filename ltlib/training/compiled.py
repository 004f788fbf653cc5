"""Two ways to spare Python and small kernels: networks translated by torch.compile, steps recorded as a CUDA graph.

Both give the results of the plain step up to rounding; the tests say how close.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ltlib import paths
from ltlib.data.loader import Batch
from ltlib.models import Network


def compile_networks(method: nn.Module) -> None:
    """Translate every network of a method when it is first used; what was translated is kept for later runs."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(paths.cache_root() / "compiled"))
    for module in method.modules():
        if isinstance(module, Network):
            module.backbone.compile(dynamic=False)
            module.backbone.maps = torch.compile(module.backbone.maps, dynamic=False)


def eager() -> contextlib.AbstractContextManager:
    """Inside, nothing is translated: for sizes and modes that are not worth it."""
    return torch.compiler.set_stance("force_eager")


class CapturedStep:
    """A step of training as one CUDA graph: recorded once, then replayed without a word from Python.

    The first steps are taken as they come, on a stream of their own, so that all memory and every kernel is there
    when the recording begins. The random numbers go on from replay to replay.

    Args:
        step: takes a batch and returns a tensor, without waiting for the device.
    """

    warm_up = 3

    def __init__(self, step: Callable[[Batch], Tensor]):
        self.step, self.taken = step, 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: Batch, _share: float) -> Tensor:  # 1: a graph is for one process
        if self.graph is None:
            if self.taken < self.warm_up:
                self.taken += 1
                return self._beside(batch)
            self._record(batch)
        if batch.y.shape != self.batch.y.shape:  # the last batch of an epoch may be smaller
            return self.step(batch)
        self.batch.x.copy_(batch.x)
        self.batch.y.copy_(batch.y)
        self.graph.replay()
        return self.result.clone()

    def _beside(self, batch: Batch) -> Tensor:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            result = self.step(batch)
        torch.cuda.current_stream().wait_stream(stream)
        return result

    def _record(self, batch: Batch) -> None:
        """Record the step, on copies of the batch that the graph will read from ever after; nothing is computed."""
        self.batch = Batch(batch.x.clone(), batch.y.clone())
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.result = self.step(self.batch)
        self.graph = graph
