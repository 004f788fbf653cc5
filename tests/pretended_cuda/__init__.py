"""A CUDA device that is not there: real values on the CPU behind tensors that say ``cuda:0``.

Every operator that PyTorch dispatches is seen. It is refused where CUDA would refuse it (tensors of two devices, a wait
or a transfer while a graph is recorded, an operator without a deterministic kernel), and noted where the host would
wait. The device has a random generator of its own, as a real one has, and CUDA graphs.

    with pretend_cuda() as gpu:
        method = gpu.move(method)            # parameters and buffers
        x = gpu.tensor(x)                    # or x.to("cuda"), torch.rand(..., device="cuda")
        ...
        gpu.waits, gpu.transfers, gpu.kernels

``pretend_mps`` is an Apple GPU: it refuses float64 and what torch has no Apple kernel for.

It says nothing about speed, memory, races between streams, or what cuDNN and cuBLAS do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import numpy as np
import torch
import torch._dynamo  # reads functions of torch when it is imported, which must not happen while they are replaced
import torch.nn.utils.clip_grad
from torch.optim.optimizer import Optimizer

from tests.pretended_cuda.device import CPU, CUDA, MPS, CudaTensor, Gpu
from tests.pretended_cuda.graph import Graph

NUMPY_DRAWS = ("default_rng", "beta", "choice", "normal", "permutation", "rand", "randint", "randn", "uniform")

__all__ = ["CUDA", "MPS", "CudaTensor", "Gpu", "pretend_cuda", "pretend_mps"]


class Stream:
    """``torch.cuda.Stream``: the operators of the pretended device are computed at once, so streams are all alike."""

    def __init__(self, *_, **__):
        pass

    def wait_stream(self, other: Stream) -> None:
        """All work of the other stream is done already."""

    def synchronize(self) -> None:
        """All work is done already."""


@contextlib.contextmanager
def pretend_cuda(bfloat16: bool = True, name: str = "a pretended GPU", free: int = 8 * 2**30) -> Iterator[Gpu]:
    """Let torch find one CUDA device inside the block.

    Args:
        bfloat16: whether it computes in bfloat16, as GPUs since Ampere do; without, it says that it is a Turing GPU.
        name: what it is called.
        free: bytes of memory that it says are free.
    """
    gpu = Gpu(CUDA)
    patches = [mock.patch.object(torch.cuda, n, v) for n, v in _cuda(gpu, bfloat16, name, free).items()]
    with _running(gpu, [*patches, *_pinning(gpu)]):
        yield gpu


@contextlib.contextmanager
def pretend_mps() -> Iterator[Gpu]:
    """Let torch find an Apple GPU inside the block: without float64, graphs, and a fused step that can be left out.

    What it refuses is read from torch's source. None of it was compared with a real one.
    """
    gpu = Gpu(MPS)
    answers = {
        "get_rng_state": gpu.generator.get_state,
        "set_rng_state": gpu.generator.set_state,
        "manual_seed": gpu.generator.manual_seed,
        "synchronize": lambda: gpu.wait("synchronize"),
    }
    patches = [mock.patch.object(torch.mps, name, answer) for name, answer in answers.items()]
    with _running(gpu, [*patches, mock.patch.object(torch.backends.mps, "is_available", return_value=True)]):
        yield gpu


@contextlib.contextmanager
def _running(gpu: Gpu, patches: list) -> Iterator[None]:
    Gpu.current = gpu
    draws = [mock.patch.object(np.random, name, _noted(gpu, name)) for name in NUMPY_DRAWS]
    with contextlib.ExitStack() as stack:
        for patch in [*patches, *_blind_spots(gpu.device), *draws]:
            stack.enter_context(patch)
        stack.enter_context(gpu)
        yield


def _cuda(gpu: Gpu, bfloat16: bool, name: str, free: int) -> dict[str, object]:
    """What ``torch.cuda`` answers."""

    @contextlib.contextmanager
    def recording(graph: Graph, pool=None, stream=None, capture_error_mode: str = "global"):
        with graph.recording(capture_error_mode):
            yield

    return {
        "_lazy_init": lambda: None,
        "_is_in_bad_fork": lambda: False,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda *_: None,
        "get_device_name": lambda *_: name,
        "get_device_capability": lambda *_: (9, 0) if bfloat16 else (7, 5),
        "is_bf16_supported": lambda including_emulation=True: bfloat16 or including_emulation,
        "mem_get_info": lambda *_: (free, 2 * free),
        "max_memory_allocated": lambda *_: 0,
        "reset_peak_memory_stats": lambda *_: None,
        "empty_cache": lambda: None,
        "synchronize": lambda *_: gpu.wait("synchronize"),
        "get_rng_state": lambda *_: gpu.generator.get_state(),
        "set_rng_state": lambda state, *_: gpu.generator.set_state(state),
        "manual_seed": gpu.generator.manual_seed,
        "manual_seed_all": gpu.generator.manual_seed,
        "Stream": Stream,
        "current_stream": lambda *_: Stream(),
        "stream": lambda s: contextlib.nullcontext(),
        "CUDAGraph": lambda **_: Graph(gpu),
        "graph": recording,
        "is_current_stream_capturing": lambda: gpu.recording is not None,
    }


def _pinning(gpu: Gpu) -> list:
    """Memory of the host that a GPU can read by itself. To pin it is forbidden while a graph is recorded globally."""

    def pin(self: torch.Tensor, *_) -> torch.Tensor:
        if gpu.recording and gpu.recording.mode == "global":
            raise RuntimeError("cudaHostAlloc: operation not permitted when stream is capturing")
        copy = self.clone()
        copy.pretended_pinned = True
        return copy

    return [
        mock.patch.object(torch.Tensor, "pin_memory", pin),
        mock.patch.object(torch.Tensor, "is_pinned", lambda self, *_: getattr(self, "pretended_pinned", False)),
    ]


def _blind_spots(pretended: torch.device) -> list:
    """Places where torch asks C++ for the device, or where the values never pass through an operator."""
    tensor, autocast = torch.tensor, torch.autocast
    enabled, dtype_of = torch.is_autocast_enabled, torch.get_autocast_dtype

    def from_host(data, *, device=None, **kwargs):
        if device is None or torch.device(device).type != pretended.type:
            return tensor(data, device=device, **kwargs)
        return tensor(data, device=CPU, **kwargs).to(pretended)

    def known(kind):  # to C++ the tensors are on the CPU, hence autocast's list for CPUs
        return "cpu" if kind == pretended.type else kind

    grouping = "_group_tensors_by_device_and_dtype"
    return [
        mock.patch.object(torch._C, "_is_autocast_available", return_value=True),
        mock.patch.object(torch.nn.utils.clip_grad, grouping, _grouped),
        mock.patch.object(Optimizer, grouping, staticmethod(_grouped)),
        mock.patch.object(torch, "tensor", from_host),
        mock.patch.object(torch, "autocast", lambda kind, *args, **kwargs: autocast(known(kind), *args, **kwargs)),
        mock.patch.object(torch, "is_autocast_enabled", lambda kind: enabled(known(kind))),
        mock.patch.object(torch, "get_autocast_dtype", lambda kind: dtype_of(known(kind))),
    ]


def _grouped(lists: list[list], with_indices: bool = False) -> dict:
    """Rows of tensors by device and type, which torch's own function asks C++ for."""
    groups: dict = {}
    for i, row in enumerate(zip(*lists, strict=True)):
        first = next(t for t in row if t is not None)
        columns, indices = groups.setdefault((first.device, first.dtype), ([[] for _ in lists], []))
        for column, t in zip(columns, row, strict=True):
            column.append(t)
        indices.append(i)
    return groups


def _noted(gpu: Gpu, name: str):
    """A function of NumPy that notes its calls."""
    plain = getattr(np.random, name)

    def draw(*args, **kwargs):
        gpu.host_draws.append(f"numpy.random.{name}")
        return plain(*args, **kwargs)

    return draw
