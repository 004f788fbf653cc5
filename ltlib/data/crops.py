"""Random parts of images, scaled to one size, and changes of colour: the augmentation of the ImageNet recipes."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

SHARE = (0.08, 1.0)  # of the image that a part covers
RATIO = (3 / 4, 4 / 3)  # of its width over its height
TRIES = 10


class Boxes(NamedTuple):
    """Parts of images, each (n,): corner and size in pixels, and whether to mirror."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    flip: Tensor

    def on_square(self, side: int, height: Tensor, width: Tensor) -> Boxes:
        """The same parts in pixels of squares of ``side`` that images of this height and width were squeezed to."""
        down, across = side / height, side / width
        return Boxes(self.top * down, self.left * across, self.height * down, self.width * across, self.flip)


def draw_boxes(height: Tensor, width: Tensor) -> Boxes:
    """Parts of images as torchvision's ``RandomResizedCrop`` draws them, mirrored half of the time.

    A box covers a share of 0.08 to 1 of the image, uniform; its width over its height is 3/4 to 4/3, uniform in the
    logarithm. The first of ten boxes that fits is taken, else the largest box in the middle with an allowed ratio.

    Args:
        height, width: of each image in pixels, float (n,).
    """
    n, device = len(height), height.device
    share = torch.empty(TRIES, n, device=device).uniform_(*SHARE)
    ratio = torch.empty(TRIES, n, device=device).uniform_(math.log(RATIO[0]), math.log(RATIO[1])).exp()
    image = torch.stack([height, width])
    area = share * height * width
    sizes = torch.stack([area / ratio, area * ratio]).sqrt().round().clamp(min=1)
    fallback = torch.stack([torch.minimum(height, width / RATIO[0]), torch.minimum(width, height * RATIO[1])]).round()
    sizes = torch.cat([sizes, fallback[:, None]], dim=1)
    fits = (sizes <= image[:, None]).all(dim=0)
    first = fits.int().argmax(dim=0)
    size = sizes.gather(1, first.expand(2, 1, n))[:, 0]
    corner = (torch.rand(2, n, device=device) * (image - size + 1)).floor()
    corner = torch.where(first == TRIES, ((image - size) / 2).floor(), corner)
    (top, left), (tall, wide) = corner, size
    return Boxes(top, left, tall, wide, torch.rand(n, device=device) < 0.5)


def resized_crop_flip(x: Tensor, boxes: Boxes, side: int) -> Tensor:
    """Scale a box of each uint8 image (N, C, H, W) to (side, side), bilinear with antialiasing, and mirror it.

    Scaling is linear and separable, so each image has one small matrix for its rows and one for its columns.
    """
    top, left, height, width, flip = boxes
    down = _scaling(top, height, x.shape[2], side)
    across = _scaling(left, width, x.shape[3], side)
    across = torch.where(flip[:, None, None], across.flip(1), across)
    out = _along_rows(_along_rows(x.float(), across).transpose(2, 3), down).transpose(2, 3)
    return out.round_().clamp_(0, 255).to(torch.uint8)


def _scaling(first: Tensor, length: Tensor, stored: int, side: int) -> Tensor:
    """(N, side, stored): the weights of the pixels in [first, first + length) in each of ``side`` new pixels."""
    pixel = torch.arange(stored, device=first.device) + 0.5  # the middle of each
    scale = (length / side)[:, None]
    center = first[:, None] + (torch.arange(side, device=first.device) + 0.5) * scale
    # a triangle as wide as two old pixels, or as two new ones where they are larger
    distance = (pixel - center[:, :, None]).abs() / scale.clamp(min=1)[:, :, None]
    # Pixels of which a part is inside count whole; boxes begin and end between two of squeezed images.
    inside = (pixel > first[:, None] - 0.5) & (pixel < (first + length)[:, None] + 0.5)
    weight = (1 - distance).clamp(min=0) * inside[:, None, :]
    return weight / weight.sum(dim=2, keepdim=True)


def _along_rows(x: Tensor, weights: Tensor) -> Tensor:
    """(N, C, H, W) and (N, S, W) -> (N, C, H, S)."""
    n, channels, height, width = x.shape
    return torch.bmm(x.reshape(n, -1, width), weights.transpose(1, 2)).view(n, channels, height, -1)


def draw_jitter(n: int, device: torch.device, strength: float = 0.4) -> tuple[Tensor, Tensor]:
    """Factors (n, 3) for brightness, contrast and saturation, 1 +- strength, and a random order (n, 3) of the three."""
    factors = torch.empty(n, 3, device=device).uniform_(1 - strength, 1 + strength)
    return factors, torch.rand(n, 3, device=device).argsort(dim=1)


def jitter(x: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Change brightness (0), contrast (1) and saturation (2) of uint8 RGB images (N, 3, H, W), in each one's order.

    All three move the image towards something or away from it: black, its mean grey, or itself in grey
    (torchvision's ``ColorJitter`` without hue).
    """
    x = x.float()
    for what in order.T:
        red, green, blue = x.split(1, dim=1)
        grey = 0.2989 * red + 0.587 * green + 0.114 * blue
        what = what[:, None, None, None]
        anchor = torch.where(what == 2, grey, torch.where(what == 1, grey.mean(dim=(2, 3), keepdim=True), 0.0))
        x = torch.lerp(anchor, x, factors.gather(1, what[:, :, 0, 0])[:, :, None, None]).clamp_(0, 255)
    return x.round_().to(torch.uint8)
