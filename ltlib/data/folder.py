"""Anyone's own images: one folder a class below ``train`` and ``test`` (or ``val``), decoded once and cached.

    my_birds/train/robin/0001.jpg   my_birds/test/robin/0001.jpg
    my_birds/train/wren/a.png       my_birds/test/wren/b.png

Labels follow the sorted folder names, images the sorted file names. The cache is keyed by every file's path,
size and time of change, so that an edited folder is decoded anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ltlib import paths
from ltlib.data.images import Dataset, Images
from ltlib.errors import InputError

EXTENSIONS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp"}
LAYOUT = "it must hold train/<class>/<image> and test/<class>/<image> (or val/ for test/)"


def load_folder(data_dir: str, image_size: int = 0) -> Dataset:
    """Load an image folder, from the cache where possible.

    Args:
        data_dir: the folder that holds ``train`` and ``test`` (or ``val``); relative paths are looked up from
            the working directory, then below ``LTLIB_DATA``.
        image_size: side in pixels to resize and centre-crop all images to; 0 keeps them, and then they must
            all be squares of one size.

    Raises:
        InputError: the folder, a class or an image is not as it must be; the message names it.
    """
    root = _find(data_dir)
    class_names, files = _list_files(root)
    cache = paths.cache_root() / f"folder-{_key(root, files, image_size)}"
    dataset = _read_cache(cache, class_names)
    if dataset is None:
        dataset = _decode(root, class_names, files, image_size)
        _write_cache(cache, dataset)
    return dataset


def _find(data_dir: str) -> Path:
    if not data_dir:
        raise InputError(f"dataset 'folder' needs data_dir, the path of your images; {LAYOUT}.")
    given = Path(data_dir).expanduser()
    for candidate in (given, paths.data_root() / given):
        if candidate.is_dir():
            return candidate
    raise InputError(f"data_dir {data_dir!r} is not a folder (nor is {paths.data_root() / given}); {LAYOUT}.")


def _list_files(root: Path) -> tuple[tuple[str, ...], dict[str, list[list[os.DirEntry]]]]:
    """Class names, and for each split the image files of each class."""
    test = next((name for name in ("test", "val") if (root / name).is_dir()), None)
    if not (root / "train").is_dir() or test is None:
        raise InputError(f"{root} has no {'test' if test is None else 'train'} folder: {LAYOUT}.")
    found = {split: _classes(root / split) for split in ("train", test)}
    names = {split: set(classes) for split, classes in found.items()}
    if names["train"] != names[test]:
        only = sorted(names["train"] ^ names[test])
        where = "train" if only[0] in names["train"] else test
        raise InputError(
            f"train and {test} in {root} must hold the same classes; {only[0]!r} is only in {where} "
            f"({len(only)} such): add the missing folder or remove this one."
        )
    class_names = tuple(sorted(names["train"]))
    if len(class_names) < 2:
        raise InputError(f"{root / 'train'} holds {len(class_names)} class folders; at least 2 are needed: {LAYOUT}.")
    return class_names, {
        "train": [found["train"][c] for c in class_names],
        "test": [found[test][c] for c in class_names],
    }


def _classes(split: Path) -> dict[str, list[os.DirEntry]]:
    """Class name -> its image files. Plain directory entries: a Path object a file would cost seconds."""
    classes = {}
    for folder in sorted(p for p in split.iterdir() if p.is_dir() and not p.name.startswith(".")):
        with os.scandir(folder) as entries:
            images = [e for e in entries if os.path.splitext(e.name)[1].lower() in EXTENSIONS and e.name[0] != "."]
        if not images:
            raise InputError(
                f"The class folder {folder} holds no image ({', '.join(sorted(EXTENSIONS))}): fill or remove it."
            )
        classes[folder.name] = sorted(images, key=lambda e: e.name)
    return classes


def _key(root: Path, files: dict[str, list[list[os.DirEntry]]], image_size: int) -> str:
    digest = hashlib.sha256(f"{root.resolve()} {image_size}".encode())
    for entry in (e for split in files.values() for images in split for e in images):
        status = entry.stat()
        digest.update(f"{entry.path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]


def _decode(
    root: Path, class_names: tuple[str, ...], files: dict[str, list[list[os.DirEntry]]], image_size: int
) -> Dataset:
    total = sum(len(images) for split in files.values() for images in split)
    print(f"Decoding {total:,} images from {root} (once; later runs read the cache).", flush=True)
    side = image_size or _side(files["train"][0][0].path)
    splits = {}
    for split, classes in files.items():
        images = [e.path for c in classes for e in c]
        labels = np.repeat(np.arange(len(classes)), [len(c) for c in classes])
        pixels = np.empty((len(images), 3, side, side), dtype=np.uint8)

        def decode(start: int, images: list[str] = images, pixels: np.ndarray = pixels) -> None:
            for i, path in enumerate(images[start : start + 256], start):
                pixels[i] = _open(path, side, resize=image_size > 0)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(decode, range(0, len(images), 256)))
        splits[split] = Images(pixels, labels)
    return Dataset(f"folder:{root.resolve().name}", splits["train"], splits["test"], class_names)


def _side(path: str) -> int:
    """The side of the first image, which all others must share."""
    width, height = _read(path).size
    if width != height:
        raise InputError(
            f"{path} is {width}x{height}, not square: set image_size in the overrides to resize all images."
        )
    return width


def _read(path: str) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} cannot be decoded as an image ({error}): replace or remove it.") from error


def _open(path: str, side: int, resize: bool) -> np.ndarray:
    image = _read(path)
    if resize:
        image = ImageOps.fit(image, (side, side), Image.Resampling.BILINEAR)
    if image.size != (side, side):
        raise InputError(
            f"{path} is {image.width}x{image.height} but the first image is {side}x{side}: "
            f"set image_size in the overrides to resize all images."
        )
    return np.asarray(image).transpose(2, 0, 1)


def _read_cache(cache: Path, class_names: tuple[str, ...]) -> Dataset | None:
    """The cached data set, or None where there is none or it is damaged."""
    try:
        about = json.loads((cache / "about.json").read_text())
        train, test = (
            Images(np.load(cache / f"{split}_pixels.npy"), np.load(cache / f"{split}_labels.npy"))
            for split in ("train", "test")
        )
    except (OSError, ValueError, KeyError):
        return None
    dataset = Dataset(about["name"], train, test, class_names)
    return dataset if dataset.fingerprint == about["fingerprint"] else None


def _write_cache(cache: Path, dataset: Dataset) -> None:
    """Write beside and rename, so that a killed process leaves no half cache under the final name."""
    paths.make_folder(cache.parent, "LTLIB_CACHE")
    try:
        temporary = Path(tempfile.mkdtemp(prefix=".folder-", dir=cache.parent))
    except OSError as error:
        raise InputError(
            f"{cache.parent} is not writable ({error.strerror}): set LTLIB_CACHE to a folder that is."
        ) from error
    try:
        for split, images in (("train", dataset.train), ("test", dataset.test)):
            np.save(temporary / f"{split}_pixels.npy", images.pixels)
            np.save(temporary / f"{split}_labels.npy", images.labels)
        about = {"name": dataset.name, "fingerprint": dataset.fingerprint}
        (temporary / "about.json").write_text(json.dumps(about))
        shutil.rmtree(cache, ignore_errors=True)
        # Another process may have finished the same cache first: then ours is not needed.
        with contextlib.suppress(FileExistsError):
            temporary.rename(cache)
    except OSError as error:
        raise InputError(
            f"The decoded images could not be cached in {cache.parent} ({error.strerror}): free some space, "
            f"or set LTLIB_CACHE to another folder."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
