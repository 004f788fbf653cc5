"""Networks that look robust, each with what an adaptive attacker would look at instead.

``defended(network)`` is the function from images to logits that is attacked and judged; ``seen(network)`` the one whose
gradients the adaptive attacker uses: the same function with a gradient that is useful (BPDA, Athalye et al. 2018), or
with more draws for random networks.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Logits = Callable[[Tensor], Tensor]


class Backward(torch.autograd.Function):
    """The identity with another backward pass."""

    @staticmethod
    def forward(ctx, x, backward):
        ctx.backward = backward
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return ctx.backward(gradient), None


class Ranks(torch.autograd.Function):
    """Logits replaced with their ranks; the backward pass is that of the logits."""

    @staticmethod
    def forward(ctx, z):
        return z.argsort(1).argsort(1).to(z.dtype)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def flipped(gradient: Tensor, share: float = 0.25) -> Tensor:
    """The same quarter of the signs turned around in every pass."""
    fixed = torch.rand(gradient.shape[1:], generator=torch.Generator().manual_seed(0))
    return torch.where(fixed < share, -gradient, gradient)


def halved(gradient: Tensor) -> Tensor:
    """Every second pixel hides its gradient."""
    shown = torch.arange(gradient[0].numel()).view(gradient.shape[1:]) % 2
    return gradient * shown


def through(backward: Callable[[Tensor], Tensor]) -> Callable[[nn.Module], Logits]:
    return lambda network: lambda x: network(Backward.apply(x, backward))


def quantised(levels: int) -> Callable[[nn.Module], Logits]:
    return lambda network: lambda x: network((x * levels).round() / levels)


def blocks(x: Tensor) -> Tensor:
    """What a coarse JPEG does: the cosine transform of 8x8 blocks, rounded."""
    k = torch.arange(8.0)
    basis = torch.cos(torch.pi * (2 * k + 1) * k[:, None] / 16) / 2
    basis[0] /= 2**0.5
    tiles = x.unfold(2, 8, 8).unfold(3, 8, 8)
    rounded = ((basis @ tiles @ basis.T) * 20).round() / 20
    back = basis.T @ rounded @ basis
    return back.permute(0, 1, 2, 4, 3, 5).reshape(x.shape)


def shifted(network: nn.Module) -> Logits:
    def logits(x: Tensor) -> Tensor:
        offsets = torch.randint(-1, 2, (2,)).tolist()
        return network(x.roll(offsets, (2, 3)))

    return logits


def dropped(network: nn.Module) -> Logits:
    return lambda x: network(F.dropout2d(x.flatten(2).transpose(1, 2)[..., None], 0.1).squeeze(3).mT.view_as(x))


def noisy(network: nn.Module) -> Logits:
    return lambda x: network((x + 0.05 * torch.randn_like(x)).clamp(0, 1))


def on_batch_statistics(network: nn.Module) -> Logits:
    """BatchNorm as in training, without a memory."""
    own = copy.deepcopy(network)
    for part in own.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.train()
            part.track_running_stats, part.running_mean, part.running_var = False, None, None
    return own


def anti_adversary(network: nn.Module) -> Logits:
    """Moves its input to where the network is more confident, then answers (Alfarra et al. 2022)."""

    def logits(x: Tensor) -> Tensor:
        moved = x.detach()
        with torch.enable_grad():
            for _ in range(2):
                moved.requires_grad_()
                z = network(moved)
                (gradient,) = torch.autograd.grad(F.cross_entropy(z, z.argmax(1), reduction="sum"), moved)
                moved = (moved - 0.01 * gradient.sign()).detach()
        return network(x + (moved - x).detach())

    return logits


def plain(network: nn.Module) -> Logits:
    return network


@dataclass(frozen=True)
class Defence:
    """One defended network, and how an adaptive attacker looks at it."""

    kind: str
    defended: Callable[[nn.Module], Logits]
    seen: Callable[[nn.Module], Logits] = plain
    draws: int = 1


def random(kind: str, defended: Callable[[nn.Module], Logits]) -> Defence:
    return Defence(kind, defended, defended, draws=10)


DEFENCES = {
    "input in 16 levels": Defence("quantised input", quantised(16)),
    "input in 64 levels": Defence("quantised input", quantised(64)),
    "coarse JPEG": Defence("compression", lambda network: lambda x: network(blocks(x))),
    "denoised without gradient": Defence(
        "purification", lambda network: lambda x: network(F.avg_pool2d(x, 3, 1, 1).detach() + 0 * x)
    ),
    "layer without gradient": Defence("broken backward pass", through(torch.zeros_like)),
    "gradient turned around": Defence("broken backward pass", through(torch.neg)),
    "a quarter of the signs flipped": Defence("broken backward pass", through(flipped)),
    "half of the gradient hidden": Defence("broken backward pass", through(halved)),
    "ranks and flipped signs": Defence(
        "outputs without information", lambda network: lambda x: Ranks.apply(through(flipped)(network)(x))
    ),
    "rounded logits": Defence(
        "outputs without information", lambda network: lambda x: network(x).round() + 0 * x.mean()
    ),
    "softmax outputs": Defence("saturated outputs", lambda network: lambda x: (20 * network(x)).softmax(1)),
    "logits times 10,000": Defence("saturated outputs", lambda network: lambda x: 1e4 * network(x)),
    "steep tanh": Defence("saturated outputs", lambda network: lambda x: (100 * network(x)).tanh() + network(x) * 1e-6),
    "ripples on the input": Defence(
        "shattered gradients", lambda network: lambda x: network(x + 0.002 * torch.sin(5e3 * x))
    ),
    "noise on the input": random("random input", noisy),
    "pixels dropped": random("random input", dropped),
    "random shifts": random("random geometry", shifted),
    "batch statistics": Defence("linked images", on_batch_statistics),
    "anti-adversary": Defence("optimising forward pass", anti_adversary),
}
ALWAYS_FLAGGED = {"batch statistics", "anti-adversary"}
HONEST = {
    "plain": plain,
    "logits times 1000": lambda network: lambda x: 1000 * network(x),
    "logits times 0.001": lambda network: lambda x: 0.001 * network(x),
    "log-softmax times 30": lambda network: lambda x: 30 * network(x).log_softmax(1),
    "input clipped": lambda network: lambda x: network(x.clamp(0, 1)),
}
