"""Square: random search with squares, which sees scores and no gradient (Andriushchenko et al. 2020, arXiv 1912.00049).

Where it beats an attack with gradients, the gradients are masked.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ltlib.attacks.ball import Ball, Logits
from ltlib.attacks.losses import margin
from ltlib.errors import InputError

# The share of pixels in a square is halved when the query, rescaled to 10,000, passes one of these.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@dataclass(frozen=True)
class Square:
    """The l_inf attack.

    Args:
        epsilon: radius, see `Ball`.
        queries: forward passes of an image; 5000 in AutoAttack.
        p_init: share of the pixels in the first squares, in (0, 1].

    Raises:
        InputError: a value is not allowed.
    """

    epsilon: float = 8 / 255
    queries: int = 5000
    p_init: float = 0.8

    def __post_init__(self) -> None:
        Ball(self.epsilon)
        if self.queries < 1 or not 0 < self.p_init <= 1:
            raise InputError(f"queries must be at least 1 and p_init in (0, 1]; got {self.queries} and {self.p_init}.")

    @torch.no_grad()
    def __call__(self, logits: Logits, x: Tensor, y: Tensor) -> Tensor:
        """Adversarial images; where none was found, the best try: x (B, C, H, W), y (B,) -> (B, C, H, W)."""
        x = x.detach().contiguous()
        found = x.clone()
        left = (margin(logits(x), y) < 0).nonzero().flatten()
        if len(left) == 0:
            return found
        channels, height, width = x.shape[1:]
        ball = Ball(self.epsilon)

        # vertical stripes: one sign for each image, channel and column
        stripes = self.epsilon * _signs(len(left), channels, 1, width, device=x.device)
        found[left] = ball.project(x[left] + stripes, x[left])
        value = margin(logits(found[left]), y[left])
        for query in range(1, self.queries):
            keep = value < 0
            left, value = left[keep], value[keep]
            if len(left) == 0:
                break
            side = self.side(query, height, width)
            change = 2 * self.epsilon * _signs(len(left), channels, 1, 1, device=x.device)
            inside = _squares(len(left), side, height, width, x.device)
            tried = ball.project(found[left] + change * inside, x[left])
            result = margin(logits(tried), y[left])
            better = result > value
            found[left[better]] = tried[better]
            value = torch.where(better, result, value)
        return found

    def side(self, query: int, height: int, width: int) -> int:
        """Side of the square at a query, in pixels."""
        p = self.p_init / 2 ** sum(query * 10_000 / self.queries > passed for passed in HALVINGS)
        return min(max(round((p * height * width) ** 0.5), 1), height, width)


def _signs(*shape: int, device: torch.device) -> Tensor:
    return 2.0 * torch.randint(0, 2, shape, device=device) - 1


def _squares(n: int, side: int, height: int, width: int, device: torch.device) -> Tensor:
    """(n, 1, H, W) bool: a square at a place of its own for each image."""
    top = torch.randint(0, height - side + 1, (n, 1), device=device)
    left = torch.randint(0, width - side + 1, (n, 1), device=device)
    row, column = torch.arange(height, device=device), torch.arange(width, device=device)
    rows, columns = (row >= top) & (row < top + side), (column >= left) & (column < left + side)
    return (rows[:, :, None] & columns[:, None, :])[:, None]
