"""Adversarial training and its classics: AT, ALP and TRADES.

R is the network, x_adv an image in the l_inf ball around x that an attack found against R. The defaults are those of
the TRADES code, which LBGAT took over: epsilon 0.031, ten steps of 0.007.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ltlib.attacks import PGD, attacked
from ltlib.attacks.losses import kl_to_clean
from ltlib.data.loader import Batch
from ltlib.errors import InputError, check_choice
from ltlib.methods.method import Method
from ltlib.models import Network

ATTACKS = ("cross_entropy", "kl")

# WRN-34-10, images as they are in [0, 1], 100 epochs that decay after 75 and 90.
RECIPE = {"backbone": "wrn34_10", "epochs": 100, "weight_decay": 2e-4, "schedule": "step_trades", "normalize": False}


class AdversarialTraining(Method):
    """AT: min over the weights of CE(R(x_adv), y) (Madry et al. 2018, arXiv 1706.06083).

    Args:
        epsilon: l_inf radius of the training attack, on images in [0, 1].
        step_size, attack_steps: of its PGD.
        attack: what the attack makes large: ``cross_entropy`` to the label, from a uniform start; or ``kl`` from
            the network's own clean prediction, as TRADES does, from a start of 0.001 times normal noise.

    Raises:
        InputError: a value is not allowed.
    """

    def __init__(
        self,
        network: Network,
        counts: Tensor,
        *,
        epsilon: float = 0.031,
        step_size: float = 0.007,
        attack_steps: int = 10,
        attack: str = "cross_entropy",
    ):
        super().__init__(network, counts)
        check_choice("attack", attack, ATTACKS)
        start = "gaussian" if attack == "kl" else "uniform"
        self.attack = PGD(epsilon, steps=attack_steps, step_size=step_size, loss=attack, start=start)

    @classmethod
    def published(cls, dataset: str, imbalance_factor: float) -> dict[str, object]:
        """The recipe of the adversarial papers, the same for all data."""
        return RECIPE

    def adversarial(self, batch: Batch) -> Tensor:
        """x_adv, found with R in evaluation mode; its BatchNorm sees nothing of the search."""
        with attacked(self.network):
            return self.attack(self.network, batch.x, batch.y)

    def loss(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self.network(self.adversarial(batch)).float(), batch.y)


class ALP(AdversarialTraining):
    """Adversarial logit pairing (Kannan et al. 2018, arXiv 1803.06373): AT, and equal logits for both images.

    Args:
        alpha: weight of the pairing, at least 0.
        settings: see :class:`AdversarialTraining`.

    Raises:
        InputError: a value is not allowed.
    """

    def __init__(self, network: Network, counts: Tensor, *, alpha: float = 1.0, **settings: object):
        super().__init__(network, counts, **settings)
        self.alpha = check_weight("alpha", alpha)

    def loss(self, batch: Batch) -> Tensor:
        z_adv, z = self.network(self.adversarial(batch)).float(), self.network(batch.x).float()
        # CE(R(x_adv), y) + alpha MSE(R(x_adv), R(x))
        return F.cross_entropy(z_adv, batch.y) + self.alpha * F.mse_loss(z_adv, z)


class TRADES(AdversarialTraining):
    """TRADES (Zhang et al. 2019, arXiv 1901.08573): learn the clean image, and predict alike around it.

    Args:
        trades_beta: weight of the second part, at least 0; 6 for robustness, 1 for clean accuracy.
        settings: see :class:`AdversarialTraining`.

    Raises:
        InputError: a value is not allowed.
    """

    def __init__(
        self, network: Network, counts: Tensor, *, trades_beta: float = 6.0, attack: str = "kl", **settings: object
    ):
        super().__init__(network, counts, attack=attack, **settings)
        self.trades_beta = check_weight("trades_beta", trades_beta)

    def loss(self, batch: Batch) -> Tensor:
        z_adv, z = self.network(self.adversarial(batch)).float(), self.network(batch.x).float()
        # CE(R(x), y) + beta KL(p_clean || p_adv), with gradients through both predictions
        return F.cross_entropy(z, batch.y) + self.trades_beta * kl_to_clean(z_adv, z).mean()


def check_weight(name: str, value: float) -> float:
    """``value``, if it is a weight: raise :class:`InputError` unless it is at least 0."""
    if not value >= 0:
        raise InputError(f"{name} must be at least 0; got {value}.")
    return value
