"""A network in evaluation mode with fewer layers: each BatchNorm becomes part of the convolution before it.

With its running statistics BatchNorm is s z + t per channel, and a convolution w * x followed by it is (s w) * x + t.
An attack passes through the same network many times, so it saves one pass over every feature map, forward and backward.
The values are equal except for rounding. A block names its pairs in ``folds``. In an ``nn.Sequential`` each BatchNorm
right after a convolution is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

PASSED = nn.Identity()  # where a BatchNorm was


class Pair(NamedTuple):
    """A convolution, and the BatchNorm that alone reads its output."""

    parent: nn.Module
    name: str  #: of the BatchNorm in ``parent``
    convolution: nn.Conv2d
    norm: _BatchNorm


@contextmanager
def folded(network: nn.Module) -> Iterator[None]:
    """Inside, BatchNorm layers in ``folds`` are part of their convolutions; afterwards all is as before.

    No gradient reaches the weights inside. The network must be in evaluation mode there. A BatchNorm without running
    statistics, or a convolution with a bias, stays as it is.
    """
    pairs = [pair for pair in find_pairs(network) if _can_fold(pair)]
    before = [(pair, pair.convolution._parameters["weight"]) for pair in pairs]
    for pair, (weight, shift) in zip(pairs, _combine(pairs), strict=True):
        pair.convolution._parameters |= {
            "weight": nn.Parameter(weight, requires_grad=False),
            "bias": nn.Parameter(shift, requires_grad=False),
        }
        pair.parent._modules[pair.name] = PASSED
    try:
        yield
    finally:
        for pair, weight in before:
            pair.convolution._parameters |= {"weight": weight, "bias": None}
            pair.parent._modules[pair.name] = pair.norm


def find_pairs(network: nn.Module) -> list[Pair]:
    """The pairs that the blocks of a network name, and those in its sequences."""
    found = []
    for parent in network.modules():
        names = list(parent._modules)
        neighbours = pairwise(names) if type(parent) is nn.Sequential else ()
        for first, second in getattr(parent, "folds", neighbours):
            convolution, norm = parent._modules[first], parent._modules[second]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, _BatchNorm):
                found.append(Pair(parent, second, convolution, norm))
    return found


def _can_fold(pair: Pair) -> bool:
    return pair.convolution.bias is None and pair.norm.running_var is not None and pair.norm.affine


@torch.no_grad()
def _combine(pairs: list[Pair]) -> list[tuple[Tensor, Tensor]]:
    """Weights and shift of each folded convolution, its layers computed together: each operator costs a GPU a start."""
    if not pairs:
        return []
    norms: list[Any] = [pair.norm for pair in pairs]  # all have what torch declares as optional, see `_can_fold`
    mean, gain, shift = (torch.cat([getattr(n, name) for n in norms]) for name in ("running_mean", "weight", "bias"))
    variance = torch.cat(torch.ops.aten._foreach_add([n.running_var for n in norms], [n.eps for n in norms]))
    # s = gamma / sqrt(var + eps), t = beta - s mean
    scale = gain * variance.rsqrt()
    shift = shift - scale * mean
    channels = [n.num_features for n in norms]
    return [
        (pair.convolution.weight * s.view(-1, 1, 1, 1), t)
        for pair, s, t in zip(pairs, scale.split(channels), shift.split(channels), strict=True)
    ]
