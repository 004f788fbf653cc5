"""Which images an epoch shows, and in which order. A sampler knows labels, never images.

``sampler.draw(epoch)`` returns the image indices of one epoch as one tensor on the labels' device: as many as there
are images, unless ``size`` asks otherwise, which samplers that repeat images can give. All draws
come from torch's default generators, whose states the engine checkpoints; the only sampler with a memory of
its own is :class:`CyclicClassBalanced`, through ``state_dict`` and ``load_state_dict``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ltlib.errors import check_choice


class InstanceBalanced:
    """Every image once an epoch, shuffled: the head is seen as often as it is large."""

    def __init__(self, labels: Tensor, epochs: int, size: int | None = None):
        self.labels, self.size = labels, size or len(labels)

    def draw(self, epoch: int) -> Tensor:
        return torch.randperm(len(self.labels), device=self.labels.device)[: self.size]

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Nothing to restore: the order comes from torch's generator."""


class ClassProbability(InstanceBalanced):
    """Draw with replacement: first a class with probability p_j, then one of its images uniformly.

    Kang et al. 2020 (arXiv 1910.09217), eq. 1: p_j = n_j^q / sum_i n_i^q, with q = 1 instance-balanced,
    q = 1/2 square-root and q = 0 class-balanced; eq. 2, progressively balanced: p_j moves from q = 1 to
    q = 0 linearly over the epochs.

    Args:
        labels: shape (N,), on the device where indices are wanted.
        epochs: T, length of the stage.
        q: maps the progress t/T in [0, 1] to pairs (weight, q) whose weighted p_j are added.
    """

    def __init__(
        self,
        labels: Tensor,
        epochs: int,
        q: Callable[[float], list[tuple[float, float]]],
        size: int | None = None,
    ):
        super().__init__(labels, epochs, size)
        self.epochs, self.q = epochs, q
        self.counts = torch.bincount(labels)
        self.host_counts = self.counts.cpu()  # read here once, because a GPU waits for it
        # The images of class c stand at by_class[first[c] : first[c] + counts[c]].
        self.by_class = torch.argsort(labels, stable=True)
        self.first = (self.host_counts.cumsum(0) - self.host_counts).to(labels.device)

    def class_probabilities(self, epoch: int) -> Tensor:
        """p_j of the given epoch (counted from 0), float64 (K,) on the CPU; classes without images get 0."""
        progress = epoch / max(self.epochs - 1, 1)
        n = self.host_counts.double()
        p = torch.zeros_like(n)
        for weight, q in self.q(progress):
            n_q = torch.where(n > 0, n**q, 0)
            p += weight * n_q / n_q.sum()
        return p

    def draw(self, epoch: int) -> Tensor:
        # Apple GPUs have no float64, so the host draws for them.
        device = torch.device("cpu") if self.labels.device.type == "mps" else self.labels.device
        size = (self.size,)
        # The cumulative sum is taken on the CPU, because on a GPU it is not deterministic.
        upper = self.class_probabilities(epoch).cumsum(0)
        upper = upper / upper[-1]
        upper = (upper.pin_memory() if self.labels.is_cuda else upper).to(device, non_blocking=True)
        classes = torch.searchsorted(upper, torch.rand(size, dtype=torch.float64, device=device), right=True)
        n = self.counts.to(device)[classes]
        which = (torch.rand(size, dtype=torch.float64, device=device) * n).long().clamp(max=n - 1)
        classes, which = classes.to(self.labels.device), which.to(self.labels.device)
        return self.by_class[self.first[classes] + which]


def class_balanced(labels: Tensor, epochs: int, size: int | None = None) -> ClassProbability:
    return ClassProbability(labels, epochs, lambda progress: [(1.0, 0.0)], size)


def square_root(labels: Tensor, epochs: int, size: int | None = None) -> ClassProbability:
    return ClassProbability(labels, epochs, lambda progress: [(1.0, 0.5)], size)


def progressively_balanced(labels: Tensor, epochs: int, size: int | None = None) -> ClassProbability:
    # p_j(t) = (1 - t/T) p_j^(instance) + (t/T) p_j^(class)
    return ClassProbability(labels, epochs, lambda progress: [(1 - progress, 1.0), (progress, 0.0)], size)


class _Cycle:
    """An endless walk through ``items`` that reshuffles each time all were seen."""

    def __init__(self, items: Tensor):
        self.items, self.position = items, len(items)

    def take(self, n: int) -> Tensor:
        parts = []
        while n > 0:
            if self.position == len(self.items):
                self.items = self.items[torch.randperm(len(self.items))]
                self.position = 0
            parts.append(self.items[self.position : self.position + n])
            self.position += len(parts[-1])
            n -= len(parts[-1])
        return torch.cat(parts) if parts else self.items[:0]


class CyclicClassBalanced(InstanceBalanced):
    """The class-balanced sampler in the code of MiSLAS (and of the decoupling paper before it).

    Classes come from a shuffled cycle; each drawn class gives ``per_class`` consecutive images of its own
    shuffled cycle. So every class appears equally often to within one draw, and no image of a class comes
    back before all others were seen. The cycles go on from epoch to epoch.
    """

    per_class = 4

    def __init__(self, labels: Tensor, epochs: int, size: int | None = None):
        super().__init__(labels, epochs, size)
        host = labels.cpu()
        present = torch.unique(host)
        self.classes = _Cycle(present)
        self.images = {int(c): _Cycle(torch.nonzero(host == c).flatten()) for c in present}

    def draw(self, epoch: int) -> Tensor:
        classes = self.classes.take(-(-self.size // self.per_class))
        indices = torch.cat([self.images[int(c)].take(self.per_class) for c in classes])
        indices = indices[: self.size]
        # A GPU fetches the order from pinned memory by itself, while the host goes on.
        indices = indices.pin_memory() if self.labels.is_cuda else indices
        return indices.to(self.labels.device, non_blocking=True)

    def state_dict(self) -> dict:
        cycles = {"classes": self.classes} | {str(c): cycle for c, cycle in self.images.items()}
        return {name: {"items": cycle.items, "position": cycle.position} for name, cycle in cycles.items()}

    def load_state_dict(self, state: dict) -> None:
        for name, saved in state.items():
            cycle = self.classes if name == "classes" else self.images[int(name)]
            cycle.items, cycle.position = saved["items"], saved["position"]


SAMPLERS = {
    "instance_balanced": InstanceBalanced,
    "class_balanced": class_balanced,
    "class_balanced_cyclic": CyclicClassBalanced,
    "square_root": square_root,
    "progressively_balanced": progressively_balanced,
}


def make(name: str, labels: Tensor, epochs: int, size: int | None = None) -> InstanceBalanced:
    """The sampler called ``name`` for a stage of ``epochs`` epochs over images with these ``labels``."""
    check_choice("sampler", name, SAMPLERS)
    return SAMPLERS[name](labels, epochs, size=size)
