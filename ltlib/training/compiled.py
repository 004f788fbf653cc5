"""Two ways to spare Python and small kernels: networks translated by torch.compile, steps recorded as a CUDA graph.

A recorded step runs the very kernels of the plain one. A translated network gives its results up to rounding; the
tests say how close.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable
from typing import Any

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
            backbone: Any = module.backbone
            backbone.compile(dynamic=False)
            backbone.maps = torch.compile(backbone.maps, dynamic=False)


def eager() -> contextlib.AbstractContextManager:
    """Inside, nothing is translated: for sizes and modes that are not worth it."""
    return torch.compiler.set_stance("force_eager")


class CapturedStep:
    """A step of training as one CUDA graph: recorded once, then replayed without a word from Python.

    The first ``warm_up`` steps are taken as they come, on a stream of their own, so that all memory and every kernel
    is there when the recording begins. The random numbers continue from replay to replay. All batches must have the
    shape of the first one.

    Attributes:
        failed: why the step could not be recorded; empty if it could. Each step is then taken as it comes.
    """

    warm_up = 3

    def __init__(self) -> None:
        self.taken, self.failed = 0, ""
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, step: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        """What ``step`` returns for the batch; it must not wait for the device."""
        if self.taken < self.warm_up:
            self.taken += 1
            return self._beside(step, batch)
        if self.graph is None and not self.failed:
            self.graph = self._record(step, batch)
        if self.graph is None:
            return step(batch)
        for held, given in zip(_tensors(self.batch), _tensors(batch), strict=True):
            held.copy_(given)
        self.graph.replay()
        return self.result.clone()

    def _beside(self, step: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            result = step(batch)
        torch.cuda.current_stream().wait_stream(stream)
        return result

    def _record(self, step: Callable[[Batch], Tensor], batch: Batch) -> torch.cuda.CUDAGraph | None:
        """Record the step, on copies of the batch that the graph reads from ever after; nothing is computed.

        A thread that reads images ahead pins memory meanwhile, which only ``thread_local`` recording allows.
        """
        self.batch = batch._make(field.clone() if isinstance(field, Tensor) else field for field in batch)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self.result = step(self.batch)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self.failed = str(error).splitlines()[0]
            warnings.warn(
                f"The step could not be recorded as a CUDA graph ({self.failed}), so each step is taken as it comes, "
                f"which is slower; capture=false says so from the start.",
                stacklevel=2,
            )
            return None
        return graph


def _tensors(batch: Batch) -> list[Tensor]:
    return [field for field in batch if isinstance(field, Tensor)]
