"""RIDE + ResLT: experts that each end in residual branches (ResLT's paper, arXiv 2101.10633, and its released code).

The experts of RIDE share the first layers of a network. Here each one ends in ResLT's branches instead of a cosine
classifier, and learns by ResLT's loss. There is no diversity term and no margin. The prediction sums the logits of
all branches of all experts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ltlib.data.loader import Batch
from ltlib.errors import InputError
from ltlib.methods.method import Passes, Stage
from ltlib.methods.reslt import ResLT
from ltlib.methods.ride import NARROW
from ltlib.models import Network
from ltlib.models.backbone import Backbone
from ltlib.models.initial import INITS
from ltlib.models.resnet import CifarResNet


class BranchedExpert(nn.Module):
    """What one further expert has of its own: later layers, branches and a classifier."""

    def __init__(self, later: nn.Module, branches: nn.Module, classifier: nn.Linear):
        super().__init__()
        self.later, self.branches, self.classifier = later, branches, classifier


class RIDEResLT(ResLT):
    """sum_e L_ResLT(z_e, y) over experts e that share the first stage of a ResNet.

    Symbols:
        - z_e: logits of the branches of expert e.

    Paper against code:
        - The released code has this for ImageNet-LT (ResNeXt-50) and iNaturalist, where two stages are shared. Here a
          CIFAR ResNet shares its first stage, as :class:`~ltlib.methods.ride.RIDE` does, and the branches are those of
          ResLT on CIFAR. No number of this combination on CIFAR was published.
        - The code has RIDE's experts and narrow layers, but not its diversity term, margins or distillation.
        - The code also clips the loss of the sum, which changes it only where the probability is far below 1e-7.

    Args:
        experts: how many, at least 2.
        narrow: give the later layers three quarters of the usual channels.
        beta, groups, design, transform, pool_first, evaluation, gamma, balanced, clip: see
            :class:`~ltlib.methods.reslt.ResLT`.

    Raises:
        InputError: a value is out of its range, or the backbone is no CIFAR ResNet.
    """

    label = "RIDE + ResLT"

    def __init__(self, network: Network, counts: Tensor, *, experts: int = 3, narrow: bool = True, **settings: Any):
        backbone = network.backbone
        if not isinstance(backbone, CifarResNet):
            raise InputError("ride_reslt shares the first stage of a CIFAR ResNet: choose a backbone such as resnet32.")
        if experts < 2:
            raise InputError(f"experts must be at least 2; got {experts}.")
        width = NARROW if narrow else 1.0
        # the network is the first expert: its later stages and its classifier are built again in this width
        backbone.widen(width)
        INITS[backbone.init](backbone)
        network.classifier = nn.Linear(backbone.features, len(counts))
        super().__init__(network, counts, **settings)
        self.width, self.others = width, nn.ModuleList()
        for _ in range(experts - 1):
            later = backbone.later(width)
            INITS[backbone.init](later)
            branches = type(self.branches)(backbone.features, len(self.sets))
            self.others.append(BranchedExpert(later, branches, nn.Linear(backbone.features, len(counts))))

    def expert_logits(self, x: Tensor) -> Tensor:
        """Logits of all branches of all experts (E, J, B, K), from one pass through the layers that they share."""
        backbone: Any = self.network.backbone
        maps = backbone.stage1(backbone.stem(self.network.normalize(x)))
        first = self.branched(backbone.stage3(backbone.stage2(maps)), self.branches, self.network.classifier)
        others: Any = self.others
        return torch.stack([first, *(self.branched(e.later(maps), e.branches, e.classifier) for e in others)]).float()

    def loss(self, batch: Batch) -> Tensor:
        # L = sum_e (beta L_ind(z_e) + (1 - beta) L_fus(z_e))
        return torch.stack([self.fit(z, batch.y) for z in self.expert_logits(batch.x)]).sum()

    def logits(self, x: Tensor) -> Tensor:
        """The sum over all experts and branches, (B, K)."""
        return self.expert_logits(x).sum((0, 1))

    def passes(self, stage: Stage) -> dict[str, Passes]:
        """Each of the three stages of the network costs about a third of it, and costs of width squared."""
        later = 2 / 3 * ((1 + len(self.others)) * self.width**2 - 1)
        return {"network": Passes(forward=3 * later, training=1)}

    @classmethod
    def released_name(cls, name: str, backbone: Backbone) -> str | None:
        """Not possible.

        Raises:
            InputError: always.
        """
        raise InputError("No released checkpoint has ride_reslt on a CIFAR ResNet: train it, or import a ResLT.")

    @staticmethod
    def plain_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Not possible.

        Raises:
            InputError: always.
        """
        raise InputError("A run of ride_reslt has several experts and cannot be taken over: name another run.")
