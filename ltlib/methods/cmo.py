"""CMO: context-rich minority oversampling (Park et al., CVPR 2022, arXiv 2112.00412).

The frequent classes have images with many backgrounds, and the rare ones do not. So a rectangle of a rare image is
pasted onto an image of the batch, as in CutMix, with both labels weighted by their pixels. The pasted images come from
a second stream, in which rare classes are drawn as often as frequent ones. The batch itself has the frequencies of the
data.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ltlib.data.augment import draw_patch, patch
from ltlib.data.loader import Batch
from ltlib.errors import InputError
from ltlib.methods.baselines import DeferredReweighting
from ltlib.methods.method import Stage, check_positive, check_weight
from ltlib.models import Network


class CMO(DeferredReweighting):
    """CE-DRW or Balanced Softmax on images onto which patches of rare classes are pasted.

    Symbols:
        - y_rare: the class of the rare image from which the patch comes.

    Paper against code:
        - The paper pastes onto every batch. The code does so with probability one half, and not in the first four and
          the last three epochs.
        - Released for CIFAR is a script for CIFAR-100-LT.
        - The code reports the epoch that is best on the test set. Our tables report the last one.

    Args:
        alpha: of Beta(alpha, alpha), the share of the image that stays, above 0.
        probability: that a batch is pasted onto, from 0 to 1.
        plain_first: epochs at the start without patches, at least 0.
        plain_last: epochs at the end without patches, at least 0.
        balanced: train by Balanced Softmax instead of cross-entropy; give it with ``drw_start=1``.
        drw_start, cb_beta: see :class:`~ltlib.methods.baselines.DeferredReweighting`.

    Raises:
        InputError: a value is out of its range.
    """

    label = "CE-DRW + CMO"
    prior: Tensor

    def __init__(
        self,
        network: Network,
        counts: Tensor,
        *,
        alpha: float = 1.0,
        probability: float = 0.5,
        plain_first: int = 4,
        plain_last: int = 3,
        balanced: bool = False,
        **settings: Any,
    ):
        super().__init__(network, counts, **settings)
        check_positive("alpha", alpha)
        if not 0 <= probability <= 1:
            raise InputError(f"probability must be from 0 to 1; got {probability}.")
        self.alpha, self.probability = alpha, probability
        self.plain_first = check_weight("plain_first", plain_first)
        self.plain_last = check_weight("plain_last", plain_last)
        self.epochs = 0  # known when the stage begins
        prior = self.counts.log() if balanced else torch.zeros_like(self.counts)
        self.register_buffer("prior", prior, persistent=False)

    @classmethod
    def as_stage1(cls, hyperparameters: dict[str, object]) -> dict[str, object]:
        return {"mixup_alpha": 0.0, "balanced": hyperparameters["balanced"]}

    def stages(self, epochs: int, schedule: str) -> tuple[Stage, ...]:
        return tuple(replace(stage, partners="class_balanced") for stage in super().stages(epochs, schedule))

    def begin(self, stage: Stage) -> None:
        super().begin(stage)
        self.epochs = stage.epochs

    def pastes(self, progress: float) -> bool:
        """Whether patches are pasted in this epoch."""
        return self.plain_first <= int(progress) < self.epochs - self.plain_last

    def phase(self, progress: float) -> tuple[bool, bool]:
        """Whether the weights have entered, and whether patches are pasted."""
        return super().phase(progress), self.pastes(progress)

    def loss(self, batch: Batch) -> Tensor:
        late, pasting = self.phase(batch.progress)
        weights = self.weights if late else None
        if not pasting or batch.x_other is None or batch.y_other is None:
            return F.cross_entropy(self.network(batch.x).float() + self.prior, batch.y, weight=weights)
        lam, centre = draw_patch(self.alpha, batch.x.device)
        # without a patch lambda is 1: the rectangle is empty
        lam = torch.where(torch.rand((), device=lam.device) < self.probability, lam, 1.0)
        x, left = patch(batch.x, batch.x_other, lam, centre)
        z = self.network(x).float() + self.prior
        own, other = (F.cross_entropy(z, y, weight=weights) for y in (batch.y, batch.y_other))
        # lambda CE(z, y) + (1 - lambda) CE(z, y_rare), lambda the share of pixels that is left
        return left * own + (1 - left) * other
