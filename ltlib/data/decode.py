"""One image file to uint8 pixels of the wanted side. Knows nothing of data sets."""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image, ImageOps

from ltlib.data.listing import shown
from ltlib.errors import InputError

# What Pillow decodes by itself. Formats for which it starts another program (EPS) or hides a vector image are left out.
FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "SGI", "TGA", "TIFF", "WEBP",
)  # fmt: skip

# Modes of eight bits a channel, which RGB can hold. Sixteen bits or floats would be cut off without a word.
MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr"}


@functools.cache
def endings() -> frozenset[str]:
    """Endings of image files, in small letters: ``.jpg``, ``.jfif``, ``.pgm`` and whatever else `FORMATS` go by."""
    names = {*formats(), "MPO"}  # several JPEG images in one file, of which the first is read
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in names)


@functools.cache
def formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this build of Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def first_side(path: str) -> int:
    """The side of a square image, in pixels.

    Raises:
        InputError: it cannot be read, or is not square.
    """
    width, height = _read(path).size
    if width != height:
        raise InputError(
            f"{shown(path)} is {width}x{height}, not square: set image_size in the overrides to resize all images."
        )
    return width


def decode(path: str, side: int, how: str, upright: bool = True) -> tuple[np.ndarray, tuple[int, int]]:
    """The pixels of an image file, uint8 (3, side, side), and the height and width of the image.

    Grey, palette and CMYK images become RGB, and transparency is dropped, as torchvision's image folders do.

    Args:
        path: the file.
        side: in pixels.
        how: ``keep`` takes the image as it is; ``resize`` is torchvision's ``Resize(side)``, ``CenterCrop(side)``;
            ``halve`` averages 2x2 pixels; ``squeeze`` scales height and width to ``side``, and nothing is cut off.
        upright: turn the image as the orientation tag of its camera says. torchvision ignores the tag.

    Raises:
        InputError: the file cannot be decoded, or does not have the size that ``how`` asks for.
    """
    image = _read(path, upright)
    shape = image.height, image.width
    if how == "resize":
        image = _short_side(image, side)
    elif how == "halve":
        image = image.reduce(2)
    elif how == "squeeze":
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    if image.size != (side, side):
        raise InputError(
            f"{shown(path)} is {image.width}x{image.height} but the first image is {side}x{side}: "
            f"set image_size in the overrides to resize all images."
        )
    return np.asarray(image).transpose(2, 0, 1), shape


def _read(path: str, upright: bool = True) -> Image.Image:
    """An image file as RGB.

    Raises:
        InputError: it is missing, must not be read, or cannot be decoded.
    """
    try:
        with Image.open(path, formats=formats()) as image:
            if image.mode in MODES:
                if upright:
                    ImageOps.exif_transpose(image, in_place=True)
                return image.convert("RGB")
            reason = f"its colour mode {image.mode} is none that 8-bit RGB can hold; save it as RGB"
    except FileNotFoundError:
        raise InputError(f"{shown(path)} is missing: add it, or take it out of the data set.") from None
    except PermissionError as error:
        raise InputError(f"{shown(path)} cannot be read ({error.strerror}): make it readable.") from error
    except Exception as error:  # decoders raise errors of every kind on damaged files
        reason = "no image format is recognised" if "cannot identify" in str(error) else str(error) or repr(error)
    raise InputError(f"{shown(path)} cannot be decoded as an image ({reason}): replace or remove it.")


def _short_side(image: Image.Image, side: int) -> Image.Image:
    """Scale the short side to ``side`` and cut out the middle, rounded as torchvision rounds."""
    short = min(image.size)
    width, height = (int(side * length / short) for length in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return image.crop((left, top, left + side, top + side))
