"""Augmentation of whole batches on the device: random crop, flip, mixup. Images are uint8 until `to_float`.

Each random transformation is split in two: what is drawn, and what is done with it. The second half is a
pure function, so that tests can compare it with torchvision image by image.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ltlib.errors import check_choice

AUGMENTATIONS = ("crop_flip", "crop", "none")


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
    """The training augmentation of the CIFAR recipes: padded random crop, and a flip half of the time.

    The padding is an eighth of the side: 4 pixels of 32, as in the papers. ``crop`` leaves the flip out: a
    mirrored letter or digit may be another one.
    """
    check_choice("augmentation", name, AUGMENTATIONS)
    if name == "none":
        return x
    n, padding = len(x), x.shape[-1] // 8
    top, left = torch.randint(0, 2 * padding + 1, (2, n), device=x.device)
    flip = torch.rand(n, device=x.device) < (0.5 if name == "crop_flip" else 0.0)
    return crop_flip(x, top, left, flip, padding)


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
