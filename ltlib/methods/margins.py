"""Margins on a cosine classifier: LDAM, and what adversarial training on a long tail takes from it.

A linear classifier gives frequent classes the longer rows, and so an advantage. The cosine classifier forgets the
length of rows and features; what is left, the angle, can be asked to keep a margin, wider for the rare classes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltlib.data.loader import Batch
from ltlib.methods.baselines import DeferredReweighting
from ltlib.methods.method import check_positive, check_weight
from ltlib.models import Network


class CosineClassifier(nn.Linear):
    """z_k = s cos(w_k, f) |w_k| / (|w_k| + gamma): features (B, D) -> logits (B, K), without a bias.

    Args:
        linear: the classifier that it replaces; the directions of its rows are the first weights, of length 1.
        scale: s, above 0. It belongs to the logits everywhere, also at test time: the angle alone, within [-1, 1],
            would never be sure, and an attack on it would be another attack.
        gamma: added to the length of a row, at least 0; with 0 the length of a row changes nothing.

    Raises:
        InputError: the scale is not above 0, or gamma is below 0.
    """

    def __init__(self, linear: nn.Linear, scale: float, gamma: float = 0.0):
        super().__init__(linear.in_features, linear.out_features, bias=False)
        check_positive("scale", scale)
        self.scale, self.gamma = scale, check_weight("cosine_gamma", gamma)
        with torch.no_grad():
            self.weight.copy_(F.normalize(linear.weight))

    def forward(self, features: Tensor) -> Tensor:
        rows = F.normalize(self.weight)
        if self.gamma:
            # w / (|w| + gamma)
            rows = self.weight / (self.weight.norm(dim=1, keepdim=True) + self.gamma)
        return self.scale * F.linear(F.normalize(features), rows)


def margins(counts: Tensor, largest: float) -> Tensor:
    """m_y = C n_y^(-1/4), (K,), scaled so that the rarest class has ``largest`` (Cao et al. 2019)."""
    m = counts.double().clamp(min=1) ** -0.25
    return (largest * m / m.max()).float()


def class_aware_margins(counts: Tensor, margin: float, scale: float, tau: float) -> Tensor:
    """s m + tau log(n_y / n_min), (K,): the margins of RoBal on the logits, wider for the frequent classes.

    On the cosine they are m + tau / s * log(n_y / n_min) (Wu et al. 2021, arXiv 2104.02703).

    Raises:
        InputError: ``margin`` or ``tau`` is below 0.
    """
    n = counts.clamp(min=1)
    return scale * check_weight("margin", margin) + check_weight("tau_margin", tau) * (n / n.min()).log()


def with_margin(z: Tensor, y: Tensor, margin: Tensor) -> Tensor:
    """Logits (B, K) of which the true one is lower by ``margin`` (K,) of its class."""
    true = y[:, None] == torch.arange(z.shape[1], device=z.device)
    return z - true * margin[y, None]


class LDAM(DeferredReweighting):
    """LDAM-DRW: label-distribution-aware margins, then re-weighting (Cao et al. 2019, arXiv 1906.07413).

    The margin is wide where images are few. Late in training the loss is also weighted by the counts.

    Symbols:
        - cos_k: cosine of the features to row k of the classifier.
        - s: the setting ``scale``.
        - m_y: the margin of class y, ``max_margin`` for the rarest and narrower for the others.
        - C: the constant that gives the rarest class ``max_margin``.

    Paper against code:
        - The released code evaluates the cosines without their scale, which changes the calibration and not the
          accuracy. Here the scale of the training stays.

    Args:
        max_margin: m of the rarest class, at least 0, on the cosine.
        scale: s of the classifier and the loss, above 0.
        drw_start, cb_beta: see :class:`~ltlib.methods.baselines.DeferredReweighting`; ``drw_start=1`` is LDAM alone.

    Raises:
        InputError: a value is out of its range.
    """

    label = "LDAM-DRW"
    margin: Tensor

    def __init__(
        self, network: Network, counts: Tensor, *, max_margin: float = 0.5, scale: float = 30.0, **settings: Any
    ):
        super().__init__(network, counts, **settings)
        network.classifier = CosineClassifier(network.classifier, scale)
        m = margins(self.counts, check_weight("max_margin", max_margin))
        self.register_buffer("margin", scale * m, persistent=False)

    def training_logits(self, batch: Batch) -> Tensor:
        # CE(s (cos_k - m_y [k = y]), y)
        return with_margin(super().training_logits(batch), batch.y, self.margin)
