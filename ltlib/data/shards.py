"""Decoded images on disk: every file of a `Listing` is opened, checked and resized once, then read as plain arrays.

The images of a data set, training images first, are cut into shards of at most ``SHARD_BYTES``. A shard is
``00000.npy`` (uint8, (n, 3, side, side)) and ``00000.about.npz``, written last, which says what it was made of.
Each is written beside and renamed, so that a killed preparation goes on after the last whole shard. At every start
the size and the time of change of the image files are compared; only shards whose files changed are decoded anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
from filelock import FileLock, Timeout

from ltlib import paths
from ltlib.data import real_files
from ltlib.data.decode import decode, first_side
from ltlib.data.images import Dataset, Images
from ltlib.data.listing import Listing, shown
from ltlib.data.pace import Pace, as_size
from ltlib.data.stored import StoredPixels
from ltlib.errors import InputError

FORMAT = 2  # raised whenever the same files would be stored in another way, so that old caches are not read
SHARD_BYTES = 2**27
# At every start at most so many files are looked at, evenly spread: a quarter of a second on a warm disk. In larger
# data sets an edit may go unseen; README says to delete the cache then.
LOOKED_AT = 100_000
CHUNK = 64  # images that a thread decodes at a time
NAMED = 3  # bad images that a message names
GIVE_UP = 100  # after so many bad images the rest are not looked for


def load(listing: Listing, *, side: int = 0, how: str = "keep", whole: int = 0) -> Dataset:
    """The data set of a listing, decoded on the first call, read from ``LTLIB_CACHE`` afterwards.

    Args:
        listing: which files, with which labels.
        side: of the stored images, in pixels; 0 takes that of the first image.
        how: see :func:`ltlib.data.decode.decode`.
        whole: side of the squares that whole training images are squeezed to, for training that cuts parts out of
            them; 0 stores them as the test images.

    Returns:
        A data set whose pixels stay in files, see `StoredPixels`.

    Raises:
        InputError: images are missing or cannot be used (the first are named), or the cache cannot be written.
    """
    real_files.check(listing)
    root = str(listing.root.resolve())
    train, test = ([os.path.join(root, path) for path in paths] for paths in (listing.train, listing.test))

    def stored(files: list[str], side: int, how: str) -> StoredPixels:
        return Store(root, files, side or first_side(files[0]), how, listing.upright).pixels()

    if whole:
        pixels = stored(train, whole, "squeeze")

        def as_tested(images: Images) -> Images:
            assert isinstance(images.pixels, StoredPixels)
            return Images(stored([train[row] for row in images.pixels.rows], side, how), images.labels)

        return Dataset(
            listing.name,
            Images(pixels, listing.train_labels, pixels.shapes),
            Images(stored(test, side, how), listing.test_labels),
            listing.class_names,
            as_tested=as_tested,
        )
    pixels = stored([*train, *test], side, how)
    everything = Images(pixels, np.concatenate([listing.train_labels, listing.test_labels]))
    first, rest = np.split(np.arange(len(everything)), [len(train)])
    return Dataset(listing.name, everything.take(first), everything.take(rest), listing.class_names)


@dataclass(frozen=True)
class Record:
    """What is known of a whole shard."""

    source: str  #: of which files, see ``Store._source``
    sha256: str  #: of its pixels
    written: tuple[int, int]  #: size in bytes and time of change of the ``.npy`` file
    sums: np.ndarray  #: int64 (n, 2, 3): sum and sum of squares of each image's channels
    shapes: np.ndarray  #: int64 (n, 2): height and width of each file


class Store:
    """The shards of one list of files at one size."""

    def __init__(self, root: str, files: list[str], side: int, how: str, upright: bool = True):
        self.root, self.files, self.side, self.how, self.upright = root, files, side, how, upright
        self.per_shard = max(1, SHARD_BYTES // (3 * side * side))
        self.starts = range(0, len(files), self.per_shard)
        about = f"{FORMAT} {self.per_shard} {side} {how} {upright}"
        digest = hashlib.sha256(os.fsencode("\n".join([about, *files])))
        self.folder = paths.cache_root() / f"images-{digest.hexdigest()[:24]}"

    def pixels(self) -> StoredPixels:
        """All images, after decoding those that are not here yet."""
        found = self._records()
        if None in found:
            self._check_present()
            with self._locked():
                found = self._decode_missing(self._records())  # another process may have prepared some in the meantime
        records = [record for record in found if record is not None]
        return StoredPixels(
            files=tuple(self._shard(i) for i in range(len(records))),
            per_shard=self.per_shard,
            side=self.side,
            sums=np.concatenate([record.sums for record in records]),
            sha256=hashlib.sha256(" ".join(record.sha256 for record in records).encode()).hexdigest(),
            rows=np.arange(len(self.files)),
            shapes=np.concatenate([record.shapes for record in records]),
        )

    def _shard(self, i: int) -> Path:
        return self.folder / f"{i:05d}.npy"

    def _records(self) -> list[Record | None]:
        """The record of each shard; None where it must be decoded (anew)."""
        return [self._record(i) for i in range(len(self.starts))]

    def _record(self, i: int) -> Record | None:
        try:
            with open(self._shard(i).with_suffix(".about.npz"), "rb") as file, np.load(file) as about:
                record = Record(
                    source=str(about["source"]),
                    sha256=str(about["sha256"]),
                    written=tuple(about["written"].tolist()),
                    sums=about["sums"],
                    shapes=about["shapes"],
                )
            if record.source != self._source(i):
                return None
            return record if self._is_whole(self._shard(i), record) else None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def _is_whole(self, shard: Path, record: Record) -> bool:
        """Whether a shard is what was written: trusted if its size and time are, else hashed once."""
        if _written(shard) == record.written:
            return True
        if _sha256(np.load(shard, mmap_mode="r")) != record.sha256:
            return False
        with contextlib.suppress(OSError):  # of a copied cache that may only be read
            os.utime(shard, ns=(record.written[1], record.written[1]))
        return True

    def _source(self, i: int) -> str:
        """A hash of size and time of change of the shard's image files, or of some of very many."""
        step = -(-len(self.files) // LOOKED_AT)
        first = self.starts[i]
        digest = hashlib.sha256()
        for file in self.files[first + -first % step : first + self.per_shard : step]:
            digest.update("{} {}\n".format(*_written(file)).encode())
        return digest.hexdigest()

    def _check_present(self) -> None:
        """Raise :class:`InputError` if listed files are missing, before an hour of decoding finds out."""
        missing = [file for file in self.files if not os.path.exists(file)]
        if missing:
            raise InputError(
                f"{len(missing):,} of {len(self.files):,} images are missing in {shown(self.root)}, the first: "
                f"{', '.join(map(shown, missing[:NAMED]))}: complete the download, or give the right data_dir."
            )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One process decodes, others wait for it. What a killed one left half written is removed."""
        paths.make_folder(self.folder, "LTLIB_CACHE")
        lock = FileLock(self.folder / ".lock")
        try:
            try:
                lock.acquire(timeout=0)
            except Timeout:
                print(f"Another process is decoding the images of {shown(self.root)}: waiting for it.", flush=True)
                lock.acquire()
            for left in self.folder.glob(".*.tmp"):
                left.unlink()
        except OSError as error:
            raise InputError(
                f"{self.folder} is not writable ({error.strerror}): set LTLIB_CACHE to a folder that is."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _decode_missing(self, records: list[Record | None]) -> list[Record | None]:
        todo = [i for i, record in enumerate(records) if record is None]
        images = sum(len(self._files_of(i)) for i in todo)
        self._check_space(images)
        if images:
            print(
                f"Decoding {images:,} images from {shown(self.root)} into {self.folder}\n"
                f"({as_size(self._bytes(images))} on disk at {self.side}x{self.side} pixels; done once, later runs "
                f"read them).",
                flush=True,
            )
        bad: list[str] = []
        pace = Pace(images)
        with ThreadPoolExecutor(joblib.cpu_count()) as pool:
            for i in todo:
                records[i] = self._decode(i, pool, pace, bad)
                if len(bad) >= GIVE_UP:
                    break
        if bad:
            number = f"At least {len(bad):,}" if len(bad) >= GIVE_UP else f"{len(bad):,}"
            raise InputError(
                bad[0]
                if len(bad) == 1
                else f"{number} of {len(self.files):,} images cannot be used; the first: {' '.join(bad[:NAMED])}"
            )
        return records

    def _files_of(self, i: int) -> list[str]:
        return self.files[self.starts[i] : self.starts[i] + self.per_shard]

    def _bytes(self, images: int) -> int:
        return images * 3 * self.side * self.side

    def _check_space(self, images: int) -> None:
        free, needed = shutil.disk_usage(self.folder).free, self._bytes(images)
        if needed > free:
            raise InputError(
                f"The decoded images of {shown(self.root)} need {as_size(needed)} in {self.folder.parent}, where only "
                f"{as_size(free)} are free: free some space, set LTLIB_CACHE to a folder on a larger disk, or lower "
                f"image_size."
            )

    def _decode(self, i: int, pool: ThreadPoolExecutor, pace: Pace, bad: list[str]) -> Record | None:
        """Decode and write one shard; None if it has bad images, whose sentences are added to ``bad``."""
        source, files, already = self._source(i), self._files_of(i), len(bad)
        pixels = np.empty((len(files), 3, self.side, self.side), dtype=np.uint8)
        sums, shapes = np.empty((len(files), 2, 3), dtype=np.int64), np.zeros((len(files), 2), dtype=np.int64)

        def chunk(start: int) -> list[str]:
            problems = []
            for n, file in enumerate(files[start : start + CHUNK], start):
                try:
                    pixels[n], shapes[n] = decode(file, self.side, self.how, self.upright)
                except InputError as error:
                    problems.append(str(error))
            done = pixels[start : start + CHUNK]
            sums[start : start + CHUNK, 0] = done.sum(axis=(2, 3), dtype=np.int64)
            sums[start : start + CHUNK, 1] = np.square(done, dtype=np.uint16).sum(axis=(2, 3), dtype=np.int64)
            return problems

        for start, problems in zip(starts := range(0, len(files), CHUNK), pool.map(chunk, starts), strict=True):
            bad += problems
            pace(min(CHUNK, len(files) - start))
        if len(bad) > already:
            return None
        try:
            _replace(self._shard(i), lambda file: np.save(file, pixels))
            record = Record(source, _sha256(pixels), _written(self._shard(i)), sums, shapes)
            _replace(self._shard(i).with_suffix(".about.npz"), lambda file: np.savez(file, **vars(record)))
        except OSError as error:
            raise InputError(
                f"The decoded images could not be written to {self.folder} ({error.strerror}): free some space, or "
                f"set LTLIB_CACHE to another folder; what was decoded is kept."
            ) from error
        return record


def _written(path: str | Path) -> tuple[int, int]:
    """Size in bytes and time of change in nanoseconds."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def _sha256(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.data).hexdigest()


def _replace(path: Path, write) -> None:
    """Let ``write`` fill a file beside ``path``, make it durable, rename it."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
