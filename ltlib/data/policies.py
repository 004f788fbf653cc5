"""AutoAugment and RandAugment of whole batches on the device. Images are uint8.

AutoAugment: Cubuk et al., CVPR 2019 (arXiv 1805.09501), Table 7: 25 learnt pairs of operations for CIFAR-10.
RandAugment: Cubuk et al., NeurIPS 2020 (arXiv 1909.13719): two random operations of one magnitude.
The operations are those of ``torchvision.transforms`` on tensors, with nearest-pixel interpolation and black corners.

Each image has its own operation, and none waits for another: the operations belong to three families (move pixels,
replace grey levels, blend with a simpler image), and each family is one pass over the whole batch.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

OPERATIONS = (
    "Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate",  # move pixels
    "Invert", "Solarize", "Posterize", "AutoContrast", "Equalize",  # replace grey levels
    "Brightness", "Color", "Contrast", "Sharpness",  # blend
)  # fmt: skip
ID = {name: i for i, name in enumerate(OPERATIONS)}
SIGNED = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness")

# (operation, probability, level of 0 to 9) twice.
CIFAR10_POLICY = (
    (("Invert", 0.1, 0), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, 0), ("Equalize", 0.9, 0)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, 0), ("Equalize", 0.5, 0)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, 0), ("AutoContrast", 0.4, 0)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, 0)),
    (("Equalize", 0.2, 0), ("AutoContrast", 0.6, 0)),
    (("Equalize", 0.2, 0), ("Equalize", 0.6, 0)),
    (("Color", 0.9, 9), ("Equalize", 0.6, 0)),
    (("AutoContrast", 0.8, 0), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, 0)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, 0), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, 0), ("Invert", 0.1, 0)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, 0)),
)
# RandAugment's two operations out of these, at level 9 of 0 to 30: torchvision's defaults.
RANDAUGMENT = tuple(name for name in OPERATIONS if name != "Invert")
RANDAUGMENT_LEVELS, RANDAUGMENT_LEVEL = 31, 9


class Steps(NamedTuple):
    """What happens to each image, one operation after another."""

    operation: Tensor  #: int64 (N, S), positions in ``OPERATIONS``
    magnitude: Tensor  #: float64 (N, S), with its sign; float32 on an Apple GPU, which has no float64


def magnitudes(levels: int, height: int, width: int) -> Tensor:
    """(operations, levels) float64: what each level means; 0 where an operation has no strength."""
    table = torch.zeros(len(OPERATIONS), levels)
    for name in ("ShearX", "ShearY"):
        table[ID[name]] = torch.linspace(0, 0.3, levels)
    table[ID["TranslateX"]] = torch.linspace(0, 150 / 331 * width, levels)
    table[ID["TranslateY"]] = torch.linspace(0, 150 / 331 * height, levels)
    table[ID["Rotate"]] = torch.linspace(0, 30, levels)
    for name in ("Brightness", "Color", "Contrast", "Sharpness"):
        table[ID[name]] = torch.linspace(0, 0.9, levels)
    table[ID["Posterize"]] = 8 - (torch.arange(levels) / ((levels - 1) / 4)).round()
    table[ID["Solarize"]] = torch.linspace(255, 0, levels)
    return table.double()


@functools.lru_cache(maxsize=8)
def _tables(levels: int, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """``magnitudes``, and which operations have a sign, on the device."""
    signed = torch.tensor([name in SIGNED for name in OPERATIONS], device=device)
    table = magnitudes(levels, height, width)
    return (table.float() if device.type == "mps" else table).to(device), signed


@functools.lru_cache(maxsize=8)
def _policy(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Operations, probabilities and levels of ``CIFAR10_POLICY``, each (25, 2), on the device."""
    operation = [[ID[name] for name, _, _ in pair] for pair in CIFAR10_POLICY]
    probability = [[p for _, p, _ in pair] for pair in CIFAR10_POLICY]
    level = [[level for _, _, level in pair] for pair in CIFAR10_POLICY]
    return (
        torch.tensor(operation, device=device),
        torch.tensor(probability, device=device),
        torch.tensor(level, device=device),
    )


