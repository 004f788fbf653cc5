"""Which epoch of a training is reported: the last one, or the one that was best on held-out images."""

from __future__ import annotations

from torch import Tensor

from ltlib.training.checkpoint import on_host

KEEP = ("last", "best_on_validation")

# What the best epoch is chosen by: the first that was measured.
CHOSEN_BY = ("validation_robust_accuracy", "validation_accuracy")


class Best:
    """The weights of the epoch with the highest held-out accuracy so far; of equal epochs, the first.

    Attributes:
        epoch: counted from 1; 0 before the first that was measured.
        score: its held-out accuracy, under attack where the method is trained against one.
        weights: of the method after it, on the host.
    """

    def __init__(self):
        self.epoch, self.score = 0, -1.0
        self.weights: dict[str, Tensor] = {}

    def offer(self, record: dict, weights: dict[str, Tensor]) -> None:
        """Take an epoch if it is better.

        Args:
            record: of the epoch. One that was not measured on held-out images is passed over.
            weights: of the method after it.
        """
        score = next((record[name] for name in CHOSEN_BY if name in record), -1.0)
        if score > self.score:
            self.epoch, self.score, self.weights = record["epoch"], score, on_host(weights)

    def state_dict(self) -> dict:
        """For a checkpoint."""
        return {"epoch": self.epoch, "score": self.score, "weights": self.weights}

    def load_state_dict(self, state: dict) -> None:
        """As it was when :meth:`state_dict` was taken."""
        self.epoch, self.score, self.weights = state["epoch"], state["score"], state["weights"]
