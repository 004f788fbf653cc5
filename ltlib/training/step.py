"""The parts of a step of SGD: gradients are checked, scaled back and used without the host looking at a number."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ltlib import distributed
from ltlib.data.loader import Batch
from ltlib.errors import InputError
from ltlib.methods.method import Method

# Sets its second argument to 1 if a tensor of the first is not finite, and multiplies all by the third.
check_and_multiply = torch.ops.aten._amp_foreach_non_finite_check_and_unscale_


class LossScale:
    """The factor on a float16 loss that keeps small gradients above zero, by the rule of ``torch.amp.GradScaler``.

    Gradients that overflow halve it and their step is left out; 2,000 good steps in a row double it. GradScaler keeps
    to itself which steps it leaves out, and :class:`Guard` must join that with its own halt, so only the two kernels of
    GradScaler are used.
    """

    first, growth, backoff, interval = 2.0**16, 2.0, 0.5, 2000

    def __init__(self, device: torch.device):
        self.value = torch.full((), self.first, device=device)
        self.good_steps = torch.zeros((), dtype=torch.int32, device=device)

    def update(self, overflow: Tensor) -> None:
        """Follow a step; ``overflow`` is 1.0 if a gradient was not finite."""
        torch.ops.aten._amp_update_scale_(
            self.value, self.good_steps, overflow, self.growth, self.backoff, self.interval
        )

    def state_dict(self) -> dict[str, Tensor]:
        return {"value": self.value, "good_steps": self.good_steps}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.value.copy_(state["value"])
        self.good_steps.copy_(state["good_steps"])


class Guard:
    """Stands between the gradients and the optimiser.

    Attributes:
        halt: (), becomes 1 for ever at the first loss or gradient that is not finite. No step is taken from then on,
            and the weights stay as they were before it.
        skip: (), 1 if the present step must be left out: ``halt``, or in float16 an overflow.
        scale: of a float16 loss, else None.
    """

    def __init__(self, device: torch.device, precision: str):
        self.one = torch.ones((), device=device)
        self.halt = torch.zeros((), device=device)
        self.scale = LossScale(device) if precision == "float16" else None
        self.skip = torch.zeros((), device=device) if self.scale else self.halt

    def scaled(self, loss: Tensor) -> Tensor:
        """What the backward pass starts from."""
        return loss * self.scale.value if self.scale else loss

    def check(self, loss: Tensor, gradients: list[Tensor]) -> None:
        """Set ``halt`` and ``skip``, and divide the gradients by the scale.

        One pass over all gradients finds what is not finite; it also multiplies by its last argument.
        """
        if self.scale is None:
            check_and_multiply([loss, *gradients], self.halt, self.one)
            distributed.any_rank(self.halt)
            return
        overflow = torch.zeros_like(self.halt)
        check_and_multiply(gradients, overflow, self.scale.value.reciprocal())
        distributed.any_rank(overflow)
        self.scale.update(overflow)
        check_and_multiply([loss], self.halt, self.one)
        # A gradient that is still not finite at a scale below 1 is not a matter of float16.
        self.halt.copy_(torch.maximum(self.halt, overflow * (self.scale.value < 1)))
        distributed.any_rank(self.halt)
        self.skip.copy_(torch.maximum(self.halt, overflow))


def fuse(optimizer: torch.optim.SGD, skip: Tensor) -> None:
    """Let the fused kernel of an optimiser read on the device whether a step is left out.

    The momentum starts at zero here. The kernel would make it in its first step, but not fill it if that is left out.
    """
    # The fused kernel reads this attribute, which the stub of torch does not declare.
    optimizer.found_inf = skip  # pyright: ignore[reportAttributeAccessIssue]
    for group in optimizer.param_groups:
        for p in group["params"] if group["momentum"] else ():
            optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)


@contextlib.contextmanager
def counted_together(method: nn.Module, steps: int) -> Iterator[None]:
    """Let the BatchNorm layers of a method count ``steps`` batches at once, after the block.

    Each layer counts its batches in a tensor that nothing here reads, which is one operator per layer and step.
    """
    layers = [m for m in method.modules() if isinstance(m, _BatchNorm) and m.num_batches_tracked is not None]
    counters = [layer.num_batches_tracked for layer in layers]
    learning = [counter for layer, counter in zip(layers, counters, strict=True) if layer.training]
    for layer in layers:
        layer.num_batches_tracked = None
    try:
        yield
    finally:
        for layer, counter in zip(layers, counters, strict=True):
            layer.num_batches_tracked = counter
    if learning:
        torch.ops.aten._foreach_add_(learning, steps)


def first_not_finite(method: Method, batch: Batch, loss: float) -> str:
    """Name the first tensor, in the order of computation, that holds NaN or an infinite value."""
    named = [("the batch of images", batch.x)]
    named += [(f"parameter {name!r}", p) for name, p in method.named_parameters()]
    named += [(f"buffer {name!r}", b) for name, b in method.named_buffers() if b.is_floating_point()]
    named += [("the loss", torch.tensor(loss))]
    named += [(f"the gradient of {n!r}", p.grad) for n, p in method.named_parameters() if p.grad is not None]
    found = (name for name, tensor in named if not torch.isfinite(tensor).all())
    return f"{next(found, 'a gradient')} is not finite"


def synchronize_batch_norm(method: Method, device: torch.device) -> Method:
    """The method with BatchNorm layers that normalise with the statistics of the whole batch.

    Raises:
        InputError: on a CPU, which torch has no such layer for.
    """
    if device.type != "cuda":
        raise InputError("sync_bn=true needs GPUs, because torch has no such layer for CPUs: leave it out.")
    converted: Any = nn.SyncBatchNorm.convert_sync_batchnorm(method)
    return converted