def draw_autoaugment(n: int, height: int, width: int, device: torch.device) -> Steps:
    """One of the 25 pairs for each image; each half of it happens with its own probability."""
    pair = torch.randint(len(CIFAR10_POLICY), (n,), device=device)
    chance, positive = torch.rand(n, 2, device=device), torch.randint(2, (n, 2), device=device)
    return autoaugment_steps(pair, chance, positive, height, width)


def autoaugment_steps(pair: Tensor, chance: Tensor, positive: Tensor, height: int, width: int) -> Steps:
    """What a draw means: ``pair`` (N,), ``chance`` (N, 2) in [0, 1], ``positive`` (N, 2) of 0 and 1."""
    operation, probability, level = (table[pair] for table in _policy(pair.device))
    table, signed = _tables(10, height, width, pair.device)
    sign = torch.where(signed[operation] & (positive == 0), -1.0, 1.0)
    return Steps(torch.where(chance <= probability, operation, ID["Identity"]), sign * table[operation, level])


def draw_randaugment(n: int, height: int, width: int, device: torch.device) -> Steps:
    """Two operations for each image, drawn with replacement; half of those with a sign are turned round."""
    ids = torch.tensor([ID[name] for name in RANDAUGMENT], device=device)
    operation = ids[torch.randint(len(ids), (n, 2), device=device)]
    return randaugment_steps(operation, torch.randint(2, (n, 2), device=device), height, width)


def randaugment_steps(operation: Tensor, negative: Tensor, height: int, width: int) -> Steps:
    """What a draw means: ``operation`` (N, 2), ``negative`` (N, 2) of 0 and 1."""
    table, signed = _tables(RANDAUGMENT_LEVELS, height, width, operation.device)
    sign = torch.where(signed[operation] & (negative == 1), -1.0, 1.0)
    return Steps(operation, sign * table[operation, RANDAUGMENT_LEVEL])


def apply(x: Tensor, steps: Steps) -> Tensor:
    """Change uint8 RGB images (N, 3, H, W), step by step."""
    for operation, magnitude in zip(steps.operation.T, steps.magnitude.T, strict=True):
        x = blend(replace_levels(move(x, operation, magnitude), operation, magnitude), operation, magnitude)
    return x


def move(x: Tensor, operation: Tensor, magnitude: Tensor) -> Tensor:
    """Shear, translate or rotate: each new pixel (u, v), from the middle, takes the old one nearest to A (u, v, 1)."""
    height, width = x.shape[2:]
    m = magnitude
    one, zero = torch.ones_like(m), torch.zeros_like(m)
    angle = torch.deg2rad(m)
    shift = m.trunc()  # whole pixels

    def pick(default: Tensor, **of: Tensor) -> Tensor:
        for name, value in of.items():
            default = torch.where(operation == ID[name], value, default)
        return default

    turned = operation == ID["Rotate"]
    # [1 s sH/2; 0 1 0] shears by rows from the top, [1 0 0; s 1 sW/2] by columns from the left
    matrix = torch.stack(
        [
            torch.where(turned, angle.cos(), one),
            pick(zero, ShearX=m, Rotate=-angle.sin()),
            pick(zero, ShearX=m * height / 2, TranslateX=-shift),
            pick(zero, ShearY=m, Rotate=angle.sin()),
            torch.where(turned, angle.cos(), one),
            pick(zero, ShearY=m * width / 2, TranslateY=-shift),
        ],
        dim=1,
    ).view(-1, 2, 3)
    u = torch.arange(width, device=x.device) - (width - 1) / 2
    v = torch.arange(height, device=x.device) - (height - 1) / 2
    pixel = torch.stack([*torch.meshgrid(u, v, indexing="xy"), torch.ones(height, width, device=x.device)], dim=-1)
    scale = torch.tensor([width / 2, height / 2], device=x.device)
    grid = pixel.view(1, -1, 3).expand(len(x), -1, -1).bmm(matrix.float().transpose(1, 2) / scale)
    moved = F.grid_sample(x.float(), grid.view(len(x), height, width, 2), mode="nearest", align_corners=False)
    return moved.round_().to(torch.uint8)


