"""Adversarial training and its classics: AT, ALP and TRADES; and AT-BSL, which corrects for the long tail.

R is the network, x_adv an image in the l_inf ball around x that an attack found against R. The defaults are those of
the TRADES code, which LBGAT took over: epsilon 0.031, ten steps of 0.007. On a long tail every one of them can shift
its logits by the class counts (``tau``) and measure angles instead of products (``cosine``, ``margin``); the attack
of the training always sees the logits of R.

``cosine``, ``cosine_gamma``, ``margin``, ``tau_margin`` and ``tau_evaluation`` are parts of RoBal, which every method
can have; RoBal itself, with its regulariser and its recipe, is in ``robal.py``.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from ltlib.attacks import PGD, attacked
from ltlib.attacks.ball import Logits
from ltlib.attacks.losses import kl_to_clean
from ltlib.data.loader import Batch
from ltlib.errors import InputError, check_choice
from ltlib.methods.baselines import log_prior
from ltlib.methods.margins import CosineClassifier, class_aware_margins, with_margin
from ltlib.methods.method import Method, Passes, Stage, check_weight
from ltlib.models import Network
from ltlib.models.folded import folded

ATTACKS = ("cross_entropy", "kl")
BN_ORDERS = ("clean_adversarial_clean", "adversarial_clean")

# WRN-34-10, images as they are in [0, 1], 100 epochs that decay after 75 and 90.
RECIPE = {"backbone": "wrn34_10", "epochs": 100, "weight_decay": 2e-4, "schedule": "step_trades", "normalize": False}

# The code for Tiny ImageNet was never released. Its author says in issue 7 of the LBGAT code: images made 32x32 and
# flipped, not normalised. Here they are shifted too, as on CIFAR; which network the paper used there we do not know.
TINY_IMAGENET = {"image_size": 32}


class AdversarialTraining(Method):
    """AT: min over the weights of CE(R(x_adv), y) (Madry et al. 2018, arXiv 1706.06083).

    The arguments are many because each of them is a name that overrides can use.

    Symbols:
        - R: the network that is to become robust; R(x) are its logits.
        - x_adv: the attacked image, which differs from x by at most ``epsilon`` in each value.
        - m_y: the margin of RoBal on the logits, 0 unless ``cosine`` is set.
        - tau: strength of the logit adjustment; 0 does not use the counts, 1 is Balanced Softmax.
        - alpha, beta: weights of the further parts, which are settings.
        - p_clean, p_adv: softmax(R(x)) and softmax(R(x_adv)).

    Args:
        epsilon: l_inf radius of the training attack, on images in [0, 1].
        step_size, attack_steps: of its PGD.
        ramp: epochs in which radius and step grow from 0 to their values. Small networks and short runs need it:
            attacked in full from the start they might never leave chance.
        attack: what the attack makes large: ``cross_entropy`` to the label, from a uniform start; or ``kl`` from
            the network's own clean prediction, as TRADES does, from a start of 0.001 times normal noise.
        ema: decay of a moving average of R's weights, which is then what is evaluated (Rebuffi et al. 2021, arXiv
            2103.01946, use 0.995); 0 keeps none.
        awp: size gamma of the adversarial weight perturbation (Wu et al. 2020, arXiv 2004.05884, use 0.005 with
            TRADES and 0.01 with AT); 0 leaves the weights where they are.
        tau: strength of the logit adjustment: every cross-entropy of R to the labels sees z + tau log n_y. 1 is
            Balanced Softmax, as in AT-BSL; 0 does not use the counts.
        cosine: scale of a cosine classifier, 10 in RoBal; 0 keeps the linear one. RoBal attacks and pairs the bare
            cosines; here the scale belongs to the logits throughout.
        cosine_gamma: added to the length of each row of the cosine classifier, 1/32 in RoBal; needs ``cosine``.
        margin: by which the true cosine must lead, 0.1 in RoBal; needs ``cosine``.
        tau_margin: strength of a margin tau log(n_y / n_min) of the true logit, which is wider for frequent classes;
            0.3 in RoBal-R; needs ``cosine``.
        tau_evaluation: the evaluated logits are z - tau log n_y, 0.1 in RoBal-N. The training does not see it, and an
            attack on the finished method does.

    Raises:
        InputError: a value is not allowed.
    """

    label = "AT"
    learning_passes = 1  # forward and backward passes of R in ``terms``
    prior: Tensor
    margin: Tensor
    removed: Tensor
    averaged: Tensor

    def __init__(
        self,
        network: Network,
        counts: Tensor,
        *,
        epsilon: float = 0.031,
        step_size: float = 0.007,
        attack_steps: int = 10,
        ramp: float = 0.0,
        attack: str = "cross_entropy",
        ema: float = 0.0,
        awp: float = 0.0,
        tau: float = 0.0,
        cosine: float = 0.0,
        cosine_gamma: float = 0.0,
        margin: float = 0.0,
        tau_margin: float = 0.0,
        tau_evaluation: float = 0.0,
    ):
        super().__init__(network, counts)
        check_choice("attack", attack, ATTACKS)
        own_margins = class_aware_margins(self.counts, margin, check_weight("cosine", cosine), tau_margin)
        for name, value in (("margin", margin), ("tau_margin", tau_margin), ("cosine_gamma", cosine_gamma)):
            if value and not cosine:
                raise InputError(
                    f"{name}={value} is one of cosines: give the classifier a scale too, such as cosine=10."
                )
        if cosine:
            network.classifier = CosineClassifier(network.classifier, cosine, cosine_gamma)
        if not 0 <= ema < 1:
            raise InputError(f"ema must be at least 0 and below 1; got {ema}.")
        start = "gaussian" if attack == "kl" else "uniform"
        self.attack = PGD(epsilon, steps=attack_steps, step_size=step_size, loss=attack, start=start)
        self.ramp, self.awp, self.images = check_weight("ramp", ramp), check_weight("awp", awp), int(counts.sum())
        self.register_buffer("prior", log_prior(self.counts, tau), persistent=False)
        self.register_buffer("margin", own_margins, persistent=False)
        self.register_buffer("removed", log_prior(self.counts, tau_evaluation, "tau_evaluation"), persistent=False)
        self.adjusted = tau_evaluation > 0
        self.ema = ema
        self.average: Network | None = None
        if ema:
            self.average = copy.deepcopy(network).requires_grad_(False)
            self.register_buffer("averaged", torch.zeros((), dtype=torch.long))  # steps in the average

    @classmethod
    def published(cls, dataset: str, imbalance_factor: float, backbone: str = "") -> dict[str, object]:
        """The recipe of the adversarial papers, the same for all data; Tiny ImageNet is made 32x32."""
        shared = super().published(dataset, imbalance_factor, backbone)
        return shared | RECIPE | (TINY_IMAGENET if dataset == "tiny_imagenet" else {})

    def loss(self, batch: Batch) -> Tensor:
        x_adv = self.adversarial(batch)
        weights = self.worst_weights(batch, x_adv) if self.awp else {}
        return self.terms(batch, x_adv, lambda x: functional_call(self.network, weights, (x,)).float())

    def adversarial(self, batch: Batch) -> Tensor:
        """x_adv, found with R in evaluation mode; its BatchNorm sees nothing of the search.

        The search passes through R many times, so BatchNorm is folded into the convolutions for it.
        """
        with folded(self.network), attacked(self.network):
            return self.attack_at(batch.progress)(self.network, batch.x, batch.y)

    def attack_at(self, progress: float) -> PGD:
        """The training attack after so many epochs: radius and step grow until the ramp is over."""
        if self.ramp_is_over(progress):
            return self.attack
        share = (progress + 1 / self.images) / self.ramp  # above 0 at the very first step
        return replace(self.attack, epsilon=share * self.attack.epsilon, step_size=share * self.attack.step_size)

    def ramp_is_over(self, progress: float) -> bool:
        return progress >= self.ramp

    def worst_weights(self, batch: Batch, x_adv: Tensor) -> dict[str, Tensor]:
        """R's weight matrices and kernels, each moved by gamma times its length to where the loss is higher.

        The gradient of the loss at the moved weights goes to the weights themselves.
        """
        named = {name: w for name, w in self.network.named_parameters() if w.ndim > 1}
        kept = {name: buffer.clone() for name, buffer in self.named_buffers()}
        loss = self.terms(batch, x_adv, lambda x: self.network(x).float())
        gradients = torch.autograd.grad(loss, list(named.values()))
        # the pass is part of a search: BatchNorm forgets it
        for name, buffer in self.named_buffers():
            buffer.copy_(kept[name])
        return {
            # w + gamma |w| g / |g|
            name: w + self.awp * w.detach().norm() * g / g.norm().clamp(min=1e-12)
            for (name, w), g in zip(named.items(), gradients, strict=True)
        }

    def terms(self, batch: Batch, x_adv: Tensor, robust: Logits) -> Tensor:
        """The training loss, given x_adv and R as a function from images to logits."""
        return self.label_loss(robust(x_adv), batch.y)

    def label_loss(self, z: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of R's logits to the labels: CE(z - m_y [k = y] + tau log n_k, y), m_y on the logits."""
        return F.cross_entropy(with_margin(z, y, self.margin) + self.prior, y)

    def held_out_attack(self) -> PGD:
        """PGD-20 in the ball of the training attack and with its step, at full radius also within the ramp.

        It raises the cross-entropy of the logits that are evaluated. It starts at the clean image and draws no random
        number. The authors of LBGAT and AT-BSL choose by PGD-20 too, but on the test set.
        """
        return PGD(self.attack.epsilon, steps=20, step_size=self.attack.step_size, start="clean")

    def after_step(self) -> None:
        """Let the average follow: after the first step it is R, later d * average + (1 - d) * R."""
        if not self.average:
            return
        weight = torch.where(self.averaged == 0, 1.0, 1 - self.ema)
        followers, leaders = self.average.state_dict().values(), self.network.state_dict().values()
        for follower, leader in zip(followers, leaders, strict=True):
            if follower.is_floating_point():
                follower.lerp_(leader, weight)
            else:
                follower.copy_(leader)  # batches that BatchNorm has seen
        self.averaged += 1

    def logits(self, x: Tensor) -> Tensor:
        z = self.average(x) if self.average else self.network(x)
        # z_k - tau log n_k
        return z - self.removed if self.adjusted else z

    def phase(self, progress: float) -> tuple[()] | None:
        """Within the ramp every step has its own radius."""
        return () if self.ramp_is_over(progress) else None

    def passes(self, stage: Stage) -> dict[str, Passes]:
        """Forward, and backward by the images, in each step of the attack; then what is learnt, twice with AWP."""
        attack = 2 * self.attack.steps + (self.attack.loss == "kl")  # the KL needs the clean prediction too
        learning = 3 * self.learning_passes * (2 if self.awp else 1)
        return {"network": Passes(forward=attack + learning)}


