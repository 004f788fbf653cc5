"""The baselines every long-tail paper compares with: cross-entropy, mixup, re-sampling, re-weighting, the focal loss,
deferred re-weighting, Balanced Softmax, logit adjustment, tau-normalisation. LDAM stands in ``margins.py``, cRT and LWS
in ``mislas.py``.

n_y is the number of training images of class y, pi_y = n_y / N.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ltlib.data.augment import cutmix, mixup
from ltlib.data.loader import Batch
from ltlib.data.samplers import SAMPLERS
from ltlib.errors import InputError, check_choice
from ltlib.methods.large import LARGE
from ltlib.methods.method import Method, Stage, check_positive, check_weight
from ltlib.models import Network


class CrossEntropy(Method):
    """Empirical risk minimisation: what everything else is compared with."""

    label = "cross-entropy"

    def loss(self, batch: Batch) -> Tensor:
        # L = CE(z, y)
        return F.cross_entropy(self.network(batch.x).float(), batch.y)


class Mixup(Method):
    """mixup (Zhang et al. 2018, arXiv 1710.09412), as in stage 1 of MiSLAS.

    Args:
        alpha: of Beta(alpha, alpha); 1 on CIFAR-LT, 0.2 on the large sets.
        form: ``mixup`` blends two images; ``cutmix`` (Yun et al. 2019, arXiv 1905.04899) pastes a rectangle of one onto
            the other, in every batch.

    Raises:
        InputError: ``alpha`` is not above 0, or the form is unknown.
    """

    label = "mixup"

    def __init__(self, network: Network, counts: Tensor, *, alpha: float = 1.0, form: str = "mixup"):
        super().__init__(network, counts)
        check_positive("alpha", alpha)
        check_choice("form", form, ("mixup", "cutmix"))
        self.alpha, self.form = alpha, form

    @classmethod
    def published(cls, dataset: str, imbalance_factor: float, backbone: str = "") -> dict[str, object]:
        """Stage 1 of MiSLAS on its own."""
        return LARGE[dataset] | {"alpha": 0.2} if dataset in LARGE else {}

    @classmethod
    def as_stage1(cls, hyperparameters: dict[str, object]) -> dict[str, object]:
        blended = hyperparameters.get("form", "mixup") == "mixup"
        return {"mixup_alpha": hyperparameters["alpha"] if blended else 0.0, "balanced": False}

    def loss(self, batch: Batch) -> Tensor:
        if self.form == "mixup":
            return mixup_cross_entropy(self.network, batch, self.alpha)
        x, y_a, y_b, lam = cutmix(batch.x, batch.y, self.alpha)
        z = self.network(x).float()
        # lambda CE(z, y) + (1 - lambda) CE(z, y_partner)
        return lam * F.cross_entropy(z, y_a) + (1 - lam) * F.cross_entropy(z, y_b)


def mixup_cross_entropy(network: Network, batch: Batch, alpha: float, prior: Tensor | float = 0.0) -> Tensor:
    """Loss of one mixed batch; alpha = 0 is plain cross-entropy, and draws nothing.

    ``prior`` (K,) is added to the logits: log n_y makes the softmax a Balanced Softmax.
    """
    if alpha == 0:
        return F.cross_entropy(network(batch.x).float() + prior, batch.y)
    x, y_a, y_b, lam = mixup(batch.x, batch.y, alpha)
    z = network(x).float() + prior
    # lambda CE(z, y) + (1 - lambda) CE(z, y_partner)
    return lam * F.cross_entropy(z, y_a) + (1 - lam) * F.cross_entropy(z, y_b)


class Resampling(CrossEntropy):
    """Cross-entropy on a re-balanced stream of images (Kang et al. 2020, arXiv 1910.09217, section 3).

    Args:
        sampler: a name from ``ltlib.data.samplers``, by default class-balanced.

    Raises:
        InputError: the sampler is unknown.
    """

    label = "re-sampling"

    def __init__(self, network: Network, counts: Tensor, *, sampler: str = "class_balanced"):
        super().__init__(network, counts)
        check_choice("sampler", sampler, SAMPLERS)
        self.sampler = sampler

    def stages(self, epochs: int, schedule: str) -> tuple[Stage, ...]:
        return (Stage("train", epochs, self.sampler, schedule),)


def effective_weights(counts: Tensor, cb_beta: float) -> Tensor:
    """The inverse effective numbers of images, (K,), with mean 1; a class without images weighs 0.

    Raises:
        InputError: ``cb_beta`` is outside [0, 1).
    """
    if not 0 <= cb_beta < 1:
        raise InputError(f"cb_beta must lie in [0, 1); got {cb_beta}.")
    # eq. 2: E_n = (1 - beta^n) / (1 - beta)
    # w_y = 1 / E_n, n = n_y, scaled to mean 1
    weights = (1 - cb_beta) / (1 - cb_beta ** counts.double())
    weights = torch.where(counts > 0, weights, 0)
    return (weights / weights.mean()).float()


class Reweighting(Method):
    """Cross-entropy weighted by the inverse effective number of images (Cui et al. 2019, arXiv 1901.05555).

    The weighted sum is divided by the sum of the weights in the batch, as in the code of LDAM-DRW.

    Symbols:
        - w_y: weight of class y.
        - E_n: effective number of n images.
        - beta: the setting ``cb_beta``.

    Args:
        cb_beta: in [0, 1); 0 weighs all classes alike, towards 1 the weights approach 1/n_y.

    Raises:
        InputError: ``cb_beta`` is outside [0, 1).
    """

    label = "class-balanced weights"
    weights: Tensor

    def __init__(self, network: Network, counts: Tensor, *, cb_beta: float = 0.9999):
        super().__init__(network, counts)
        self.register_buffer("weights", effective_weights(counts, cb_beta), persistent=False)

    def loss(self, batch: Batch) -> Tensor:
        # L = sum_b w_y CE(z, y) / sum_b w_y
        return F.cross_entropy(self.network(batch.x).float(), batch.y, weight=self.weights)


class Focal(Reweighting):
    """Focal loss (Lin et al. 2017, arXiv 1708.02002, eq. 4) on the softmax: what is easy already counts less.

    Lin et al. and Cui et al. put it on one sigmoid a class; the tables on long-tailed CIFAR, since LDAM-DRW, put it on
    the softmax, with gamma 1. Their code takes p_y from the weighted loss, p_y^w; here it is the probability itself,
    and the sum is divided by the weights in the batch as in :class:`Reweighting`.

    Symbols:
        - gamma: how much less an easy image counts, a setting.

    Args:
        gamma: at least 0; 0 is cross-entropy.
        cb_beta: see :class:`Reweighting`; by default all classes weigh alike, 0.9999 makes it class-balanced.

    Raises:
        InputError: a value is out of its range.
    """

    label = "focal"

    def __init__(self, network: Network, counts: Tensor, *, gamma: float = 1.0, cb_beta: float = 0.0):
        super().__init__(network, counts, cb_beta=cb_beta)
        self.gamma = check_weight("gamma", gamma)

    def loss(self, batch: Batch) -> Tensor:
        log_p = -F.cross_entropy(self.network(batch.x).float(), batch.y, reduction="none")
        # the slope of (1 - p)^gamma has no bound at p = 1 if gamma < 1
        miss = (-log_p.expm1()).clamp(min=1e-6)
        # L = sum_b w_y (1 - p_y)^gamma (-log p_y) / sum_b w_y
        weights = self.weights[batch.y]
        return (weights * miss**self.gamma * -log_p).sum() / weights.sum()


class DeferredReweighting(Reweighting):
    """CE-DRW: cross-entropy, then re-weighted (Cao et al. 2019, arXiv 1906.07413, algorithm 1).

    Weights from the start spoil the features; late, when the rate has fallen, they only move the boundaries.

    Args:
        drw_start: share of the epochs, in [0, 1], before the weights enter; 0.8 is epoch 160 of 200, 1 is never.
        cb_beta: see :class:`Reweighting`.

    Raises:
        InputError: a value is out of its range.
    """

    label = "CE-DRW"

    def __init__(self, network: Network, counts: Tensor, *, drw_start: float = 0.8, cb_beta: float = 0.9999):
        super().__init__(network, counts, cb_beta=cb_beta)
        if not 0 <= drw_start <= 1:
            raise InputError(f"drw_start is a share of the epochs, from 0 to 1; got {drw_start}.")
        self.drw_start, self.plain_epochs = drw_start, math.inf  # known when the stage begins

    @classmethod
    def published(cls, dataset: str, imbalance_factor: float, backbone: str = "") -> dict[str, object]:
        """The code of LDAM-DRW on CIFAR: its rate falls to 1 % where the weights enter."""
        shared = super().published(dataset, imbalance_factor, backbone)
        return shared | ({"schedule": "step_ldam"} if dataset in ("cifar10", "cifar100") else {})

    def begin(self, stage: Stage) -> None:
        # One stage with two phases: a second stage would begin with a new optimiser and a new schedule.
        self.plain_epochs = round(self.drw_start * stage.epochs)

    def phase(self, progress: float) -> bool:
        """Whether the weights have entered."""
        return progress >= self.plain_epochs

    def loss(self, batch: Batch) -> Tensor:
        weights = self.weights if self.phase(batch.progress) else None
        # L = sum_b w_y CE(z, y) / sum_b w_y, where all w_y are 1 until ``drw_start`` of the epochs are over
        return F.cross_entropy(self.training_logits(batch), batch.y, weight=weights)

    def training_logits(self, batch: Batch) -> Tensor:
        """What the loss sees, (B, K)."""
        return self.network(batch.x).float()


class BalancedSoftmax(Method):
    """Balanced Softmax (Ren et al. 2020, arXiv 2007.10740, eq. 4): the class counts enter the training softmax.

    The plain logits, used at test time, then fit a balanced test set.

    Args:
        mixup_alpha: of mixup on top, at least 0; 0 does without, as the paper.

    Raises:
        InputError: ``mixup_alpha`` is below 0.
    """

    label = "Balanced Softmax"
    prior: Tensor

    def __init__(self, network: Network, counts: Tensor, *, mixup_alpha: float = 0.0):
        super().__init__(network, counts)
        self.mixup_alpha = check_weight("mixup_alpha", mixup_alpha)
        self.register_buffer("prior", self.counts.log(), persistent=False)

    @classmethod
    def as_stage1(cls, hyperparameters: dict[str, object]) -> dict[str, object]:
        return {"mixup_alpha": hyperparameters["mixup_alpha"], "balanced": True}

    def loss(self, batch: Batch) -> Tensor:
        # p_y = n_y exp(z_y) / sum_i n_i exp(z_i)
        return mixup_cross_entropy(self.network, batch, self.mixup_alpha, self.prior)


class LogitAdjustment(Method):
    """Logit adjustment (Menon et al. 2021, arXiv 2007.07314), in both of its forms.

    Symbols:
        - tau: strength of the adjustment, a setting.
        - b_k: bias of class k.

    Args:
        tau: > 0, strength of the adjustment; 1 is consistent for balanced error.
        form: ``"posthoc"`` (eq. 9) trains with cross-entropy and subtracts tau log pi at test time; ``"loss"``
            (eq. 10) adds it during training instead. With tau = 1 the second form is Balanced Softmax.

    Raises:
        InputError: ``tau`` is not above 0 or the form is unknown.
    """

    label = "logit adjustment, post hoc"
    shift: Tensor

    def __init__(self, network: Network, counts: Tensor, *, tau: float = 1.0, form: str = "posthoc"):
        super().__init__(network, counts)
        check_positive("tau", tau)
        check_choice("form", form, ("posthoc", "loss"))
        self.form = form
        self.register_buffer("shift", tau * (counts / counts.sum()).log().float(), persistent=False)

    def loss(self, batch: Batch) -> Tensor:
        z = self.network(batch.x).float()
        return F.cross_entropy(z + self.shift if self.form == "loss" else z, batch.y)

    def logits(self, x: Tensor) -> Tensor:
        z = self.network(x)
        # z_k = w_k f + b_k - tau log(n_k / N)
        return z - self.shift if self.form == "posthoc" else z


class TauNormalization(CrossEntropy):
    """tau-normalisation (Kang et al. 2020, arXiv 1910.09217): cross-entropy, then shorter head weights.

    Symbols:
        - tau: 0 leaves the rows as they are, 1 gives all the length 1; a setting.

    Args:
        tau: >= 0; 0 leaves the weights alone, 1 makes them all of length 1.

    Raises:
        InputError: ``tau`` is below 0.
    """

    label = "tau-norm"

    def __init__(self, network: Network, counts: Tensor, *, tau: float = 1.0):
        super().__init__(network, counts)
        self.tau = check_weight("tau", tau)

    def logits(self, x: Tensor) -> Tensor:
        # z_k = w_k f / |w_k|^tau
        return F.linear(self.network.features(x), tau_normalized(self.network.classifier.weight, self.tau))


def tau_normalized(weight: Tensor, tau: float) -> Tensor:
    """w_i / ||w_i||^tau, rows of (K, D); the bias is dropped, as in the code of the paper."""
    return weight / weight.norm(dim=1, keepdim=True) ** tau


def log_prior(counts: Tensor, tau: float, name: str = "tau") -> Tensor:
    """tau log n_y, (K,), less that of the most frequent class, which changes no softmax: exactly 0 for equal counts.

    Raises:
        InputError: ``tau`` is below 0; ``name`` is what the message calls it.
    """
    if check_weight(name, tau) == 0:
        return torch.zeros_like(counts)
    return tau * (counts / counts.max()).log()
