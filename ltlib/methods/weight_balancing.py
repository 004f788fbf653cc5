"""Weight balancing (Alshammari et al., CVPR 2022, arXiv 2203.14197): strong decay first, then rows of bounded length.

A classifier that was trained on a long tail has longer rows for its frequent classes. Two plain regularisers balance
them. Weight decay, tuned to be strong, shrinks large weights in the first stage. In the second stage, on frozen
convolutions, MaxNorm caps the length of each row of the classifier, next to another weight decay and class-balanced
weights in the loss.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ltlib.errors import InputError
from ltlib.methods.baselines import effective_weights
from ltlib.methods.large import LARGE
from ltlib.methods.method import Stage, check_positive, check_weight
from ltlib.methods.mislas import TwoStage
from ltlib.models import Network

# The released notebooks, which are for CIFAR-100-LT at factor 100 only.
RECIPE: dict[str, object] = {
    "backbone": "resnet34",
    "epochs": 320,
    "batch_size": 64,
    "lr": 0.01,
    "weight_decay": 5e-3,
    "schedule": "cosine",
}


def longest_row(weight: Tensor, threshold: float) -> Tensor:
    """The radius of MaxNorm: between the shortest row (threshold 0) and the longest one (1) of a (K, D) matrix, ()."""
    length = weight.norm(dim=1)
    # delta = min |w_k| + threshold (max |w_k| - min |w_k|)
    return length.min() + threshold * (length.max() - length.min())


def max_norm(weight: Tensor, radius: Tensor) -> Tensor:
    """Project each row of a (K, D) matrix onto the ball with this radius."""
    # w_k <- min(1, delta / |w_k|) w_k
    return weight * (radius / weight.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1)


def balanced_binary(z: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """The class-balanced loss of the released code: binary cross-entropy of every softmax probability, a scalar.

    Args:
        z: logits (B, K).
        y: labels (B,).
        weights: (K,), of the classes.
    """
    log_p = z.log_softmax(1)
    true = log_p.gather(1, y[:, None]).squeeze(1)
    # log(1 - p_i); where p_i rounds to 1 the slope has no bound
    others = torch.log1p(-log_p.exp().clamp(max=1 - 2**-24))
    # L = w_y / K (-log p_y - sum_{i != y} log(1 - p_i))
    each = -true - (others.sum(1) - others.gather(1, y[:, None]).squeeze(1))
    return (weights[y] * each).mean() / z.shape[1]


class WeightBalancing(TwoStage):
    """Cross-entropy with a strong decay, then the classifier again with MaxNorm, decay and class-balanced weights.

    The arguments are many because each of them is a name that overrides can use.

    Symbols:
        - w_y, E_n, beta: weight of class y in the loss, effective number of n images, and the setting ``cb_beta``.
        - w_k: row k of the classifier.
        - delta: the longest length that a row can have.
        - threshold: the setting of this name, from 0 to 1.

    Paper against code:
        - The code projects the rows once after each epoch. Here they are projected after each step, as in the paper.
        - The loss of the second stage is called a softmax loss. It is the binary cross-entropy of each probability.
        - The code steps its schedule before the first epoch, so each rate comes one epoch early and the last is 0.
        - Released are notebooks for CIFAR-100-LT at factor 100 only. The recipe of CIFAR-10-LT here is the same.
        - The statistics of BatchNorm move in the second stage, because the code leaves the network in training mode.
        - The code keeps the epoch that is best on the test set, in both stages. Our tables report the last one.

    Args:
        threshold: where the radius of MaxNorm is between the shortest row (0) and the longest (1) after stage 1.
        cb_beta: of the weights by effective numbers in the second stage, in [0, 1).
        stage2_epochs: of the second stage.
        lr_factor: learning rate of the second stage over that of the recipe, above 0.
        stage2_decay: weight decay of the second stage, at least 0.
        shift_bn: let the running statistics of BatchNorm move in the second stage.
        mixup_alpha, balanced, stage1: see :class:`~ltlib.methods.mislas.TwoStage`.

    Raises:
        InputError: a value is out of its range.
    """

    label = "weight balancing"

    stage2_sampler, stage2_length = "instance_balanced", "all"
    learn_classifier = True
    weights: Tensor
    radius: Tensor

    def __init__(
        self,
        network: Network,
        counts: Tensor,
        *,
        threshold: float = 0.1,
        cb_beta: float = 0.9999,
        stage2_epochs: int = 10,
        lr_factor: float = 1.0,
        stage2_decay: float = 0.1,
        shift_bn: bool = True,
        mixup_alpha: float = 0.0,
        balanced: bool = False,
        stage1: str = "",
    ):
        if not 0 <= threshold <= 1:
            raise InputError(f"threshold must be from 0 (the shortest row) to 1 (the longest); got {threshold}.")
        settings: dict[str, Any] = {"mixup_alpha": mixup_alpha, "balanced": balanced, "stage1": stage1}
        super().__init__(network, counts, stage2_epochs=stage2_epochs, shift_bn=shift_bn, **settings)
        check_positive("lr_factor", lr_factor)
        self.lr_factor, self.stage2_decay = lr_factor, check_weight("stage2_decay", stage2_decay)
        self.threshold = threshold
        self.register_buffer("weights", effective_weights(self.counts, cb_beta), persistent=False)
        self.register_buffer("radius", torch.zeros(()))  # known when the second stage begins; a resumed run reads it

    @classmethod
    def published(cls, dataset: str, imbalance_factor: float, backbone: str = "") -> dict[str, object]:
        """The released notebooks on CIFAR; no configuration of the large sets was released."""
        return RECIPE if dataset in ("cifar10", "cifar100") else LARGE.get(dataset, {})

    @torch.no_grad()
    def begin(self, stage: Stage) -> None:
        super().begin(stage)
        if self.in_stage2:
            self.radius.copy_(longest_row(self.network.classifier.weight, self.threshold))

    def smoothed(self, z: Tensor, y: Tensor) -> Tensor:
        """The class-balanced loss of the second stage, a scalar."""
        return balanced_binary(z, y, self.weights)

    @torch.no_grad()
    def after_step(self) -> None:
        """Project the rows of the classifier in the second stage."""
        if self.in_stage2:
            weight = self.network.classifier.weight
            weight.copy_(max_norm(weight, self.radius))
