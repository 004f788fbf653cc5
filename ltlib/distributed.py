"""One run on several devices: what ``torchrun -m ltlib train ...`` needs beyond one process.

Every process (rank) holds the whole method and takes its share of each global batch; DistributedDataParallel averages
the gradients. The batch and the learning rate of a recipe are those of the global batch, so that a recipe means the
same on one device and on eight. All ranks draw the same order of images from the same generator, so that every sampler
is as balanced as on one device; only rank 0 writes.

With one process every function here does nothing, or gives back what it got.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ltlib.errors import InputError

T = TypeVar("T")
DECODING = timedelta(hours=12)  # that rank 0 gets for downloading and decoding while the others wait
patient: list = []  # the group in which they wait, inside process_group()


def world_size() -> int:
    """Processes of this run, as torchrun told; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Number of this process among them; rank 0 writes."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Number of this process on its machine, which is that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the processes that torchrun started, for the block; does nothing in a process started without it.

    A rank that waits longer than ``LTLIB_TIMEOUT`` seconds (600) for the others gives up with an error, so that a
    lost machine never hangs the rest.

    Raises:
        InputError: the timeout is no number above 0.
    """
    if world_size() == 1:
        yield
        return
    text = os.environ.get("LTLIB_TIMEOUT", "600")
    if not text.isdecimal() or int(text) == 0:
        raise InputError(f"LTLIB_TIMEOUT must be a whole number of seconds above 0; got {text!r}.")
    backend = "nccl" if device.type == "cuda" else "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(backend, timeout=timedelta(seconds=int(text)))
    try:
        # The data of a large set take longer to decode than any exchange of gradients, so this wait has a group of its
        # own, on the CPU, with a limit of its own.
        patient.append(dist.new_group(backend="gloo", timeout=DECODING))
        yield
    finally:
        patient.clear()
        dist.destroy_process_group()


def from_first(read: Callable[[], T]) -> T:
    """What ``read`` gives on rank 0, on every rank: plain values and tensors on the CPU. An error reaches all as well.

    Raises:
        InputError: whatever ``read`` raised.
    """
    if world_size() == 1:
        return read()
    box: list = [None, None]
    if rank() == 0:
        try:
            box[0] = read()
        except InputError as error:
            box[1] = error
    dist.broadcast_object_list(box, src=0)
    if box[1]:
        raise box[1]
    return box[0]


@contextlib.contextmanager
def first_before_the_others() -> Iterator[None]:
    """Run the block on rank 0, then on all others: what it downloads or decodes is there when they come.

    The others wait up to ``DECODING``, also where ``LTLIB_TIMEOUT`` is shorter.
    """
    if rank() > 0:
        dist.barrier(group=patient[0])
    yield
    if world_size() > 1 and rank() == 0:
        dist.barrier(group=patient[0])


@contextlib.contextmanager
def own_random_numbers(device: torch.device, epoch: int) -> Iterator[None]:
    """Different random numbers on every rank inside the block, and after it those that would have come without it.

    So the generators of rank 0 in a checkpoint are those of all, and every order of images is that of one process.
    """
    if world_size() == 1:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        seed = int(torch.randint(2**40, ()))
        torch.manual_seed(seed + epoch * world_size() + rank())
        yield


class Learner(Protocol):
    """What is trained: a module with a training loss."""

    def loss(self, batch: Any, /) -> Tensor: ...


class Loss(nn.Module):
    """A method's loss as a module's forward pass, which is what DistributedDataParallel wraps."""

    def __init__(self, method: Learner):
        super().__init__()
        self.method = method

    def forward(self, batch: Any) -> Tensor:
        return self.method.loss(batch)


def wrap(method: Learner, device: torch.device) -> nn.Module:
    """The loss of a method, batch -> scalar, whose backward pass averages the gradients of all ranks.

    Must be made anew whenever other parameters learn.
    """
    if world_size() == 1:
        return Loss(method)
    ids = [device] if device.type == "cuda" else None
    # Buffers are averaged once an epoch, see average_buffers. Newer versions of torch call the option otherwise.
    known = inspect.signature(DistributedDataParallel).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {buffers: False}
    return DistributedDataParallel(Loss(method), device_ids=ids, **options)


def share_of(images: int) -> float:
    """What this rank's mean over its share of a batch of so many images counts in the mean of the ranks' means."""
    return len(range(rank(), images, world_size())) * world_size() / images


def part(indices: Tensor) -> Tensor:
    """This rank's share of the indices of a batch: every W-th. Never empty: a rank that comes too late takes the last
    image, and :func:`share_of` counts it 0."""
    own = indices[rank() :: world_size()]
    return own if len(own) else indices[-1:]


def average(values: Tensor) -> Tensor:
    """The mean over all ranks, on each of them."""
    if world_size() > 1:
        dist.all_reduce(values)
        values /= world_size()
    return values


def any_rank(flag: Tensor) -> None:
    """Set a flag, 0.0 or 1.0, to the largest of all ranks, in place."""
    if world_size() > 1:
        dist.all_reduce(flag, dist.ReduceOp.MAX)


def average_buffers(method: nn.Module) -> None:
    """Give all ranks the mean of their running statistics of BatchNorm, and the counters of rank 0.

    Each normalises its own share of a batch, unless ``sync_bn`` is set; so the statistics drift apart during an epoch.
    """
    if world_size() > 1:
        for buffer in method.buffers():
            if buffer.is_floating_point():
                average(buffer)
            else:
                dist.broadcast(buffer, src=0)


def gather_rows(rows: Tensor, total: int) -> Tensor:
    """Rows that the ranks hold in turn (rank r those numbered r, r + W, ...), together again in their order.

    Args:
        rows: (n, K) of this rank.
        total: rows of all ranks.

    Returns:
        (total, K) on every rank.
    """
    if world_size() == 1:
        return rows
    longest = -(-total // world_size())
    padded = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])])
    parts = [torch.empty_like(padded) for _ in range(world_size())]
    dist.all_gather(parts, padded)
    return torch.stack(parts, dim=1).flatten(0, 1)[:total]
