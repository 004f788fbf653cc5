"""Images too many to rest on the device: read from disk ahead of time, brought over a batch at a time."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

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
        order = iter(order)
        with ThreadPoolExecutor(1, thread_name_prefix="reading images") as reader:
            waiting = deque(reader.submit(self._read, index) for index in itertools.islice(order, AHEAD))
            while waiting:
                x = waiting.popleft().result()
                waiting.extend(reader.submit(self._read, index) for index in itertools.islice(order, 1))
                yield x.to(self.device, non_blocking=True)

    def _read(self, index: Tensor) -> Tensor:
        x = torch.from_numpy(self.pixels[index.cpu().numpy()])
        return x.pin_memory() if self.device.type == "cuda" else x


def batches(images: Tensor | Stream, order: Iterable[Tensor]) -> Iterator[Tensor]:
    """The images at each tensor of positions, wherever they rest."""
    return images.batches(order) if isinstance(images, Stream) else (images[index] for index in order)