class ATBSL(AdversarialTraining):
    """AT-BSL (Yue et al. 2024, arXiv 2403.10073): AT with Balanced Softmax on the adversarial images.

    The attack raises the plain cross-entropy, from a start of 0.001 times normal noise.

    Paper against code:
        - The code reports the epoch from 75 on that is best under PGD on the test set. Our tables report the last one.
        - The script for Tiny ImageNet uses PreActResNet-18; here ``backbone=preact_resnet18`` must be asked for.

    Args:
        settings: see :class:`AdversarialTraining`; epsilon, step and weight decay are those of the released code.

    Raises:
        InputError: a value is not allowed.
    """

    label = "AT-BSL"

    def __init__(
        self,
        network: Network,
        counts: Tensor,
        *,
        tau: float = 1.0,
        epsilon: float = 8 / 255,
        step_size: float = 2 / 255,
        **settings: Any,
    ):
        super().__init__(network, counts, tau=tau, epsilon=epsilon, step_size=step_size, **settings)
        self.attack = replace(self.attack, start="gaussian")

    @classmethod
    def published(cls, dataset: str, imbalance_factor: float, backbone: str = "") -> dict[str, object]:
        """The defaults of the released scripts: ResNet-18, a weight decay of 5e-4, and on CIFAR AutoAugment.

        Their headline is the epoch that is best under PGD on the test set; here it is the last one.
        """
        recipe = super().published(dataset, imbalance_factor, backbone) | {"weight_decay": 5e-4, "backbone": "resnet18"}
        return recipe | ({"augmentation": "crop_flip_autoaugment"} if dataset in ("cifar10", "cifar100") else {})


