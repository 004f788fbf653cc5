"""RIDE: routing diverse distribution-aware experts (Wang et al., ICLR 2021, arXiv 2010.01809).

Several experts share the first layers of a network. Each has later layers and a cosine classifier of its own. All learn
every class by the loss of LDAM-DRW, and a second term rewards experts that differ from their mean. The prediction is
the mean of their logits. Averaging experts lowers the variance of the predictions, which is largest for rare classes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltlib.data.loader import Batch
from ltlib.errors import InputError
from ltlib.methods.margins import LDAM, CosineClassifier, with_margin
from ltlib.methods.method import Passes, Stage, check_weight
from ltlib.models import Network
from ltlib.models.initial import INITS
from ltlib.models.resnet import CifarResNet

NARROW = 0.75  # of the usual channels in the later layers: 24 and 48 instead of 32 and 64


class Expert(nn.Module):
    """The later layers of one expert: maps of the shared layers (B, 16, H, W) -> logits (B, K)."""

    def __init__(self, later: nn.Module, classifier: nn.Module):
        super().__init__()
        self.later, self.classifier = later, classifier

    def forward(self, maps: Tensor) -> Tensor:
        return self.classifier(self.later(maps).mean((2, 3)))


def class_temperatures(counts: Tensor, factor: float) -> Tensor:
    """T_k of the diversity term, (K,), 1 for the most frequent class and lower for the others.

    Args:
        counts: (K,) training images of each class.
        factor: how far they follow the counts, in [0, 1); 0 gives 1 for all.
    """
    # T_k = (factor K n_k / N + 1 - factor), over its maximum
    t = factor * len(counts) * counts.double() / counts.double().sum() + 1 - factor
    return (t / t.max()).float()


def diversity(experts: Tensor, temperatures: Tensor) -> Tensor:
    """How far the experts are from their mean, summed over the experts and averaged over the batch, a scalar.

    Args:
        experts: logits (E, B, K).
        temperatures: (K,), see :func:`class_temperatures`.
    """
    mean = (experts.mean(0) / temperatures).softmax(1).detach()
    log_p = (experts / temperatures).log_softmax(2)
    # D = mean(T)^2 sum_e KL(p_mean || p_e), p = softmax(z / T)
    each = F.kl_div(log_p, mean.expand_as(log_p), reduction="sum") / experts.shape[1]
    return temperatures.mean().square() * each


class RIDE(LDAM):
    """sum_e LDAM-DRW(z_e, y) - w sum_e KL(p_mean || p_e) over experts e that share the first stage of a ResNet.

    Until the weights of LDAM-DRW enter, all classes have the temperature 1 in the diversity term.

    Symbols:
        - z_e: logits of expert e.
        - p, p_e: the softmax, of expert e; p_mean is that of the mean logits.
        - D: how far the experts differ.
        - w: weight of D, the setting ``diversity_weight``.
        - T: temperatures of the classes; T_k is that of class k.
        - factor: the setting ``temperature_factor``.
        - s: the setting ``scale``.
        - m_y: the margin of LDAM-DRW.

    Paper against code:
        - The paper routes an image to further experts only if the first are not confident. This is a separate training
          that saves time, and is left out here: all experts predict every image.
        - Distillation from six experts, which the paper adds in some rows, is left out.
        - The later layers of an expert have three quarters of the usual channels (``narrow``).
        - The paper compares each expert with each other one. The code compares it with the mean, as here.
        - Of CIFAR only a configuration of CIFAR-100-LT was released.
        - The code reports the epoch that is best on the test set. Our tables report the last one.

    Args:
        experts: how many, at least 2.
        diversity_weight: w, at least 0.
        temperature_factor: how far the temperatures follow the class counts, in [0, 1).
        narrow: give the later layers three quarters of the usual channels.
        max_margin, scale, drw_start, cb_beta: see :class:`~ltlib.methods.margins.LDAM`.

    Raises:
        InputError: a value is out of its range, or the backbone is no CIFAR ResNet.
    """

    label = "RIDE"
    temperatures: Tensor
    even: Tensor

    def __init__(
        self,
        network: Network,
        counts: Tensor,
        *,
        experts: int = 3,
        diversity_weight: float = 0.45,
        temperature_factor: float = 0.05,
        narrow: bool = True,
        scale: float = 30.0,
        **settings: Any,
    ):
        backbone = network.backbone
        if not isinstance(backbone, CifarResNet):
            raise InputError("ride shares the first stage of a CIFAR ResNet: choose a backbone such as resnet32.")
        if experts < 2:
            raise InputError(f"experts must be at least 2; got {experts}.")
        if not 0 <= temperature_factor < 1:
            raise InputError(f"temperature_factor must be at least 0 and below 1; got {temperature_factor}.")
        width = NARROW if narrow else 1.0
        # the network is the first expert: its later stages and its classifier are built again in this width
        backbone.widen(width)
        INITS[backbone.init](backbone)
        network.classifier = nn.Linear(backbone.features, len(counts))
        super().__init__(network, counts, scale=scale, **settings)
        self.others = nn.ModuleList()
        for _ in range(experts - 1):
            later, linear = backbone.later(width), nn.Linear(backbone.features, len(counts))
            INITS[backbone.init](nn.ModuleList([later, linear]))
            self.others.append(Expert(later, CosineClassifier(linear, scale)))
        self.width, self.diversity_weight = width, check_weight("diversity_weight", diversity_weight)
        temperatures = class_temperatures(self.counts, temperature_factor)
        self.register_buffer("temperatures", temperatures, persistent=False)
        self.register_buffer("even", torch.ones_like(temperatures), persistent=False)

    @classmethod
    def published(cls, dataset: str, imbalance_factor: float, backbone: str = "") -> dict[str, object]:
        """The configuration of CIFAR-100-LT."""
        shared = super().published(dataset, imbalance_factor, backbone)
        cifar = {"weight_decay": 5e-4, "nesterov": True} if dataset in ("cifar10", "cifar100") else {}
        return shared | cifar

    def expert_logits(self, x: Tensor) -> Tensor:
        """Logits of all experts (E, B, K), from one pass through the layers that they share."""
        backbone: Any = self.network.backbone
        maps = backbone.stage1(backbone.stem(self.network.normalize(x)))
        first = self.network.classifier(backbone.stage3(backbone.stage2(maps)).mean((2, 3)))
        return torch.stack([first, *(expert(maps) for expert in self.others)]).float()

    def loss(self, batch: Batch) -> Tensor:
        z = self.expert_logits(batch.x)
        entered = self.phase(batch.progress)
        weights, temperatures = (self.weights, self.temperatures) if entered else (None, self.even)
        own = [F.cross_entropy(with_margin(e, batch.y, self.margin), batch.y, weight=weights) for e in z]
        # L = sum_e CE(z_e - s m_y [k = y], y) - w D
        return torch.stack(own).sum() - self.diversity_weight * diversity(z, temperatures)

    def logits(self, x: Tensor) -> Tensor:
        """The mean over the experts, (B, K)."""
        return self.expert_logits(x).mean(0)

    def passes(self, stage: Stage) -> dict[str, Passes]:
        """Each of the three stages of the network costs about a third of it, and costs of width squared."""
        later = 2 / 3 * ((1 + len(self.others)) * self.width**2 - 1)
        return {"network": Passes(forward=3 * later, training=1)}
