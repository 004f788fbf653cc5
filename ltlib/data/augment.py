"""Augmentation of whole batches on the device: random crop, flip, colours, mixup. Images are uint8 until `to_float`.

Each random transformation is split in two: what is drawn, and what is done with it. The second half is a
pure function, so that tests can compare it with torchvision image by image. Crops of parts of an image are in `crops`,
AutoAugment and RandAugment in `policies`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ltlib.data import policies
from ltlib.data.crops import draw_boxes, draw_jitter, jitter, resized_crop_flip
from ltlib.errors import check_choice

# The ImageNet recipes cut a random part out of the whole image, and test on the middle of it: 224 pixels of 256.
RESIZED = ("resized_crop_flip", "resized_crop_flip_jitter")


def stored_side(name: str, side: int) -> int:
    """Side of the test images to store, given what the network shall see: 256 for 224 where crops are resized."""
    return round(side * 8 / 7) if name in RESIZED else side


def whole_side(name: str, side: int) -> int:
    """Side of the squares that whole training images are stored as: 512 for 224 where crops are resized, else 0."""
    return round(side * 16 / 7) if name in RESIZED else 0


def seen_side(name: str, stored: int) -> int:
    """Side of what the network sees of stored images, in training and at evaluation: 224 of 256."""
    return round(stored * 7 / 8) if name in RESIZED else stored


def to_float(x: Tensor) -> Tensor:
    """uint8 images (N, C, H, W) as float32 in [0, 1], channels last in memory, which convolutions prefer.

    Features are floats already, and stay what they are.
    """
    if x.is_floating_point():
        return x.float()
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


def augment(x: Tensor, name: str, shapes: Tensor | None = None) -> Tensor:
    """The training augmentations of the papers, on uint8 images (N, C, H, W).

    ``crop_flip`` is that of the CIFAR recipes: padded random crop, and a flip half of the time. The padding is an
    eighth of the side: 4 pixels of 32. ``crop`` leaves the flip out: a mirrored letter or digit may be another one.
    ``crop_flip_autoaugment`` (AT-BSL) and ``crop_flip_randaugment`` continue with one of these policies.
    ``resized_crop_flip`` is that of the ImageNet recipes: a random part, scaled to what the network sees, and a flip;
    with ``_jitter`` brightness, contrast and saturation change too, by 0.4 (MiSLAS on its large sets, ResLT on
    ImageNet-LT).

    Args:
        x: uint8 images.
        name: a key of ``AUGMENTATIONS``.
        shapes: (N, 2) height and width of the files, if ``x`` holds whole images that were squeezed to squares.
    """
    check_choice("augmentation", name, AUGMENTATIONS)
    return AUGMENTATIONS[name](x, shapes)


def _none(x: Tensor, shapes: Tensor | None = None) -> Tensor:
    return x


def _crop(x: Tensor, shapes: Tensor | None = None, flips: float = 0.0) -> Tensor:
    n, padding = len(x), x.shape[-1] // 8
    top, left = torch.randint(0, 2 * padding + 1, (2, n), device=x.device)
    flip = torch.rand(n, device=x.device) < flips
    return crop_flip(x, top, left, flip, padding)


def _crop_flip(x: Tensor, shapes: Tensor | None = None) -> Tensor:
    return _crop(x, flips=0.5)


def _autoaugment(x: Tensor, shapes: Tensor | None = None) -> Tensor:
    return policies.apply(_crop_flip(x), policies.draw_autoaugment(len(x), x.shape[2], x.shape[3], x.device))


def _randaugment(x: Tensor, shapes: Tensor | None = None) -> Tensor:
    return policies.apply(_crop_flip(x), policies.draw_randaugment(len(x), x.shape[2], x.shape[3], x.device))


def _resized(x: Tensor, shapes: Tensor | None = None) -> Tensor:
    side = x.shape[-1]
    if shapes is None:
        shapes = torch.full((len(x), 2), side, device=x.device)
        seen = seen_side("resized_crop_flip", side)
    else:
        seen = round(side * 7 / 16)  # of `whole_side`
    height, width = shapes.float().T
    return resized_crop_flip(x, draw_boxes(height, width).on_square(side, height, width), seen)


def _resized_jitter(x: Tensor, shapes: Tensor | None = None) -> Tensor:
    return jitter(_resized(x, shapes), *draw_jitter(len(x), x.device))


AUGMENTATIONS: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {
    "crop_flip": _crop_flip,
    "crop": _crop,
    "none": _none,
    "crop_flip_autoaugment": _autoaugment,
    "crop_flip_randaugment": _randaugment,
    "resized_crop_flip": _resized,
    "resized_crop_flip_jitter": _resized_jitter,
}


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
    lam = draw_weight(alpha, x.device)
    partner = torch.randperm(len(x), device=x.device)
    return mix(x, y, partner, lam)


def draw_weight(alpha: float, device: torch.device) -> Tensor:
    """lambda ~ Beta(alpha, alpha), a scalar on the device."""
    # Not every torch draws a Beta on an Apple GPU, so there the host does.
    a = torch.full((), alpha, device="cpu" if device.type == "mps" else device)
    lam = torch.distributions.Beta(a, a, validate_args=False).sample()  # to validate is to wait for the device
    return lam.to(device)


def mix(x: Tensor, y: Tensor, partner: Tensor, lam: Tensor) -> Mixed:
    """x~ = lambda x + (1 - lambda) x_partner, with both labels."""
    return Mixed(torch.lerp(x[partner], x, lam), y, y[partner], lam)


def cutmix(x: Tensor, y: Tensor, alpha: float) -> Mixed:
    """CutMix (Yun et al. 2019, arXiv 1905.04899): paste a rectangle of each image's partner, the same in the batch.

    The rectangle covers a share 1 - lambda of the image, lambda ~ Beta(alpha, alpha), around a uniform centre, and is
    cut at the border. The returned weight is that of the pixels that are left.

    Args:
        x: float images (N, C, H, W).
        y: labels (N,).
        alpha: > 0; 1 in the paper.
    """
    lam, center = draw_patch(alpha, x.device)
    return paste(x, y, torch.randperm(len(x), device=x.device), lam, center)


def draw_patch(alpha: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """The rectangle of CutMix: lambda (), and its centre (2,), row and column in [0, 1)."""
    return draw_weight(alpha, device), torch.rand(2, device=device)


def paste(x: Tensor, y: Tensor, partner: Tensor, lam: Tensor, center: Tensor) -> Mixed:
    """The rectangle of each image's partner, see :func:`patch`, with both labels."""
    pasted, left = patch(x, x[partner], lam, center)
    return Mixed(pasted, y, y[partner], left)


def patch(x: Tensor, other: Tensor, lam: Tensor, center: Tensor) -> tuple[Tensor, Tensor]:
    """Paste a rectangle of ``other`` onto ``x``, (N, C, H, W) each; the images, and the share of pixels that is left.

    The rectangle is around ``center`` (2,), row and column in [0, 1), with half sides sqrt(1 - lambda) / 2.
    """
    size = torch.tensor(x.shape[2:], device=x.device)
    middle, half = (center * size).floor(), (0.5 * (1 - lam).sqrt() * size).floor()
    first, last = (middle - half).clamp(min=0), torch.minimum(middle + half, size)
    rows, columns = (torch.arange(n, device=x.device) for n in x.shape[2:])
    inside = ((rows >= first[0]) & (rows < last[0]))[:, None] & ((columns >= first[1]) & (columns < last[1]))
    left = 1 - (last - first).prod() / size.prod()
    return torch.where(inside, other, x), left
