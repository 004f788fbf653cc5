"""The baselines every long-tail paper compares with: cross-entropy, mixup, re-sampling, re-weighting,
Balanced Softmax, logit adjustment, tau-normalisation.

n_y is the number of training images of class y, pi_y = n_y / N.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ltlib.data.augment import mixup
from ltlib.data.loader import Batch
from ltlib.data.samplers import SAMPLERS
from ltlib.errors import InputError, check_choice
from ltlib.methods.large import LARGE
from ltlib.methods.method import Method, Stage, check_positive
from ltlib.models import Network


class CrossEntropy(Method):
    """Empirical risk minimisation: what everything else is compared with."""

    def loss(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self.network(batch.x).float(), batch.y)


class Mixup(Method):
    """mixup (Zhang et al. 2018, arXiv 1710.09412), as in stage 1 of MiSLAS.

    Args:
        alpha: of Beta(alpha, alpha); 1 on CIFAR-LT, 0.2 on the large sets.

    Raises:
        InputError: ``alpha`` is not above 0.
    """

    def __init__(self, network: Network, counts: Tensor, *, alpha: float = 1.0):
        super().__init__(network, counts)
        check_positive("alpha", alpha)
        self.alpha = alpha

    @classmethod
    def published(cls, dataset: str, imbalance_factor: float, backbone: str = "") -> dict[str, object]:
        """Stage 1 of MiSLAS on its own."""
        return LARGE[dataset] | {"alpha": 0.2} if dataset in LARGE else {}

    def loss(self, batch: Batch) -> Tensor:
        return mixup_cross_entropy(self.network, batch, self.alpha)


def mixup_cross_entropy(network: Network, batch: Batch, alpha: float) -> Tensor:
    """Loss of one mixed batch; alpha = 0 is plain cross-entropy, and draws nothing."""
    if alpha == 0:
        return F.cross_entropy(network(batch.x).float(), batch.y)
    x, y_a, y_b, lam = mixup(batch.x, batch.y, alpha)
    z = network(x).float()
    # lambda CE(z, y) + (1 - lambda) CE(z, y_partner)
    return lam * F.cross_entropy(z, y_a) + (1 - lam) * F.cross_entropy(z, y_b)


class Resampling(CrossEntropy):
    """Cross-entropy on a re-balanced stream of images (Kang et al. 2020, arXiv 1910.09217, section 3).

    Args:
        sampler: a name from ``ltlib.data.samplers``, by default class-balanced.

    Raises:
        InputError: the sampler is unknown.
    """

    def __init__(self, network: Network, counts: Tensor, *, sampler: str = "class_balanced"):
        super().__init__(network, counts)
        check_choice("sampler", sampler, SAMPLERS)
        self.sampler = sampler

    def stages(self, epochs: int, schedule: str) -> tuple[Stage, ...]:
        return (Stage("train", epochs, self.sampler, schedule),)


class Reweighting(Method):
    """Cross-entropy weighted by the inverse effective number of images (Cui et al. 2019, arXiv 1901.05555).

    The weighted sum is divided by the sum of the weights in the batch, as in the code of LDAM-DRW.

    Args:
        cb_beta: in [0, 1); 0 weighs all classes alike, towards 1 the weights approach 1/n_y.

    Raises:
        InputError: ``cb_beta`` is outside [0, 1).
    """

    def __init__(self, network: Network, counts: Tensor, *, cb_beta: float = 0.9999):
        super().__init__(network, counts)
        if not 0 <= cb_beta < 1:
            raise InputError(f"cb_beta must lie in [0, 1); got {cb_beta}.")
        # eq. 2: E_n = (1 - beta^n) / (1 - beta); weights 1 / E_n, scaled to mean 1
        weights = (1 - cb_beta) / (1 - cb_beta ** counts.double())
        weights = torch.where(counts > 0, weights, 0)
        self.register_buffer("weights", (weights / weights.mean()).float(), persistent=False)

    def loss(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self.network(batch.x).float(), batch.y, weight=self.weights)


class BalancedSoftmax(Method):
    """Balanced Softmax (Ren et al. 2020, arXiv 2007.10740, eq. 4): the class counts enter the training softmax.

    The plain logits, used at test time, then fit a balanced test set.
    """

    def loss(self, batch: Batch) -> Tensor:
        z = self.network(batch.x).float()
        # p_y = n_y exp(z_y) / sum_i n_i exp(z_i)
        return F.cross_entropy(z + self.counts.log(), batch.y)


class LogitAdjustment(Method):
    """Logit adjustment (Menon et al. 2021, arXiv 2007.07314), in both of its forms.

    Args:
        tau: > 0, strength of the adjustment; 1 is consistent for balanced error.
        form: ``"posthoc"`` (eq. 9) trains with cross-entropy and subtracts tau log pi at test time; ``"loss"``
            (eq. 10) adds it during training instead. With tau = 1 the second form is Balanced Softmax.

    Raises:
        InputError: ``tau`` is not above 0 or the form is unknown.
    """

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
        return z - self.shift if self.form == "posthoc" else z


class TauNormalization(CrossEntropy):
    """tau-normalisation (Kang et al. 2020, arXiv 1910.09217): cross-entropy, then shorter head weights.

    Args:
        tau: >= 0; 0 leaves the weights alone, 1 makes them all of length 1.

    Raises:
        InputError: ``tau`` is below 0.
    """

    def __init__(self, network: Network, counts: Tensor, *, tau: float = 1.0):
        super().__init__(network, counts)
        if tau < 0:
            raise InputError(f"tau must be at least 0; got {tau}.")
        self.tau = tau

    def logits(self, x: Tensor) -> Tensor:
        return F.linear(self.network.features(x), tau_normalized(self.network.classifier.weight, self.tau))


def tau_normalized(weight: Tensor, tau: float) -> Tensor:
    """w_i / ||w_i||^tau, rows of (K, D); the bias is dropped, as in the code of the paper."""
    return weight / weight.norm(dim=1, keepdim=True) ** tau