class ALP(AdversarialTraining):
    """Adversarial logit pairing (Kannan et al. 2018, arXiv 1803.06373): AT, and equal logits for both images.

    Args:
        alpha: weight of the pairing, at least 0.
        settings: see :class:`AdversarialTraining`.

    Raises:
        InputError: a value is not allowed.
    """

    label = "ALP"
    learning_passes = 2

    def __init__(self, network: Network, counts: Tensor, *, alpha: float = 1.0, **settings: Any):
        super().__init__(network, counts, **settings)
        self.alpha = check_weight("alpha", alpha)

    def terms(self, batch: Batch, x_adv: Tensor, robust: Logits) -> Tensor:
        z_adv, z = robust(x_adv), robust(batch.x)
        # CE(R(x_adv), y) + alpha MSE(R(x_adv), R(x))
        return self.label_loss(z_adv, batch.y) + self.alpha * F.mse_loss(z_adv, z)


class TRADES(AdversarialTraining):
    """TRADES (Zhang et al. 2019, arXiv 1901.08573): learn the clean image, and predict alike around it.

    Paper against code:
        - The script decays the rate at epochs 75, 90 and 100 and by default stops after 76, just past the first
          decay. Later epochs are less robust.
        - It passes the clean images twice per step, which BatchNorm notices (``bn_order``).

    Args:
        trades_beta: weight of the second part, at least 0; 6 for robustness, 1 for clean accuracy.
        bn_order: which batches BatchNorm sees in a step. The released code passes the clean images a second time for
            the KL, ``clean_adversarial_clean``: the same logits, but the running statistics lean towards clean images.
            ``adversarial_clean`` passes each batch once, as LBGAT does.
        settings: see :class:`AdversarialTraining`.

    Raises:
        InputError: a value is not allowed.
    """

    label = "TRADES 6"
    learning_passes = 2

    def __init__(
        self,
        network: Network,
        counts: Tensor,
        *,
        trades_beta: float = 6.0,
        bn_order: str = "clean_adversarial_clean",
        attack: str = "kl",
        **settings: Any,
    ):
        super().__init__(network, counts, attack=attack, **settings)
        check_choice("bn_order", bn_order, BN_ORDERS)
        self.trades_beta, self.bn_order = check_weight("trades_beta", trades_beta), bn_order

    @classmethod
    def published(cls, dataset: str, imbalance_factor: float, backbone: str = "") -> dict[str, object]:
        """As AT, but the released code stops after the first decay, at epoch 76 (its issues 9 and 11)."""
        return super().published(dataset, imbalance_factor, backbone) | {"epochs": 76}

    def terms(self, batch: Batch, x_adv: Tensor, robust: Logits) -> Tensor:
        if self.bn_order == "clean_adversarial_clean":
            z, z_adv = robust(batch.x), robust(x_adv)
            with torch.no_grad():  # z once more: only the running statistics change
                robust(batch.x)
        else:
            z_adv, z = robust(x_adv), robust(batch.x)
        # CE(R(x), y) + beta KL(p_clean || p_adv), with gradients through both predictions
        return self.label_loss(z, batch.y) + self.trades_beta * kl_to_clean(z_adv, z).mean()

    def passes(self, stage: Stage) -> dict[str, Passes]:
        again = (2 if self.awp else 1) if self.bn_order == "clean_adversarial_clean" else 0
        return {"network": Passes(forward=super().passes(stage)["network"].forward + again)}
