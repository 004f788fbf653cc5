"""Where an adversarial image may lie, and which way to go there: the same for every attack."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ltlib.errors import InputError, check_choice

NORMS = ("linf", "l2")

Logits = Callable[[Tensor], Tensor]  # images in [0, 1] (B, C, H, W) -> logits (B, K)


@dataclass(frozen=True)
class Ball:
    """All images in [0, 1] within ``epsilon`` of another one.

    Args:
        epsilon: radius on images in [0, 1], at least 0; in l_inf at most 1, which allows every image.
        norm: ``linf``, the largest change of a pixel, or ``l2``, the length of the change.

    Raises:
        InputError: a value is not allowed.
    """

    epsilon: float
    norm: str = "linf"

    def __post_init__(self) -> None:
        check_choice("norm", self.norm, NORMS)
        if not (math.isfinite(self.epsilon) and self.epsilon >= 0):
            raise InputError(f"epsilon must be a finite number, at least 0; got {self.epsilon}.")
        if self.norm == "linf" and self.epsilon > 1:
            raise InputError(
                f"epsilon is a radius on images in [0, 1], so at most 1; got {self.epsilon:g}. "
                f"Did you mean {self.epsilon:g}/255?"
            )

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The point of the ball around ``x`` that is nearest to ``x_adv``, then clipped to [0, 1]."""
        return self.around(x)(x_adv)

    def around(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """:meth:`project` for images ``x`` that stay the same; in l_inf their bounds are computed once."""
        if self.norm == "linf":
            low, high = (x - self.epsilon).clamp(min=0), (x + self.epsilon).clamp(max=1)
            return lambda x_adv: x_adv.clamp(low, high)

        def project(x_adv: Tensor) -> Tensor:
            change = x_adv - x
            inside = x + change * (self.epsilon / length(change).clamp(min=1e-12)).clamp(max=1)
            return inside.clamp(0, 1)

        return project

    def random(self, x: Tensor) -> Tensor:
        """A uniform draw from the ball around each image, clipped to [0, 1]."""
        if self.norm == "linf":
            change = torch.empty_like(x).uniform_(-self.epsilon, self.epsilon)
        else:
            # a uniform direction, at a radius whose d-th power is uniform
            direction = torch.randn_like(x)
            radius = torch.rand(len(x), 1, 1, 1, device=x.device) ** (1 / x[0].numel())
            change = self.epsilon * radius * direction / length(direction)
        return (x + change).clamp(0, 1)

    def steepest(self, gradient: Tensor) -> Tensor:
        """The change of size 1 along which the loss grows fastest."""
        if self.norm == "linf":
            return gradient.sign()
        return gradient / length(gradient).clamp(min=1e-12)

    def size(self, change: Tensor) -> Tensor:
        """The norm of the change of each image, (B,)."""
        return change.abs().amax((1, 2, 3)) if self.norm == "linf" else length(change).flatten()


def length(change: Tensor) -> Tensor:
    """l_2 norm of each image, (B, 1, 1, 1)."""
    return change.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


def per_image(which: Tensor) -> Tensor:
    """A value of each image, (B,), in the shape that meets images, (B, 1, 1, 1)."""
    return which.view(-1, 1, 1, 1)


def input_gradient(loss: Callable[[Tensor], Tensor], x: Tensor, draws: int = 1) -> tuple[Tensor, Tensor]:
    """Gradient of a loss for the images only: (gradient (B, C, H, W), loss of each image (B,)).

    Args:
        draws: both are means over this many passes, the expectation over transformations of Athalye et al. 2018
            (arXiv 1802.00420): one pass through a random network gives the gradient of another network each time.
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        value = loss(x)
        for _ in range(draws - 1):
            value = value + loss(x)
        value = value / draws if draws > 1 else value
        (gradient,) = torch.autograd.grad(value.sum(), x)
    return gradient, value.detach()


def check_draws(draws: int) -> None:
    """Raise :class:`InputError` unless ``draws`` is a number of passes."""
    if draws < 1:
        raise InputError(f"draws must be at least 1; got {draws}.")


@contextmanager
def attacked(module: nn.Module) -> Iterator[None]:
    """Evaluation mode and frozen parameters while an attack looks at ``module``; afterwards all is as before.

    Modes are kept for each part, since methods may hold some of them in evaluation mode while they train.
    Under autocast the weights of convolutions and linear layers are cast once, here: autocast keeps its own casts only
    of weights that require a gradient, so it would cast them in every pass of the attack.
    """
    modes = [(part, part.training) for part in module.modules()]
    learning = [p for p in module.parameters() if p.requires_grad]
    module.eval().requires_grad_(False)
    full = _cast_weights(module)
    try:
        yield
    finally:
        for part, name, weight in full:
            part._parameters[name] = weight
        for part, training in modes:
            part.training = training
        for p in learning:
            p.requires_grad_(True)


CAST = (nn.Conv2d, nn.Linear)  # what autocast computes in the low precision, and holds parameters


def _cast_weights(module: nn.Module) -> list[tuple[nn.Module, str, nn.Parameter]]:
    """Replace float32 weights with their autocast copies; returns (layer, name, weight) of what was replaced.

    Weights on another device than the one autocast is on for stay as they are.
    """
    full = []
    for part in module.modules():
        if type(part) not in CAST:
            continue
        for name, weight in part._parameters.items():
            if weight is None or weight.dtype != torch.float32 or not torch.is_autocast_enabled(weight.device.type):
                continue
            low = weight.detach().to(torch.get_autocast_dtype(weight.device.type))
            full.append((part, name, weight))
            part._parameters[name] = nn.Parameter(low, requires_grad=False)
    return full
