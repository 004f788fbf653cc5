"""Pixels that rest in files: an array of images that reads only the rows asked for."""

from __future__ import annotations

from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np

from ltlib.errors import InputError


@dataclass(frozen=True, eq=False)
class StoredPixels:
    """uint8 images (N, 3, H, W), spread over ``.npy`` files; choosing and cropping copy nothing.

    An index of the first axis (number, slice, positions, mask) reads those images into memory. They are read, not
    mapped: that costs a tenth of the time for a few images a file, and neither memory nor open files grow with
    the data set.

    Attributes:
        files: the shards; all but the last hold ``per_shard`` images.
        per_shard: images a shard.
        side: of the stored images, in pixels.
        sums: int64, (images stored, 2, 3): sum and sum of squares of each image's channels.
        sha256: of all stored pixels.
        shapes: int64, (images stored, 2): height and width of each file.
        rows: int64, (N,): which of the stored images these are, in which order.
        margin: pixels left out at the top and left, and at the bottom and right.
    """

    files: tuple[Path, ...]
    per_shard: int
    side: int
    sums: np.ndarray
    sha256: str
    rows: np.ndarray
    shapes: np.ndarray
    margin: tuple[int, int] = (0, 0)

    dtype = np.dtype(np.uint8)
    ndim = 4

    @property
    def shape(self) -> tuple[int, int, int, int]:
        visible = self.side - sum(self.margin)
        return len(self.rows), 3, visible, visible

    @property
    def nbytes(self) -> int:
        """Bytes that these images would take in memory."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which) -> np.ndarray:
        rows = self.rows[which]
        return self._read(rows) if np.ndim(rows) else self._read(rows[None])[0]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self._read(self.rows).astype(dtype or np.uint8, copy=False)

    def _read(self, rows: np.ndarray) -> np.ndarray:
        out = np.empty((len(rows), *self.shape[1:]), dtype=np.uint8)
        shard, place = np.divmod(rows, self.per_shard)
        for s in np.unique(shard):
            wanted = np.flatnonzero(shard == s)
            try:
                with open(self.files[s], "rb", buffering=0) as file:
                    self._read_from(file, place[wanted], wanted, out)
            except OSError as error:
                raise InputError(
                    f"{self.files[s]} was removed or damaged ({error}): start again, and it is decoded anew."
                ) from error
        return out

    def _read_from(self, file: FileIO, places: np.ndarray, targets: np.ndarray, out: np.ndarray) -> None:
        """Read the images at ``places`` of one shard into ``out[targets]``."""
        image = np.empty((3, self.side, self.side), dtype=np.uint8)
        first, last = self.margin[0], self.side - self.margin[1]
        file.seek(8)  # the format .npy: magic and version, then the length of the header in two bytes
        begin = 10 + int.from_bytes(file.read(2), "little")
        for place, target in zip(places, targets, strict=True):
            file.seek(begin + place * image.nbytes)
            if file.readinto((image if any(self.margin) else out[target]).data) != image.nbytes:
                raise OSError("cut off")
            if any(self.margin):
                out[target] = image[:, first:last, first:last]

    def content(self) -> bytes:
        """What stands for these pixels in a fingerprint: the hash of all stored ones, and which of them are taken."""
        return f"{self.sha256} {self.margin}".encode() + self.rows.astype("<i8").tobytes()
