"""From uint8 images, on the device or streamed to it, to augmented float batches. Knows nothing of methods."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from ltlib.data import samplers
from ltlib.data.augment import augment, to_float
from ltlib.data.stream import Stream, batches
from ltlib.distributed import part

# Batches an epoch, given N images and batches of B.
LENGTHS = {
    "all": lambda n, b: math.ceil(n / b),  # the last batch may be smaller
    "drop_last": lambda n, b: max(n // b, 1),  # full batches only, as ResLT trains
    "one_more": lambda n, b: math.ceil(n / b) + 1,  # full batches of an endless sampler: stage 2 of MiSLAS
}


class Batch(NamedTuple):
    """What a method's loss receives."""

    x: Tensor  #: float images in [0, 1], (B, C, H, W); normalisation lives inside the model
    y: Tensor  #: labels (B,)
    progress: float = 0.0  #: epochs of this stage that came before, over all ranks: 2.5 is halfway through the third
    x_other: Tensor | None = None  #: as many images of a second stream, where the stage has one
    y_other: Tensor | None = None  #: their labels


class Loader:
    """Batches of one training stage, drawn and augmented on the device.

    Args:
        images: uint8 (N, C, H, W), already on the device, or a `Stream` to it.
        labels: int64 (N,), on the same device.
        shapes: (N, 2) height and width of the files, if whole images were squeezed to squares; else None.
        sampler: a name from ``samplers.SAMPLERS``.
        epochs: length of the stage (progressively balanced sampling needs it).
        batch_size: images a step.
        augmentation: a name from ``augment.AUGMENTATIONS``.
        length: a name from ``LENGTHS``.
        partners: a name from ``samplers.SAMPLERS`` of a sampler without a memory, for a second stream of images with an
            augmentation of its own; empty for none.
    """

    def __init__(
        self,
        images: Tensor | Stream,
        labels: Tensor,
        shapes: Tensor | None = None,
        *,
        sampler: str,
        epochs: int,
        batch_size: int,
        augmentation: str,
        length: str = "all",
        partners: str = "",
    ):
        self.images, self.labels, self.shapes = images, labels, shapes
        self.batch_size, self.augmentation = batch_size, augmentation
        self.batches = LENGTHS[length](len(labels), batch_size)
        self.size = len(labels) if length == "all" else self.batches * batch_size
        self.sampler = samplers.make(sampler, labels, epochs, self.size)
        self.partners = samplers.make(partners, labels, epochs, self.size) if partners else None

    def __len__(self) -> int:
        """Batches an epoch."""
        return self.batches

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch, counted from 0 within the stage; of several processes, this one's share of each.

        The order is drawn at once, what happens to the images as they come.
        """
        first, second = (self._order(sampler, epoch) for sampler in (self.sampler, self.partners))
        return self._batches(epoch, first, second) if second else self._batches(epoch, first)

    def _order(self, sampler: samplers.InstanceBalanced | None, epoch: int) -> list[Tensor]:
        return [part(index) for index in sampler.draw(epoch).split(self.batch_size)] if sampler else []

    def _batches(self, epoch: int, *orders: list[Tensor]) -> Iterator[Batch]:
        for step, parts in enumerate(zip(*(self._seen(order) for order in orders), strict=True)):
            progress = epoch + step * self.batch_size / self.size
            (x, y), *others = parts
            yield Batch(x, y, progress, *(others[0] if others else ()))

    def _seen(self, order: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Augmented images and labels of each batch."""
        for index, x in zip(order, batches(self.images, order), strict=True):
            shapes = None if self.shapes is None else self.shapes[index]
            yield to_float(augment(x, self.augmentation, shapes)), self.labels[index]
