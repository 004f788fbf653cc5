"""What a forward pass does besides computing logits: the three measurements by which defences that fool an attack with
correct-looking numbers give themselves away. `sanity.py` judges them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.autograd import Variable, forward_ad

from ltlib.attacks.ball import Ball, Logits, input_gradient
from ltlib.attacks.losses import margin

DIRECTIONS = 3  # of each kind, along which gradients are compared with finite differences
STEP = 1 / 20  # of the radius: the distance of the finite differences


@torch.no_grad()
def spread_alone(logits: Logits, x: Tensor, images: int = 8) -> float:
    """How far the logits of an image move when it is evaluated alone or in a pair instead of in the whole batch.

    A network on the statistics of its batch, or with any other link between images, lets one image protect another.

    Args:
        x: images (B, C, H, W).
        images: the first so many are evaluated alone and in pairs.

    Returns:
        The largest difference, relative to the range of all logits; infinite if an image alone is refused.
    """
    together = logits(x)
    scale = (together.max() - together.min()).clamp(min=1e-12)
    apart = 0.0
    for size in (1, 2):
        for part in torch.arange(min(images, len(x)), device=x.device).split(size):
            try:
                z = logits(x[part])
            except (RuntimeError, ValueError):
                return math.inf
            apart = max(apart, ((z - together[part]).abs().max() / scale).item())
    return apart


class _Watched:
    """Autograd's engine, which notes that it was called."""

    def __init__(self, engine: Any, calls: list[str]):
        self._engine, self._calls = engine, calls

    def run_backward(self, *args: object, **options: object) -> object:
        self._calls.append("backward")
        return self._engine.run_backward(*args, **options)

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)


@contextmanager
def _watching() -> Iterator[list[str]]:
    """Notes every gradient that is computed inside, by whichever name: ``torch.autograd.grad``, ``backward`` and
    ``torch.func.grad`` all end in the engine, and forward mode begins with a dual number."""
    calls: list[str] = []
    make_dual = forward_ad.make_dual

    def dual(*args: object, **options: object) -> object:
        calls.append("forward mode")
        return make_dual(*args, **options)

    engine = _Watched(Variable._execution_engine, calls)
    with mock.patch.object(Variable, "_execution_engine", engine), mock.patch.object(forward_ad, "make_dual", dual):
        yield calls


def calls_autograd(logits: Logits, x: Tensor) -> bool:
    """Whether the forward pass computes gradients, as a defence does that optimises its input before it answers.

    Looked at twice: as an evaluation calls the network, and as an attack does.
    """
    with _watching() as calls:
        with torch.no_grad():
            logits(x)
        with torch.enable_grad():
            logits(x.detach().requires_grad_())
    return bool(calls)


def gradient_errors(logits: Logits, x: Tensor, y: Tensor, ball: Ball) -> Tensor:
    """How wrong the gradient of the margin is, by finite differences, for each image.

    With f the margin, g its gradient and u a direction, (f(x + h u) - f(x - h u)) / 2h must be <g, u>. Two kinds of
    directions are tried: random parts of the attack's own direction, along which false signs show; and random ones,
    along which hidden parts of the gradient show.

    Args:
        x, y: images (B, C, H, W) and labels (B,).
        ball: its radius sets h, its norm the size of u.

    Returns:
        (B,), the larger error of the two kinds: |differences - predictions| / max(|differences|, |predictions|), each
        a vector over the directions. 0 where both are too small to tell apart from rounding.
    """
    h = STEP * ball.epsilon
    x = x * (1 - 4 * h) + 2 * h if ball.norm == "linf" else x  # a network may clip at 0 and 1

    def objective(images: Tensor) -> Tensor:
        return margin(logits(images), y)

    gradient, value = input_gradient(objective, x)
    # rounding moves a difference of float32 numbers of this size by so much
    floor = 1e-5 * value.abs().amax().clamp(min=1e-12) / h
    kinds = (lambda: gradient * (torch.rand_like(x) < 0.5), lambda: torch.randn_like(x))
    worst = torch.zeros_like(value)
    for direction in kinds:
        pairs = []
        for _ in range(DIRECTIONS):
            u = ball.steepest(direction())
            with torch.no_grad():
                difference = (objective(x + h * u) - objective(x - h * u)) / (2 * h)
            pairs.append(torch.stack([difference, (gradient * u).flatten(1).sum(1)]))
        measured, predicted = torch.stack(pairs, dim=-1)  # (B, directions) each
        size = torch.maximum(measured.norm(dim=1), predicted.norm(dim=1))
        error = (measured - predicted).norm(dim=1) / size.clamp(min=1e-30)
        worst = torch.maximum(worst, torch.where(size > floor, error, 0.0))
    return worst
