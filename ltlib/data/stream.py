"""One split as training sees it: a tensor that stays on the device, or a stream of images that are too many for that.

A `Stream` is read from disk ahead of time and brought over one batch at a time.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from ltlib.data.images import Images
from ltlib.data.stored import StoredPixels

AHEAD = 3  # batches that wait, read, for their turn


class Stream:
    """uint8 images (N, 3, H, W) in files, with as much of the manners of a tensor on ``device`` as training needs.

    What is read, and in which order, is decided by whoever asks: the thread that reads draws nothing at random, so
    that a streamed training equals one whose images rest on the device, bit for bit.
    """

    def __init__(self, pixels: StoredPixels, device: torch.device):
        self.pixels, self.device, self.shape = pixels, device, torch.Size(pixels.shape)

    def __len__(self) -> int:
        return len(self.pixels)

    def batches(self, order: Iterable[Tensor]) -> Iterator[Tensor]:
        """The images at each tensor of positions, on the device; the next ``AHEAD`` batches are being read."""
        order = _on_the_host(list(order))
        with ThreadPoolExecutor(1, thread_name_prefix="reading images") as reader:
            waiting = deque(reader.submit(self._read, index) for index in itertools.islice(order, AHEAD))
            while waiting:
                x = waiting.popleft().result()
                waiting.extend(reader.submit(self._read, index) for index in itertools.islice(order, 1))
                yield x.to(self.device, non_blocking=True)

    def _read(self, index: Tensor) -> Tensor:
        x = torch.from_numpy(self.pixels[index.numpy()])
        return x.pin_memory() if self.device.type == "cuda" else x


def _on_the_host(order: list[Tensor]) -> Iterator[Tensor]:
    """The positions of all batches, brought over at once: a GPU waits only once."""
    return iter(torch.cat(order).cpu().split([len(index) for index in order]) if order else ())


def batches(images: Tensor | Stream, order: Iterable[Tensor]) -> Iterator[Tensor]:
    """The images at each tensor of positions, wherever they rest."""
    return images.batches(order) if isinstance(images, Stream) else (images[index] for index in order)


class Split(NamedTuple):
    """Images and their labels on one device."""

    images: Tensor | Stream  #: uint8 (N, 3, H, W)
    labels: Tensor  #: int64 (N,)
    shapes: Tensor | None = None  #: int64 (N, 2) height and width of the files, if whole images were squeezed


def on_device(images: Images, device: torch.device) -> Split:
    """A split in memory as tensors on ``device``; one that stays in files as a `Stream` to it.

    How large a split may be in memory, ``ltlib.data.images.RESTING_BYTES`` says. Training gives the same result
    either way.
    """
    labels = torch.from_numpy(images.labels).to(device)
    shapes = None if images.shapes is None else torch.from_numpy(images.shapes).to(device)
    if isinstance(images.pixels, StoredPixels):
        return Split(Stream(images.pixels, device), labels, shapes)
    return Split(torch.from_numpy(images.pixels).to(device), labels, shapes)
