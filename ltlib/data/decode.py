"""One image file to uint8 pixels of the wanted side. Knows nothing of data sets."""

from __future__ import annotations

import numpy as np
from PIL import Image, UnidentifiedImageError

from ltlib.errors import InputError

# Modes of eight bits a channel, which RGB can hold. Sixteen bits or floats would be cut off without a word.
MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr"}


def first_side(path: str) -> int:
    """The side of a square image, in pixels.

    Raises:
        InputError: it cannot be read, or is not square.
    """
    width, height = _read(path).size
    if width != height:
        raise InputError(
            f"{path} is {width}x{height}, not square: set image_size in the overrides to resize all images."
        )
    return width


def decode(path: str, side: int, how: str) -> np.ndarray:
    """The pixels of an image file, uint8 (3, side, side).

    Grey, palette and CMYK images become RGB, transparency is dropped, and the orientation tag of cameras is ignored,
    all as torchvision's image folders do.

    Args:
        path: the file.
        side: in pixels.
        how: ``keep`` takes the image as it is; ``resize`` is torchvision's ``Resize(side)``, ``CenterCrop(side)``;
            ``halve`` averages 2x2 pixels.

    Raises:
        InputError: the file cannot be decoded, or does not have the size that ``how`` asks for.
    """
    image = _read(path)
    if how == "resize":
        image = _short_side(image, side)
    elif how == "halve":
        image = image.reduce(2)
    if image.size != (side, side):
        raise InputError(
            f"{path} is {image.width}x{image.height} but the first image is {side}x{side}: "
            f"set image_size in the overrides to resize all images."
        )
    return np.asarray(image).transpose(2, 0, 1)


def _read(path: str) -> Image.Image:
    try:
        with Image.open(path) as image:
            if image.mode in MODES:
                return image.convert("RGB")
            reason = f"its mode {image.mode} has more than eight bits a channel"
    except FileNotFoundError:
        raise InputError(f"{path} is missing: add it, or take it out of the data set.") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error)
    raise InputError(f"{path} cannot be decoded as an image ({reason}): replace or remove it.")


def _short_side(image: Image.Image, side: int) -> Image.Image:
    """Scale the short side to ``side`` and cut out the middle, rounded as torchvision rounds."""
    short = min(image.size)
    width, height = (int(side * length / short) for length in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return image.crop((left, top, left + side, top + side))
