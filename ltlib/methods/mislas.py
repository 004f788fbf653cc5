"""MiSLAS: mixup shifted label-aware smoothing (Zhong, Cui, Liu and Jia, CVPR 2021, arXiv 2104.00466).

The file follows the paper: the smoothing and its loss, the two stages, and the classifier of stage 2 in its three
settings. cRT (Kang et al. 2020, arXiv 1910.09217) trains the classifier again, LWS trains a scale for each class, and
MiSLAS trains both. Where paper and released code differ, both are here. The code is the default, because it made the
published numbers.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltlib.data.augment import mixup
from ltlib.data.loader import Batch
from ltlib.errors import InputError, check_choice
from ltlib.methods.baselines import mixup_cross_entropy
from ltlib.methods.large import LARGE
from ltlib.methods.method import Method, Passes, Stage, check_positive
from ltlib.models import Network
from ltlib.models.backbone import Backbone

SHAPES = ("concave", "linear", "convex", "power")
FORMS = ("code", "paper")


def smoothing(counts: Tensor, head: float, tail: float, shape: str = "concave", power: float = 2.0) -> Tensor:
    """Label-aware smoothing factors eps_y = f(N_y), in the shapes of the released code.

    Args:
        counts: (K,) training images of each class, in any order.
        head: eps of the most frequent class.
        tail: eps of the rarest class, at most ``head``.
        shape: ``concave`` (all released configurations), ``linear``, ``convex``, or ``power``.
        power: exponent of the shape ``power``; above 1 it bends like ``convex``, below 1 like ``concave``.

    Returns:
        (K,) float32. Where all counts are equal no class is a head, and all get ``tail``.

    Raises:
        InputError: not 0 <= tail <= head < 1, or the shape or the power is not allowed.
    """
    check_smoothing(head, tail, shape, power)
    n = counts.double()
    # u = (N_y - N_K) / (N_1 - N_K): 1 for the head, 0 for the tail
    u = (n - n.min()) / (n.max() - n.min()).clamp(min=1e-12)
    if shape == "concave":
        # eps_y = tail + (head - tail) sin(pi u / 2)
        eps = tail + (head - tail) * torch.sin(math.pi * u / 2)
    elif shape == "convex":
        eps = head + (head - tail) * torch.sin(1.5 * math.pi + math.pi * u / 2)
    else:
        eps = tail + (head - tail) * u ** (power if shape == "power" else 1.0)
    return eps.float()


def check_smoothing(head: float, tail: float, shape: str, power: float) -> None:
    """Raise :class:`InputError` unless :func:`smoothing` can use these values."""
    check_choice("smooth_shape", shape, SHAPES)
    check_positive("smooth_power", power)
    if not 0 <= tail < 1 or not 0 <= head < 1:
        raise InputError(f"smooth_head and smooth_tail must lie in [0, 1); got {head} and {tail}.")
    if head < tail:
        raise InputError(
            f"smooth_head must be at least smooth_tail, because frequent classes are the over-confident ones; "
            f"got smooth_head={head}, smooth_tail={tail}."
        )


def label_aware_smoothing(z: Tensor, y: Tensor, eps: Tensor, form: str = "code") -> Tensor:
    """Cross-entropy against targets smoothed by the eps of the true class, a scalar.

    Args:
        z: logits (B, K).
        y: labels (B,).
        eps: (K,), see :func:`smoothing`.
        form: ``"code"`` spreads eps over all K classes, the true one included, as the released code does;
            ``"paper"`` spreads it over the K - 1 others. They differ by eps/K on the true class.

    Raises:
        InputError: the form is unknown.
    """
    check_choice("smooth_form", form, FORMS)
    minus_log_p = -F.log_softmax(z, dim=1)
    e = eps[y]
    true = minus_log_p.gather(1, y[:, None]).squeeze(1)
    others = minus_log_p.mean(1) if form == "code" else (minus_log_p.sum(1) - true) / (z.shape[1] - 1)
    # (1 - eps_y) (-log p_y) + eps_y * mean(-log p_i)
    return ((1 - e) * true + e * others).mean()


def optimal_gap(eps: float, num_classes: int, form: str = "code") -> float:
    """By how much the true logit exceeds each other one where the smoothed loss is smallest.

    At the optimum p = q, so that z_y - z_i = log(q_y / q_i); infinite for plain cross-entropy, eps = 0.
    """
    check_choice("smooth_form", form, FORMS)
    if eps == 0:
        return math.inf
    other = eps / num_classes if form == "code" else eps / (num_classes - 1)
    true = 1 - eps + (other if form == "code" else 0)
    return math.log(true / other)


class TwoStage(Method):
    """Decoupled training: a representation on the data as they are, then a classifier on balanced data.

    Stage 2 trains z = diag(s)(r W + dW)^T f(x) on frozen features f: the subclasses choose r, dW and s. The arguments
    are many because each of them is a name that overrides can use.

    Symbols:
        - s: the scale, one number per class, which is 1 unless the method learns it.
        - eps_y: how much of the label of class y is spread over the classes, between ``tail`` and ``head``.
        - head, tail: the settings ``smooth_head`` and ``smooth_tail``.
        - N_y: training images of class y; N_1 is that of the most frequent class, N_K of the rarest.
        - u: how frequent class y is, from 0 for the rarest to 1 for the most frequent.

    Args:
        mixup_alpha: of mixup in stage 1; 0 trains without.
        balanced: train stage 1 by Balanced Softmax (arXiv 2007.10740) instead of cross-entropy.
        stage2_epochs: of the second stage, counted in sizes of the long-tailed set.
        stage2_mixup_alpha: of mixup in stage 2; 0, as in all released configurations, trains without. Table 1 of the
            paper compares both: mixup there lowers the ECE of cRT and raises that of LWS, at the same accuracy.
        shift_bn: let the running statistics of BatchNorm follow the balanced stream in stage 2.
        smooth_head, smooth_tail, smooth_shape, smooth_power: of the loss in stage 2, see :func:`smoothing`.
        smooth_form: see :func:`label_aware_smoothing`.
        stage1: id of a finished run (or its beginning) whose weights replace stage 1; empty trains it.

    Raises:
        InputError: a value is out of its range.
    """

    sources = ("stage1",)
    stage2_sampler, stage2_length = "class_balanced_cyclic", "one_more"
    stage2_decay: float | None = None  # weight decay of stage 2; None keeps that of the recipe
    reset_classifier = False  # r = 0: forget W
    learn_classifier = False  # dW
    learn_scale = False  # s
    lr_factor = 1.0  # learning rate of W over that of s
    eps: Tensor
    prior: Tensor

    def __init__(
        self,
        network: Network,
        counts: Tensor,
        *,
        mixup_alpha: float = 0.0,
        balanced: bool = False,
        stage2_epochs: int = 10,
        stage2_mixup_alpha: float = 0.0,
        shift_bn: bool = False,
        smooth_head: float = 0.0,
        smooth_tail: float = 0.0,
        smooth_shape: str = "concave",
        smooth_power: float = 2.0,
        smooth_form: str = "code",
        stage1: str = "",
    ):
        super().__init__(network, counts)
        for name, value in (("mixup_alpha", mixup_alpha), ("stage2_mixup_alpha", stage2_mixup_alpha)):
            if value < 0:
                raise InputError(f"{name} must be at least 0, and 0 means no mixup; got {value}.")
        check_positive("stage2_epochs", stage2_epochs)
        check_choice("smooth_form", smooth_form, FORMS)
        eps = smoothing(self.counts, smooth_head, smooth_tail, smooth_shape, smooth_power)
        self.register_buffer("eps", eps, persistent=False)
        prior = self.counts.log() if balanced else torch.zeros_like(self.counts)
        self.register_buffer("prior", prior, persistent=False)
        self.scale = nn.Parameter(torch.ones(len(counts)))
        self.mixup_alpha, self.stage2_mixup_alpha = mixup_alpha, stage2_mixup_alpha
        self.stage2_epochs, self.shift_bn = stage2_epochs, shift_bn
        self.smooth_form, self.stage1 = smooth_form, stage1
        self.in_stage2 = False

    def stages(self, epochs: int, schedule: str) -> tuple[Stage, ...]:
        first = Stage("representation", epochs, "instance_balanced", schedule)
        # The released code cuts stage 2's endless stream one batch late: ceil(N/B) + 1 batches an "epoch".
        second = Stage("classifier", self.stage2_epochs, self.stage2_sampler, "cosine", length=self.stage2_length)
        return (second,) if self.stage1 else (first, second)

    def loss(self, batch: Batch) -> Tensor:
        return self.classifier_loss(batch) if self.in_stage2 else self.representation_loss(batch)

    # Stage 1

    def representation_loss(self, batch: Batch) -> Tensor:
        """Cross-entropy with mixup, or Balanced Softmax, of the whole network."""
        return mixup_cross_entropy(self.network, batch, self.mixup_alpha, self.prior)

    # Stage 2

    def begin(self, stage: Stage) -> None:
        self.in_stage2 = stage.name == "classifier"
        self.network.requires_grad_(not self.in_stage2)
        self.scale.requires_grad_(self.in_stage2 and self.learn_scale)
        if self.in_stage2:
            self.network.classifier.requires_grad_(self.learn_classifier)
            if self.reset_classifier:
                nn.init.kaiming_normal_(self.network.classifier.weight)
                nn.init.zeros_(self.network.classifier.bias)

    def train(self, mode: bool = True) -> TwoStage:
        """As ``nn.Module.train``, but in stage 2 BatchNorm moves only if ``shift_bn`` says so."""
        super().train(mode)
        if self.in_stage2 and not self.shift_bn:
            self.network.backbone.eval()
        return self

    def param_groups(self, stage: Stage) -> list[dict]:
        if stage.name == "representation":
            return super().param_groups(stage)
        groups = [{"params": list(self.network.classifier.parameters()), "lr_factor": self.lr_factor}]
        groups = groups if self.learn_classifier else []
        groups += [{"params": [self.scale]}] if self.learn_scale else []
        decay = {} if self.stage2_decay is None else {"weight_decay": self.stage2_decay}
        return [group | decay for group in groups]

    def passes(self, stage: Stage) -> dict[str, Passes]:
        return {"network": Passes(forward=1)} if stage.name == "classifier" else super().passes(stage)

    def classifier_loss(self, batch: Batch) -> Tensor:
        """Smoothed cross-entropy of the classifier on frozen features."""
        if not self.stage2_mixup_alpha:
            return self.smoothed(self.frozen_logits(batch.x), batch.y)
        x, y_a, y_b, lam = mixup(batch.x, batch.y, self.stage2_mixup_alpha)
        z = self.frozen_logits(x)
        # lambda L(z, y) + (1 - lambda) L(z, y_partner), L the smoothed loss
        return lam * self.smoothed(z, y_a) + (1 - lam) * self.smoothed(z, y_b)

    def frozen_logits(self, x: Tensor) -> Tensor:
        """Logits (B, K) whose gradient ends at the features."""
        with torch.no_grad():  # convolutions, gamma and beta stay; only the running statistics may move
            features = self.network.features(x)
        return self.classify(features).float()

    def smoothed(self, z: Tensor, y: Tensor) -> Tensor:
        """The loss of stage 2 with the factors of this method, a scalar."""
        return label_aware_smoothing(z, y, self.eps, self.smooth_form)

    # Evaluation

    def classify(self, features: Tensor) -> Tensor:
        """z = s * (W f + b), features (B, D) -> logits (B, K): the scale multiplies the bias too."""
        return self.scale * self.network.classifier(features)

    def logits(self, x: Tensor) -> Tensor:
        return self.classify(self.network.features(x))

    optional = ("scale",)  # cRT has none

    @classmethod
    def released_name(cls, name: str, backbone: Backbone) -> str | None:
        """``learned_norm`` is the scale of MiSLAS's code, ``scales`` that of Kang et al."""
        return "scale" if name in ("learned_norm", "scales") else super().released_name(name, backbone)

    @staticmethod
    def plain_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The network with the scale folded into its classifier: diag(s) W and s b."""
        plain, scale = Method.plain_weights(weights), weights["scale"]
        w, b = plain["classifier.weight"], plain["classifier.bias"]
        return plain | {"classifier.weight": scale[:, None] * w, "classifier.bias": scale * b}


class CRT(TwoStage):
    """Classifier re-training (Kang et al. 2020): r = 0, s = 1, a new W with the full learning rate."""

    label = "cRT"

    reset_classifier = True
    learn_classifier = True


class LWS(TwoStage):
    """Learnable weight scaling (Kang et al. 2020): r = 1, dW = 0, one factor s a class."""

    label = "LWS"

    learn_scale = True


class MiSLAS(TwoStage):
    """MiSLAS: mixup in stage 1, then shifted BatchNorm, label-aware smoothing and a scale per class in stage 2.

    Stage 1 trains the whole network with mixup. In stage 2 the convolutions are frozen and the images balanced. The
    classifier W moves with a small learning rate and a scale s of each class with the full one, by a cross-entropy that
    smooths frequent classes more than rare ones. The logits are z = s * (W f + b) of the features f.

    The defaults are those of CIFAR-100-LT; :meth:`published` has the configuration of every data set.

    Paper against code:
        - The paper spreads eps over the K - 1 other classes, the code over all K (``smooth_form``).
        - Shifted BatchNorm is part of the method in the paper. The code switches it off on CIFAR-10 (``shift_bn``).
        - An epoch of stage 2 has one batch more than ceil(N / B), by a comparison that stops one step late.
        - CIFAR-100 is normalised with the mean and deviation of CIFAR-10.
        - The tables are of weight decay 2e-4. The authors' README recommends 5e-4.
        - The code reports the epoch that is best on the test set. Our tables report the last one.

    Args:
        lr_factor: the classifier's learning rate over the scale's; above 0.
        mixup_alpha, shift_bn, smooth_head, smooth_tail, settings: see :class:`TwoStage`.

    Raises:
        InputError: a value is out of its range.
    """

    label = "MiSLAS"

    learn_classifier = True
    learn_scale = True

    def __init__(
        self,
        network: Network,
        counts: Tensor,
        *,
        lr_factor: float = 0.2,
        mixup_alpha: float = 1.0,
        shift_bn: bool = True,
        smooth_head: float = 0.4,
        smooth_tail: float = 0.1,
        **settings: Any,
    ):
        settings |= {"shift_bn": shift_bn, "smooth_head": smooth_head, "smooth_tail": smooth_tail}
        super().__init__(network, counts, mixup_alpha=mixup_alpha, **settings)
        check_positive("lr_factor", lr_factor)
        self.lr_factor = lr_factor

    @classmethod
    def published(cls, dataset: str, imbalance_factor: float, backbone: str = "") -> dict[str, object]:
        """The released configuration; for CIFAR, that of the nearest published imbalance factor (as a ratio)."""
        names = ("smooth_head", "smooth_tail", "shift_bn", "lr_factor")
        if dataset in LARGE:
            return LARGE[dataset] | dict(zip(names, LARGE_CONFIGURATIONS[dataset], strict=True)) | {"mixup_alpha": 0.2}
        if dataset not in CONFIGURATIONS:
            return {}
        table = CONFIGURATIONS[dataset]
        factor = min(table, key=lambda known: abs(math.log(known / imbalance_factor)))
        return dict(zip(names, table[factor], strict=True))


# imbalance factor: (smooth_head, smooth_tail, shift_bn, lr_factor). Shifted BatchNorm is off on CIFAR-10, although the
# paper presents it as a part of the method. The authors recommend weight_decay=5e-4 over their 2e-4.
CONFIGURATIONS = {
    "cifar10": {100: (0.3, 0.0, False, 0.5), 50: (0.2, 0.0, False, 0.2), 10: (0.1, 0.0, False, 0.2)},
    "cifar100": {100: (0.4, 0.1, True, 0.2), 50: (0.3, 0.0, True, 0.1), 10: (0.2, 0.0, True, 0.1)},
}

# The same on the large sets: ResNet-50 twice, and ResNet-152, of which only the new last block shifts its statistics.
LARGE_CONFIGURATIONS = {
    "imagenet_lt": (0.3, 0.0, True, 0.05),
    "inaturalist2018": (0.3, 0.0, True, 0.05),
    "places_lt": (0.4, 0.1, True, 0.05),
}
