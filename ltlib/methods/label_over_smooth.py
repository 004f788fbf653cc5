"""Label over-smoothing (Sun et al., ICLR 2025, arXiv 2403.00250): re-train a classifier towards almost equal labels.

The first stage is cross-entropy with a strong weight decay. The second trains only the classifier, on the data as they
are, against labels smoothed so much that the true class has hardly more than 1/K. The logits then need only a small gap
between the classes. The loss does not use the class counts, and it rivals label-aware smoothing
(:mod:`ltlib.methods.mislas`), which does.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ltlib.errors import InputError
from ltlib.methods.large import LARGE
from ltlib.methods.method import check_positive, check_weight
from ltlib.methods.mislas import TwoStage
from ltlib.models import Network

# Both stages of the released script, which is for CIFAR-100-LT only.
RECIPE: dict[str, object] = {
    "backbone": "resnet34",
    "epochs": 200,
    "batch_size": 64,
    "lr": 0.01,
    "weight_decay": 5e-3,
    "schedule": "cosine",
}


class LabelOverSmooth(TwoStage):
    """Cross-entropy against (1 - delta) one-hot(y) + delta / K on frozen convolutions, with delta close to 1.

    The smallest loss is where the true logit leads by log(q_y / q_i), 0.19 for ten classes and delta 0.98. A network
    that was trained with a weak decay has much larger gaps. At a high rate the second stage then loses what separates
    the classes before it gets there, so ``lr_factor`` must fit the first stage.

    Symbols:
        - delta: the setting ``over_smooth``.
        - q: the smoothed label.

    Paper against code:
        - The released script is for CIFAR-100-LT only. The recipe of CIFAR-10-LT here is the same.
        - The script for the second stage has a delta of 0 as its default. The README calls it with 0.98.
        - The statistics of BatchNorm move in the second stage, because the code leaves the network in training mode.
        - The code keeps the epoch that is best on the test set, in both stages. Our tables report the last one.

    Args:
        over_smooth: delta, in [0, 1); 0 is plain cross-entropy.
        stage2_epochs: of the second stage.
        lr_factor: learning rate of the second stage over that of the recipe, above 0. The code has 0.0005 after 0.01.
        stage2_decay: weight decay of the second stage, at least 0.
        shift_bn: let the running statistics of BatchNorm move in the second stage.
        mixup_alpha, balanced, stage1: see :class:`~ltlib.methods.mislas.TwoStage`.

    Raises:
        InputError: a value is out of its range.
    """

    label = "LOS"

    stage2_sampler, stage2_length = "instance_balanced", "all"
    learn_classifier = True

    def __init__(
        self,
        network: Network,
        counts: Tensor,
        *,
        over_smooth: float = 0.98,
        stage2_epochs: int = 20,
        lr_factor: float = 0.05,
        stage2_decay: float = 0.0,
        shift_bn: bool = True,
        mixup_alpha: float = 0.0,
        balanced: bool = False,
        stage1: str = "",
    ):
        if not 0 <= over_smooth < 1:
            raise InputError(f"over_smooth must be at least 0 and below 1; got {over_smooth}.")
        settings: dict[str, Any] = {"mixup_alpha": mixup_alpha, "balanced": balanced, "stage1": stage1}
        super().__init__(network, counts, stage2_epochs=stage2_epochs, shift_bn=shift_bn, **settings)
        check_positive("lr_factor", lr_factor)
        self.lr_factor, self.stage2_decay = lr_factor, check_weight("stage2_decay", stage2_decay)
        self.over_smooth = over_smooth

    @classmethod
    def published(cls, dataset: str, imbalance_factor: float, backbone: str = "") -> dict[str, object]:
        """The released script on CIFAR; no configuration of the large sets was released."""
        return RECIPE if dataset in ("cifar10", "cifar100") else LARGE.get(dataset, {})

    def smoothed(self, z: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy against the over-smoothed labels, a scalar."""
        # q_y = 1 - delta + delta / K, q_i = delta / K of the others: CE(z, q)
        return F.cross_entropy(z, y, label_smoothing=self.over_smooth)
