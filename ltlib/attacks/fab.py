"""FAB: the smallest change that fools, by steps to the linearised decision boundary (Croce and Hein 2020, arXiv
1907.02044, Algorithm 1), here towards one class after the other, as AutoAttack runs it (FAB-T).

The other attacks make a loss large inside the ball. This one looks for the nearest adversarial image and only then
compares its distance with the radius, so it needs no step size and no scale of the logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ltlib.attacks.ball import Ball, Logits, input_gradient, per_image
from ltlib.errors import InputError

ALPHA_MAX = 0.1  # largest weight of the step from the original image
OVERSHOOT = 1.05  # eta: how far a step goes beyond the linearised boundary
BACKWARD = 0.9  # beta: how much of its change an adversarial image keeps before the search continues
NEWTON = 20  # steps of the projection; each saturates at least one more pixel, and few are ever needed


@dataclass(frozen=True)
class FAB:
    """FAB-T with AutoAttack's settings.

    Args:
        epsilon, norm: see `Ball`. The search does not depend on epsilon: it only decides what counts as success.
        steps: for each target; 100 in AutoAttack.
        targets: the classes with the largest clean logits besides the true one (all others if there are fewer).

    Raises:
        InputError: a value is not allowed.
    """

    epsilon: float = 8 / 255
    norm: str = "linf"
    steps: int = 100
    targets: int = 9

    def __post_init__(self) -> None:
        Ball(self.epsilon, self.norm)
        if self.steps < 1 or self.targets < 1:
            raise InputError(f"steps and targets must be at least 1; got {self.steps} and {self.targets}.")

    def __call__(self, logits: Logits, x: Tensor, y: Tensor) -> Tensor:
        """Adversarial images; where none was found, the image itself: x (B, C, H, W), y (B,) -> (B, C, H, W)."""
        x = x.detach().contiguous()
        with torch.no_grad():
            z = logits(x)
        found, robust = x.clone(), z.argmax(1) == y
        # the classes other than y, most likely first
        order = z.scatter(1, y[:, None], -float("inf")).argsort(dim=1, descending=True)
        for target in range(min(self.targets, z.shape[1] - 1)):
            left = robust.nonzero().flatten()
            if len(left) == 0:
                break
            nearest, distance = self.nearest(logits, x[left], y[left], order[left, target])
            fooled = distance <= self.epsilon
            found.index_copy_(0, left, torch.where(per_image(fooled), nearest, x[left]))
            robust.index_copy_(0, left, ~fooled)
        return found

    def nearest(self, logits: Logits, x: Tensor, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest misclassified image found in one run and its distance; the image and inf if there is none."""
        ball = Ball(self.epsilon, self.norm)
        best, smallest = x, torch.full((len(x),), torch.inf, device=x.device)
        point = x

        def gap(images: Tensor) -> Tensor:
            """z_t - z_y, above 0 beyond the boundary towards the target."""
            z = logits(images)
            return (z.gather(1, target[:, None]) - z.gather(1, y[:, None])).squeeze(1)

        for _ in range(self.steps):
            w, value = input_gradient(gap, point)
            # steps to the plane value + <w, . - point> = 0: from the point, and from the original image
            forward = to_plane(point, w, value, self.norm)
            inward = to_plane(x, w, value + (w * (x - point)).flatten(1).sum(1), self.norm)
            far, near = ball.size(forward).clamp(min=1e-8), ball.size(inward).clamp(min=1e-8)
            alpha = per_image((far / (far + near)).clamp(max=ALPHA_MAX))
            # x_{k+1} = clip((1 - alpha) (x_k + eta d_k) + alpha (x + eta d_0))
            point = (1 - alpha) * (point + OVERSHOOT * forward) + alpha * (x + OVERSHOOT * inward)
            point = point.clamp(0, 1)
            with torch.no_grad():
                wrong = logits(point).argmax(1) != y
            size = ball.size(point - x)
            closer = wrong & (size < smallest)
            best, smallest = torch.where(per_image(closer), point, best), torch.where(closer, size, smallest)
            # continue nearer to the image: x_{k+1} = (1 - beta) x + beta x_{k+1}
            point = torch.where(per_image(wrong), x + BACKWARD * (point - x), point)
        return best, smallest


def to_plane(x: Tensor, w: Tensor, value: Tensor, norm: str) -> Tensor:
    """The smallest change d of each image with value + <w, d> = 0 and x + d in [0, 1]; all the way into the corner
    of the box where no such change exists.

    Every pixel moves against its weight by min(lambda g, room), with g = 1 (l_inf) or |w| (l_2), and room what the box
    leaves. The one number lambda solves |value| = sum |w| min(lambda g, room). The right side is concave in lambda and
    starts at 0, so Newton's method from there rises to the solution and never passes it.

    Args:
        x: images (B, C, H, W) in [0, 1].
        w: normal of each plane, (B, C, H, W).
        value: of the linear function at x, (B,).
        norm: ``linf`` or ``l2``.

    Returns:
        d (B, C, H, W).
    """
    towards = -per_image(torch.where(value < 0, -1.0, 1.0)) * w.sign()  # makes |value| smaller
    room = torch.where(towards > 0, 1 - x, x)
    weight = w.abs()
    speed = torch.ones_like(w) if norm == "linf" else weight
    factor = torch.zeros_like(value)
    for _ in range(NEWTON):
        step = per_image(factor) * speed
        rest = value.abs() - (weight * torch.minimum(step, room)).flatten(1).sum(1)
        slope = (weight * speed * (step < room)).flatten(1).sum(1)
        # no further once the plane is reached; without slope all pixels are in the corner already
        factor = factor + torch.where(slope > 0, rest.clamp(min=0) / slope.clamp(min=1e-30), 0.0)
    return towards * torch.minimum(per_image(factor) * speed, room)
