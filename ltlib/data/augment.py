"""Augmentation of whole batches on the device: random crop, flip, colours, mixup. Images are uint8 until `to_float`.

Each random transformation is split in two: what is drawn, and what is done with it. The second half is a
pure function, so that tests can compare it with torchvision image by image.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ltlib.errors import check_choice

# The ImageNet recipes store images larger than the network sees them: 256 pixels for 224.
RESIZED = ("resized_crop_flip", "resized_crop_flip_jitter")
AUGMENTATIONS = ("crop_flip", "crop", "none", *RESIZED)


def stored_side(name: str, side: int) -> int:
    """Side of the images to store, given what the network shall see: 256 for 224 where crops are resized."""
    return round(side * 8 / 7) if name in RESIZED else side


def seen_side(name: str, stored: int) -> int:
    """Side of what the network sees of stored images, in training and at evaluation: 224 of 256."""
    return round(stored * 7 / 8) if name in RESIZED else stored


def to_float(x: Tensor) -> Tensor:
    """uint8 images (N, C, H, W) as float32 in [0, 1], channels last in memory, which convolutions prefer."""
    return x.to(torch.float32, memory_format=torch.channels_last).div_(255)


def crop_flip(x: Tensor, top: Tensor, left: Tensor, flip: Tensor, padding: int) -> Tensor:
    """Pad with black, cut a window of the original size, mirror it where ``flip`` is set.

    Args:
        x: images (N, C, H, W), any dtype.
        top, left: (N,) corner of each window in the padded image, 0..2*padding.
        flip: (N,) bool.
        padding: pixels on every side.
    """
    n, channels, height, width = x.shape
    rows = top[:, None] + torch.arange(height, device=x.device)
    columns = left[:, None] + torch.arange(width, device=x.device)
    columns = torch.where(flip[:, None], columns.flip(1), columns)
    # One gather per image over its flattened pixels does crop and flip together.
    pixel = (rows[:, :, None] * (width + 2 * padding) + columns[:, None, :]).reshape(n, 1, -1)
    padded = F.pad(x, (padding,) * 4).flatten(2)
    return padded.gather(2, pixel.expand(-1, channels, -1)).reshape(x.shape)


def augment(x: Tensor, name: str) -> Tensor:
    """The training augmentations of the papers, on uint8 images (N, C, H, W).

    ``crop_flip`` is that of the CIFAR recipes: padded random crop, and a flip half of the time. The padding is an
    eighth of the side: 4 pixels of 32. ``crop`` leaves the flip out: a mirrored letter or digit may be another one.
    ``resized_crop_flip`` is that of the ImageNet recipes: a random part, scaled to 7/8 of the side, and a flip;
    with ``_jitter`` brightness, contrast and saturation change too, by 0.4 (MiSLAS on its large sets, ResLT on
    ImageNet-LT).
    """
    check_choice("augmentation", name, AUGMENTATIONS)
    if name == "none":
        return x
    if name in RESIZED:
        x = resized_crop_flip(x, draw_boxes(len(x), x.shape[-1], x.device), seen_side(name, x.shape[-1]))
        return jitter(x, *draw_jitter(len(x), x.device)) if name.endswith("jitter") else x
    n, padding = len(x), x.shape[-1] // 8
    top, left = torch.randint(0, 2 * padding + 1, (2, n), device=x.device)
    flip = torch.rand(n, device=x.device) < (0.5 if name == "crop_flip" else 0.0)
    return crop_flip(x, top, left, flip, padding)


class Boxes(NamedTuple):
    """Parts of images, each (n,): corner and size in pixels, and whether to mirror."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    flip: Tensor


def draw_boxes(n: int, side: int, device: torch.device) -> Boxes:
    """Parts of square images as torchvision's ``RandomResizedCrop`` draws them, mirrored half of the time.

    A box covers a share of 0.08 to 1 of the image, uniform; its width over its height is 3/4 to 4/3, uniform in the
    logarithm. The first of ten boxes that fits is taken, else the whole image.
    """
    share = torch.empty(10, n, device=device).uniform_(0.08, 1)
    ratio = torch.empty(10, n, device=device).uniform_(math.log(3 / 4), math.log(4 / 3)).exp()
    sizes = torch.stack([share / ratio, share * ratio]).sqrt().mul(side).round().clamp(min=1)
    sizes = torch.cat([sizes, torch.full((2, 1, n), float(side), device=device)], dim=1)
    first = (sizes <= side).all(dim=0).int().argmax(dim=0)
    size = sizes.gather(1, first.expand(2, 1, n))[:, 0]
    corner = (torch.rand(2, n, device=device) * (side - size + 1)).floor()
    return Boxes(*corner, *size, torch.rand(n, device=device) < 0.5)


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
    pixel = torch.arange(stored, device=first.device) + 0.5
    scale = (length / side)[:, None]
    center = first[:, None] + (torch.arange(side, device=first.device) + 0.5) * scale
    # a triangle as wide as two old pixels, or as two new ones where they are larger
    distance = (pixel - center[:, :, None]).abs() / scale.clamp(min=1)[:, :, None]
    inside = (pixel > first[:, None]) & (pixel < (first + length)[:, None])
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


class Mixed(NamedTuple):
    """A mixed batch with the pairs and the weight at hand."""

    x: Tensor  #: (N, C, H, W) = lam * x + (1 - lam) * x[partner]
    y_a: Tensor  #: (N,) labels of the first images
    y_b: Tensor  #: (N,) labels of their partners
    lam: Tensor  #: scalar in [0, 1], weight of the first images


def mixup(x: Tensor, y: Tensor, alpha: float) -> Mixed:
    """mixup (Zhang et al. 2018, arXiv 1710.09412): one lambda ~ Beta(alpha, alpha) a batch, one random pairing.

    As in the code of MiSLAS, lambda is not folded to values above one half.

    Args:
        x: float images (N, C, H, W).
        y: labels (N,).
        alpha: > 0; 1 draws lambda uniformly, small values mix little.
    """
    a = torch.full((), alpha, device=x.device)
    lam = torch.distributions.Beta(a, a, validate_args=False).sample()  # to validate is to wait for the device
    partner = torch.randperm(len(x), device=x.device)
    return mix(x, y, partner, lam)


def mix(x: Tensor, y: Tensor, partner: Tensor, lam: Tensor) -> Mixed:
    """x~ = lambda x + (1 - lambda) x_partner, with both labels."""
    return Mixed(torch.lerp(x[partner], x, lam), y, y[partner], lam)
