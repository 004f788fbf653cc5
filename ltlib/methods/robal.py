"""RoBal: Wu et al. 2021, *Adversarial Robustness under Long-Tailed Distribution* (arXiv 2104.02703).

R has a cosine classifier, c_k(x) = cos(w_k, f(x)) |w_k| / (|w_k| + gamma). On adversarial images the loss is the
cross-entropy of s c_k with a margin and the prior, and a regulariser compares clean and adversarial images:

    L = CE(s (c_k(x_adv) - m_y [k = y]) + tau log pi_k, y) + 6 KL(softmax c(x) || softmax c(x_adv))

The margin and the classifier are in ``margins.py``; what is here follows the training step of the released code.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ltlib.attacks import attacked
from ltlib.attacks.ball import Logits
from ltlib.attacks.losses import kl_to_clean
from ltlib.data.loader import Batch
from ltlib.methods.adversarial import AdversarialTraining
from ltlib.methods.method import Passes, Stage, check_positive, check_weight
from ltlib.models import Network
from ltlib.models.folded import folded


class RoBal(AdversarialTraining):
    """RoBal-R, the more robust of the two published variants.

    The arguments are many because each of them has another default than adversarial training has.

    The other one, RoBal-N on CIFAR-10-LT, is ``tau_margin=0, tau=1.2, tau_evaluation=0.1``. On CIFAR-100-LT it is
    ``regulariser=3, margin=0.2, cosine_gamma=0.03125, tau_evaluation=1.5``.

    Symbols:
        - c: cosines of the features of an image to the rows of the classifier.
        - s: their scale, the setting ``cosine``.
        - m_y: the margin of class y, which is wider for frequent classes.

    Paper against code:
        - The attack and the regulariser of the released code see the bare cosines, and only the cross-entropy their
          scale. So do ours. What we evaluate is s c_k throughout; the code evaluates RoBal-R on CIFAR-10 without s.
        - The noise at which the attack starts is never negative: x + epsilon U[0, 1) (``start="positive"`` of PGD).
        - The code passes the clean images twice per step and the adversarial ones twice, which BatchNorm notices.
        - The rate is multiplied by 0.1 again in every epoch from the 60th on, so training ends there in effect
          (schedule ``step_robal``). With ``schedule=step_robal_described`` it decays at epochs 60 and 75 only.

    Args:
        regulariser: weight of the KL, at least 0.
        cosine: the scale s, above 0.
        settings: see :class:`~ltlib.methods.adversarial.AdversarialTraining`.

    Raises:
        InputError: a value is not allowed.
    """

    label = "RoBal"
    classifier_init = "pytorch"
    learning_passes = 2

    def __init__(
        self,
        network: Network,
        counts: Tensor,
        *,
        regulariser: float = 6.0,
        epsilon: float = 0.031,
        step_size: float = 0.0078,
        attack_steps: int = 5,
        cosine: float = 10.0,
        cosine_gamma: float = 1 / 32,
        margin: float = 0.1,
        tau_margin: float = 0.3,
        tau: float = 1.5,
        **settings: Any,
    ):
        check_positive("cosine", cosine)
        rows = network.classifier.weight.detach().clone()
        of_classifier = {"cosine": cosine, "cosine_gamma": cosine_gamma, "margin": margin, "tau_margin": tau_margin}
        of_attack = {"epsilon": epsilon, "step_size": step_size, "attack_steps": attack_steps}
        super().__init__(network, counts, tau=tau, **of_classifier, **of_attack, **settings)
        with torch.no_grad():
            network.classifier.weight.copy_(rows)  # with gamma their length counts, and it starts as PyTorch draws it
        self.scale, self.regulariser = cosine, check_weight("regulariser", regulariser)
        if self.attack.loss == "cross_entropy":
            self.attack = replace(self.attack, start="positive")

    @classmethod
    def published(cls, dataset: str, imbalance_factor: float, backbone: str = "") -> dict[str, object]:
        """The released configurations: 80 epochs in batches of 64, and other margins on CIFAR-100-LT."""
        recipe = super().published(dataset, imbalance_factor, backbone)
        recipe |= {"epochs": 80, "batch_size": 64, "schedule": "step_robal"}
        if dataset == "cifar100":
            recipe |= {"margin": 0.3, "tau_margin": 0.0, "tau": 0.0, "cosine_gamma": 1 / 16, "tau_evaluation": 1.7}
        return recipe

    def adversarial(self, batch: Batch) -> Tensor:
        """x_adv, found with R in evaluation mode on the bare cosines."""
        with folded(self.network), attacked(self.network):
            return self.attack_at(batch.progress)(lambda x: self.network(x) / self.scale, batch.x, batch.y)

    def terms(self, batch: Batch, x_adv: Tensor, robust: Logits) -> Tensor:
        z_adv = robust(x_adv)
        with torch.no_grad():  # a loss of weight 0 in the released code: only the running statistics change
            robust(batch.x)
        z = robust(batch.x)
        with torch.no_grad():  # the logits of x_adv again, the same
            robust(x_adv)
        # CE(s (c(x_adv) - m_y) + tau log n_k, y) + 6 KL(softmax c(x) || softmax c(x_adv)), gradients through both c
        pairing = kl_to_clean(z_adv / self.scale, z / self.scale).mean()
        return self.label_loss(z_adv, batch.y) + self.regulariser * pairing

    def passes(self, stage: Stage) -> dict[str, Passes]:
        again = 4 if self.awp else 2
        return {"network": Passes(forward=super().passes(stage)["network"].forward + again)}