def replace_levels(x: Tensor, operation: Tensor, magnitude: Tensor) -> Tensor:
    """Invert, solarise, posterise, stretch or equalise: one table of 256 levels for each channel of each image."""
    level = torch.arange(256, device=x.device)
    m = magnitude[:, None, None]
    flat = x.flatten(2).long()
    bits = (8 - m).long().clamp(0, 8)
    tables = {
        "Invert": 255 - level,
        "Solarize": torch.where(level >= m, 255 - level, level),
        "Posterize": (level >> bits) << bits,
        "AutoContrast": _stretched(flat, level),
        "Equalize": _equalized(flat, level),
    }
    table = level.expand(*flat.shape[:2], 256)
    for name, of in tables.items():
        table = torch.where((operation == ID[name])[:, None, None], of, table)
    return table.gather(2, flat).to(torch.uint8).view(x.shape)


def _stretched(flat: Tensor, level: Tensor) -> Tensor:
    """The darkest level of each channel becomes 0, the brightest 255, (N, C, 256)."""
    low, high = flat.amin(2, keepdim=True).float(), flat.amax(2, keepdim=True).float()
    stretched = (level - low) * (255 / (high - low))
    return torch.where(high > low, stretched.nan_to_num().clamp(0, 255).long(), level)


def _equalized(flat: Tensor, level: Tensor) -> Tensor:
    """Levels of each channel about equally frequent, (N, C, 256), by the integer arithmetic of Pillow."""
    count = torch.zeros(*flat.shape[:2], 256, dtype=torch.long, device=flat.device)
    count.scatter_add_(2, flat, torch.ones_like(flat))
    most = flat.amax(2, keepdim=True)
    step = (flat.shape[2] - count.gather(2, most)) // 255
    below = count.cumsum(2) - count
    equalized = (below + step // 2) // step.clamp(min=1)
    equalized = torch.where(level == 0, 0, equalized.clamp(0, 255))
    return torch.where(step > 0, equalized, level)


def blend(x: Tensor, operation: Tensor, magnitude: Tensor) -> Tensor:
    """(1 + m) x - m d, where d is black, the image in grey, its mean grey, or the image blurred."""
    of = {name: (operation == ID[name])[:, None, None, None] for name in OPERATIONS[-4:]}
    image = x.float()
    red, green, blue = image.split(1, dim=1)
    grey = (0.2989 * red + 0.587 * green + 0.114 * blue).trunc()
    other = torch.where(of["Color"], grey, torch.zeros_like(image))
    other = torch.where(of["Contrast"], grey.mean(dim=(2, 3), keepdim=True), other)
    other = torch.where(of["Sharpness"], _blurred(image), other)
    ratio = (1 + magnitude)[:, None, None, None]
    blended = (ratio.float() * image + (1 - ratio).float() * other).clamp_(0, 255).to(torch.uint8)
    return torch.where(torch.stack([*of.values()]).any(dim=0), blended, x)


def _blurred(image: Tensor) -> Tensor:
    """Means of 3x3 pixels, of which the middle one counts five times; the border stays as it is."""
    kernel = torch.ones(3, 3, device=image.device)
    kernel[1, 1] = 5.0
    kernel = (kernel / kernel.sum()).expand(3, 1, 3, 3)
    out = image.clone()
    out[:, :, 1:-1, 1:-1] = F.conv2d(image, kernel, groups=3).round_()
    return out
