"""A fixed classifier (Yang et al., NeurIPS 2022, arXiv 2203.09081): an equiangular tight frame that is never trained.

On balanced data the features of each class and the rows of the classifier end up as far apart as K directions can be,
at equal angles. This is neural collapse. On a long tail they do not: the rows of the rare classes move towards each
other, which is called minority collapse. So the classifier is fixed in the ideal position from the start, and a loss
pulls the features to it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltlib.data.augment import mixup
from ltlib.data.loader import Batch
from ltlib.errors import InputError, check_choice
from ltlib.methods.large import LARGE
from ltlib.methods.method import Method, check_positive, check_weight
from ltlib.models import Network

LOSSES = ("dot_regression", "cross_entropy")


def equiangular_tight_frame(classes: int, features: int) -> Tensor:
    """K directions with the same, largest angle between any two: unit rows (K, D) whose products are -1 / (K - 1).

    The frame spans K - 1 dimensions, in a random position that torch's generator draws.

    Raises:
        InputError: there are fewer features than K - 1.
    """
    if features < classes - 1:
        raise InputError(
            f"{classes} classes need at least {classes - 1} features for equal angles; this backbone has {features}: "
            f"choose a wider one, such as backbone=resnet18."
        )
    # B (K, K - 1): column j is 1 above row j, -j there and 0 below, made of length 1, so B B^T = I - 1 1^T / K
    j = torch.arange(1, classes, dtype=torch.double)
    row = torch.arange(classes)[:, None]
    basis = torch.where(row < j, 1.0, torch.where(row == j, -j, 0.0)) / (j * (j + 1)).sqrt()
    turned, _ = torch.linalg.qr(torch.randn(features, classes - 1, dtype=torch.double))
    # M = sqrt(K / (K - 1)) U (I - 1 1^T / K), with U^T U = I
    return ((classes / (classes - 1)) ** 0.5 * basis @ turned.T).float()


def layer_peeled(
    counts: Tensor, frame: Tensor | None = None, features: int = 2, decay: float = 5e-3, steps: int = 200
) -> tuple[Tensor, Tensor]:
    """The last layer alone: one free feature for each class and a classifier, at the smallest cross-entropy.

    The layer-peeled model (Fang et al. 2021, arXiv 2101.12699) leaves out the network, which could move its features
    anywhere. With equal counts its solution is the frame. With a long tail the rows of the rare classes move together.

    Args:
        counts: (K,) images of each class.
        frame: a fixed classifier (K, D), instead of one that is learnt.
        features: D.
        decay: weight decay of the features and of the classifier.
        steps: of L-BFGS, from a start that is the same each time.

    Returns:
        The features (K, D) and the classifier (K, D), float64.
    """
    share, labels = counts.double() / counts.sum(), torch.arange(len(counts))
    start = torch.randn(2, len(counts), features, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    h, w = start[0].requires_grad_(), start[1].requires_grad_() if frame is None else frame.double()
    learnt = [h, w] if frame is None else [h]
    optimizer = torch.optim.LBFGS(learnt, max_iter=steps, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        # sum_k n_k / N (CE(W h_k, k) + decay / 2 |h_k|^2) + decay / (2 K) |W|^2
        each = F.cross_entropy(h @ w.T, labels, reduction="none") + decay / 2 * h.square().sum(1)
        loss = (share * each).sum() + decay / 2 * w.square().sum() / len(counts)
        loss.backward()
        return loss

    optimizer.step(closure)
    return h.detach(), w.detach()


class FixedClassifier(nn.Linear):
    """z = s M h: features (B, D) -> logits (B, K), with a frame M that no optimiser sees.

    Args:
        linear: the classifier that it replaces.
        scale: s, above 0.

    Raises:
        InputError: there are fewer features than classes less one.
    """

    def __init__(self, linear: nn.Linear, scale: float):
        super().__init__(linear.in_features, linear.out_features, bias=False)
        self.scale = scale
        del self.weight
        self.register_buffer("weight", equiangular_tight_frame(linear.out_features, linear.in_features))
        self.norm = nn.BatchNorm1d(linear.in_features)

    def place(self, features: Tensor) -> Tensor:
        """h, the features as the frame sees them: directions (B, D) of length 1."""
        # h = BN(f) / |BN(f)|
        return F.normalize(self.norm(features).float(), eps=1e-8)

    def forward(self, features: Tensor) -> Tensor:
        # z_k = s m_k h
        return self.scale * F.linear(self.place(features), self.weight).float()


def dot_regression(z: Tensor, y: Tensor) -> Tensor:
    """1/2 (m_y h - 1)^2, averaged over the batch, a scalar: the feature is pulled to its own direction and no other.

    Cross-entropy also pushes it away from the others, and on a long tail that push is uneven.
    """
    # L_DR = 1 / (2 sqrt(E_W E_H)) (m_y h - sqrt(E_W E_H))^2, here with lengths E_W = E_H = 1
    return 0.5 * (z.gather(1, y[:, None]) - 1).square().mean()


class ETF(Method):
    """Features learn to point along a fixed frame, by dot regression and mixup.

    The logits are cosines, within [-1, 1], so their softmax is close to uniform. The confidence is then far below the
    accuracy. A ``scale`` above 1 raises it and leaves the accuracy as it is.

    Symbols:
        - h: the features, of length 1.
        - m_y: row y of the fixed frame M, of length 1.
        - E_W, E_H: squared lengths of the rows and of the features.
        - L_DR: the loss, called dot regression.

    Paper against code:
        - The code has a BatchNorm before the length of the features is taken away. The paper does not mention it.
        - For CIFAR-100 and ImageNet-LT the code has wider networks than usual, with 128 and 4,096 features. Here
          another backbone must be asked for where the usual one has too few.
        - The configuration of ImageNet-LT adds a penalty on the length of features, which is constant there.
        - Each epoch has up to one batch more than the images fill. Here it has as many as they fill.
        - The code reports the epoch that is best on the test set. Our tables report the last one.

    Args:
        loss_form: ``dot_regression``; or ``cross_entropy`` of the scaled cosines, with which the paper compares it.
        scale: factor of the cosines in the logits and in the cross-entropy, above 0. Dot regression does not use it.
        mixup_alpha: of mixup, at least 0; 0 trains without.

    Raises:
        InputError: a value is out of its range, or the network has too few features for the classes.
    """

    label = "ETF"

    def __init__(
        self,
        network: Network,
        counts: Tensor,
        *,
        loss_form: str = "dot_regression",
        scale: float = 1.0,
        mixup_alpha: float = 1.0,
    ):
        super().__init__(network, counts)
        check_choice("loss_form", loss_form, LOSSES)
        check_positive("scale", scale)
        self.loss_form, self.mixup_alpha = loss_form, check_weight("mixup_alpha", mixup_alpha)
        network.classifier = FixedClassifier(network.classifier, scale)
        self.scale = scale

    @classmethod
    def published(cls, dataset: str, imbalance_factor: float, backbone: str = "") -> dict[str, object]:
        """The released configurations: those of MiSLAS's first stage."""
        large = {"epochs": 90, "batch_size": 1024, "mixup_alpha": 0.2} if dataset == "imagenet_lt" else {}
        return LARGE.get(dataset, {}) | large

    def loss(self, batch: Batch) -> Tensor:
        if not self.mixup_alpha:
            return self.fit(self.network(batch.x), batch.y)
        x, y_a, y_b, lam = mixup(batch.x, batch.y, self.mixup_alpha)
        z = self.network(x)
        # lambda L(z, y) + (1 - lambda) L(z, y_partner)
        return lam * self.fit(z, y_a) + (1 - lam) * self.fit(z, y_b)

    def fit(self, z: Tensor, y: Tensor) -> Tensor:
        """The loss of logits (B, K) and labels (B,), a scalar."""
        return dot_regression(z / self.scale, y) if self.loss_form == "dot_regression" else F.cross_entropy(z, y)
