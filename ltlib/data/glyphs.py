"""Glyphs: letters in the fonts that ship with matplotlib, in random colours and poses, with noise and clutter.

A data set that needs no download, for any number of images and up to ``len(ALPHABET)`` classes, the same for
the same seed. The difficulty is set so that at imbalance factor 100 a small network trained with
cross-entropy loses the tail and is over-confident, as on the photographs of the papers.
"""

from __future__ import annotations

import functools
import math
import string
from pathlib import Path

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ltlib.data.entry import Entry, Request
from ltlib.data.images import Dataset, Images
from ltlib.data.pace import as_size
from ltlib.errors import InputError

# Lower-case letters that are a smaller copy of their capital are left out; so are digits and Greek twins.
ALPHABET = string.ascii_uppercase + "abdefghmnqrty" + "23456789" + "ΓΔΘΛΞΠΣΦΨΩαβδζλμξπ"

FONTS = tuple(
    [f"DejaVu{family}{style}" for family in ("Sans", "SansMono") for style in ("", "-Bold", "-Oblique", "-BoldOblique")]
    + [f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")]
    + [f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")]
)

CANVAS = 80  # pixels of the square on which a glyph is drawn once, before it is posed
FONT_SIZE = 60
VIEW = 0.8  # share of the canvas that an image shows

# The difficulty, in one place. Lengths are fractions of the image side, intensities fractions of full scale.
ROTATION_SD = math.radians(13)
SHIFT_SD = 0.05
SCALE = (0.8, 1.1)
CONTRAST = (0.15, 0.45)
NOISE_SD = 16 / 255
CLUTTER = 0.5  # share of the images with a line across
CLUTTER_WIDTH = 0.06


@functools.cache
def _stencils(num_classes: int) -> Tensor:
    """Every letter in every font, centred, as coverage in [0, 1]: (fonts, classes, CANVAS, CANVAS)."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    pages = []
    for name in FONTS:
        font = ImageFont.truetype(folder / f"{name}.ttf", size=FONT_SIZE)
        for letter in ALPHABET[:num_classes]:
            page = Image.new("L", (CANVAS, CANVAS))
            draw = ImageDraw.Draw(page)
            left, top, right, bottom = draw.textbbox((0, 0), letter, font=font)
            corner = ((CANVAS - right - left) / 2, (CANVAS - bottom - top) / 2)
            draw.text(corner, letter, fill=255, font=font)
            pages.append(torch.from_numpy(np.array(page)))
    return torch.stack(pages).float().div_(255).reshape(len(FONTS), num_classes, CANVAS, CANVAS)


# Letters are drawn in memory: more than this is a slip of the finger, such as one zero too many.
DRAWN_BYTES = 4 * 2**30


def load_glyphs(request: Request) -> Dataset:
    """Letters as asked: training images with seed 0, test images with seed 1.

    Raises:
        InputError: there are not that many letters, or the images would take more than ``DRAWN_BYTES``.
    """
    size, classes = request.image_size or 16, request.num_classes
    needed = classes * (request.n_max + request.test_per_class) * 3 * size**2
    if needed > DRAWN_BYTES:
        raise InputError(
            f"glyphs with {classes} classes of {request.n_max:,} training and {request.test_per_class:,} test images "
            f"of {size}x{size} pixels would take {as_size(needed)} of memory; at most {as_size(DRAWN_BYTES)} are "
            f"drawn: lower n_max, test_per_class or image_size."
        )

    def split(per_class: int, seed: int) -> Images:
        labels = np.repeat(np.arange(classes), per_class)
        return Images(render(labels, classes, size, seed), labels)

    train, test = split(request.n_max, seed=0), split(request.test_per_class, seed=1)
    return Dataset("glyphs", train, test, tuple(ALPHABET[:classes]))


def render(labels: np.ndarray, num_classes: int, size: int = 16, seed: int = 0) -> np.ndarray:
    """Draw one image a label.

    Args:
        labels: (N,) integers below ``num_classes``.
        num_classes: the first letters of ``ALPHABET``.
        size: side of the image in pixels.
        seed: of all that is random: font, pose, colours, clutter, noise.

    Returns:
        uint8 images (N, 3, size, size).

    Raises:
        InputError: there are not that many letters.
    """
    if not 2 <= num_classes <= len(ALPHABET):
        raise InputError(f"glyphs has 2 to {len(ALPHABET)} classes (letters); got num_classes={num_classes}.")
    random = torch.Generator().manual_seed(seed)
    images = [
        _render(torch.from_numpy(np.asarray(part)), num_classes, size, random)
        for part in np.array_split(labels, max(len(labels) // 2048, 1))
    ]
    return torch.cat(images).numpy()


def _render(labels: Tensor, num_classes: int, size: int, random: torch.Generator) -> Tensor:
    n = len(labels)

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(n, *shape, generator=random)

    def normal(*shape: int) -> Tensor:
        return torch.randn(n, *shape, generator=random)

    font = torch.randint(len(FONTS), (n,), generator=random)
    coverage = _pose(
        _stencils(num_classes)[font, labels.long()],
        angle=ROTATION_SD * normal(),
        scale=uniform(low=SCALE[0], high=SCALE[1]),
        shift=2 * SHIFT_SD * normal(2),
        size=size,
    )
    # Ink is paper plus a modest contrast, of one sign for all colour channels, so that the letter is legible.
    paper = uniform(3, 1, 1, low=0.2, high=0.8)
    sign = torch.where(uniform(1, 1, 1) < paper.mean(1, keepdim=True), -1.0, 1.0)
    ink = paper + sign * uniform(3, 1, 1, low=CONTRAST[0], high=CONTRAST[1])
    x = torch.lerp(paper.expand(-1, -1, size, size), ink, coverage)

    line = _line(angle=uniform(high=math.pi), offset=uniform(low=-0.5, high=0.5), size=size)
    line = line * (uniform(1, 1, 1) < CLUTTER)
    x = torch.lerp(x, uniform(3, 1, 1), line)

    x = x + NOISE_SD * normal(3, size, size)
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


def _pose(stencil: Tensor, angle: Tensor, scale: Tensor, shift: Tensor, size: int) -> Tensor:
    """Rotate, scale and shift each stencil; sample at twice the size and average 2x2, (N, 1, size, size)."""
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    rows = [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)]
    affine = VIEW * torch.stack(rows, 1)
    grid = F.affine_grid(affine, [len(stencil), 1, 2 * size, 2 * size], align_corners=False)
    return F.avg_pool2d(F.grid_sample(stencil[:, None], grid, align_corners=False), 2)


def _line(angle: Tensor, offset: Tensor, size: int) -> Tensor:
    """Coverage of a straight line across the image, (N, 1, size, size)."""
    at = (torch.arange(size) + 0.5) / size - 0.5
    distance = (
        torch.cos(angle)[:, None, None] * at + torch.sin(angle)[:, None, None] * at[:, None] - offset[:, None, None]
    ).abs()
    # One pixel of soft edge around the given width.
    return ((CLUTTER_WIDTH / 2 - distance) * size + 0.5).clamp(0, 1)[:, None]


ENTRY = Entry("letters in many fonts, drawn on the spot; no download", load_glyphs, mirror=False)
