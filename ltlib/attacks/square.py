"""Square: random search with squares, which sees scores and no gradient (Andriushchenko et al. 2020, arXiv 1912.00049).

Where it beats an attack with gradients, the gradients are masked.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ltlib.attacks.ball import Ball, Logits, length, per_image
from ltlib.attacks.losses import margin
from ltlib.errors import InputError

# The share of pixels in a square is halved when the number of squares tried passes one of these.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
COMPACT = 10  # queries between two looks at which images are fooled: each look makes a GPU wait for the host


@dataclass(frozen=True)
class Square:
    """The attack for both norms (Algorithms 1, 2 and 3).

    Args:
        epsilon, norm: see `Ball`.
        queries: forward passes of an image; 5000 in AutoAttack.
        p_init: share of the pixels in the first squares, in (0, 1].
        rescale: stretch the published schedule of squares, made for 10,000 queries, to ``queries``. AutoAttack does
            not: its 5000 queries end in the middle of the schedule. Few queries need it.

    Raises:
        InputError: a value is not allowed.
    """

    epsilon: float = 8 / 255
    norm: str = "linf"
    queries: int = 5000
    p_init: float = 0.8
    rescale: bool = False

    def __post_init__(self) -> None:
        Ball(self.epsilon, self.norm)
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
        begin, propose = (self._stripes, self._square) if self.norm == "linf" else (self._tiles, self._move)
        ball = Ball(self.epsilon, self.norm)

        image, label = x[left], y[left]
        best = ball.project(begin(image), image)
        value = margin(logits(best), label)
        for query in range(self.queries - 1):
            if query % COMPACT == 0:
                found.index_copy_(0, left, best)
                going = (value < 0).nonzero().flatten()
                left, image, label, best, value = (t[going] for t in (left, image, label, best, value))
                if len(left) == 0:
                    return found
            tried = ball.project(propose(best, image, query), image)
            result = margin(logits(tried), label)
            better = (result > value) & (value < 0)
            best, value = torch.where(per_image(better), tried, best), torch.where(better, result, value)
        return found.index_copy_(0, left, best)

    def side(self, query: int, height: int, width: int) -> int:
        """Side of the square after so many squares, in pixels; in l_2 an odd number from 3."""
        along = query * 10_000 // self.queries if self.rescale else query
        p = self.p_init / 2 ** sum(along > passed for passed in HALVINGS)
        side = max(round((p * height * width) ** 0.5), 1)
        if self.norm == "l2":
            side = max(side, 3) // 2 * 2 + 1
        return min(side, height, width)

    def _stripes(self, x: Tensor) -> Tensor:
        """l_inf, at first: vertical stripes, one sign for each image, channel and column."""
        n, channels, _, width = x.shape
        return x + self.epsilon * _signs(n, channels, 1, width, device=x.device)

    def _square(self, found: Tensor, x: Tensor, query: int) -> Tensor:
        """l_inf: a square of +-2 epsilon, one sign for each image and channel."""
        n, channels, height, width = x.shape
        rows, columns = _place(n, self.side(query, height, width), height, width, x.device)
        change = 2 * self.epsilon * _signs(n, channels, 1, 1, device=x.device)
        return found + change * _framed(1.0, rows, columns, x)

    def _tiles(self, x: Tensor) -> Tensor:
        """l_2, at first: five by five tiles of bumps."""
        n, channels, height, width = x.shape
        side = max(min(height, width) // 5, 1)
        down, across = height // side, width // side
        signs = _signs(n, channels, down, 1, across, 1, device=x.device)
        tiles = signs * _bumps(side, x.device)[None, None, None, :, None, :]
        change = torch.zeros_like(x)
        change[:, :, : down * side, : across * side] = tiles.flatten(4).flatten(2, 3)
        return x + self.epsilon * change / length(change)

    def _move(self, found: Tensor, x: Tensor, query: int) -> Tensor:
        """l_2: take the change out of window 2 and let it strengthen window 1, where a bump is added."""
        n, channels, height, width = x.shape
        side = self.side(query, height, width)
        change = found - x
        bump = _bumps(side, x.device).expand(n, side, side)
        bump = torch.where(torch.rand(n, 1, 1, device=x.device) < 0.5, bump, bump.mT)
        place = _place(n, side, height, width, x.device)
        inside = _framed(1.0, *place, x)
        other = _framed(1.0, *_place(n, side, height, width, x.device), x)

        def norm(image: Tensor) -> Tensor:  # of each channel
            return image.flatten(2).norm(dim=2)[..., None, None]

        # what the ball still allows, shared by the channels, and what both windows hold
        unused = (self.epsilon**2 - length(change) ** 2).clamp(min=0)
        available = (norm(change * torch.maximum(inside, other)) ** 2 + unused / channels).sqrt()
        added = _signs(n, channels, 1, 1, device=x.device) * _framed(bump, *place, x)
        added = added + change * inside / norm(change * inside).clamp(min=1e-12)
        change = change * (1 - torch.maximum(inside, other)) + available * added / norm(added).clamp(min=1e-12)
        return x + self.epsilon * change / length(change).clamp(min=1e-12)


def _signs(*shape: int, device: torch.device) -> Tensor:
    return 2.0 * torch.randint(0, 2, shape, device=device) - 1


def _place(n: int, side: int, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows and columns of a square, at a place of its own for each image: two (n, side)."""
    top = torch.randint(0, height - side + 1, (n, 1), device=device)
    left = torch.randint(0, width - side + 1, (n, 1), device=device)
    along = torch.arange(side, device=device)
    return top + along, left + along


def _framed(patch: Tensor | float, rows: Tensor, columns: Tensor, x: Tensor) -> Tensor:
    """Patches (n, side, side), or a number, where rows and columns tell, 0 around them: (n, 1, H, W)."""
    frame = x.new_zeros(len(x), *x.shape[2:])
    if not isinstance(patch, Tensor):
        patch = x.new_full((), patch)  # made on the device: a number of the host would have to be sent
    frame[torch.arange(len(x), device=x.device)[:, None, None], rows[:, :, None], columns[:, None, :]] = patch
    return frame[:, None]


def _bumps(side: int, device: torch.device) -> Tensor:
    """Two bumps of opposite sign, one below the other, of length 1 together: (side, side) (equation 2)."""
    both = torch.cat([_bump(side // 2, side, device), -_bump(side - side // 2, side, device)])
    return both / both.norm()


def _bump(rows: int, columns: int, device: torch.device) -> Tensor:
    """sum over j from d of 1 / (j + 1)^2, with d the distance to the centre in the largest coordinate."""
    reach = max(rows, columns) // 2 + 1
    # a matrix of ones above the diagonal sums them up: cumsum has no deterministic kernel on a GPU
    later = torch.ones(reach, reach, device=device).triu()
    layers = later @ (1 / torch.arange(1.0, reach + 1, device=device) ** 2)
    row, column = torch.arange(rows, device=device), torch.arange(columns, device=device)
    distance = torch.maximum((row - rows // 2).abs()[:, None], (column - columns // 2).abs())
    return layers[distance]
