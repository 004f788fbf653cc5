"""Adversarial training and its classics: AT, ALP and TRADES; and AT-BSL, which knows of the long tail.

R is the network, x_adv an image in the l_inf ball around x that an attack found against R. The defaults are those of
the TRADES code, which LBGAT took over: epsilon 0.031, ten steps of 0.007. On a long tail every one of them can shift
its logits by the class counts (``tau``) and measure angles instead of products (``cosine``, ``margin``); the attack
always sees the logits that are evaluated.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ltlib.attacks import PGD, attacked
from ltlib.attacks.ball import Logits
from ltlib.attacks.losses import kl_to_clean
from ltlib.data.loader import Batch
from ltlib.distributed import world_size
from ltlib.errors import InputError, check_choice
from ltlib.methods.baselines import log_prior
from ltlib.methods.margins import CosineClassifier, with_margin
from ltlib.methods.method import Method, check_weight
from ltlib.models import Network

ATTACKS = ("cross_entropy", "kl")

# WRN-34-10, images as they are in [0, 1], 100 epochs that decay after 75 and 90.
RECIPE = {"backbone": "wrn34_10", "epochs": 100, "weight_decay": 2e-4, "schedule": "step_trades", "normalize": False}

# The code for Tiny ImageNet was never released. Its author says in issue 7 of the LBGAT code: images made 32x32 and
# flipped, not normalised. Here they are shifted too, as on CIFAR; which network the paper used there we do not know.
TINY_IMAGENET = {"image_size": 32}


class AdversarialTraining(Method):
    """AT: min over the weights of CE(R(x_adv), y) (Madry et al. 2018, arXiv 1706.06083).

    Args:
        epsilon: l_inf radius of the training attack, on images in [0, 1].
        step_size, attack_steps: of its PGD.
        ramp: epochs in which radius and step grow from 0 to their values. Small networks and short runs need it:
            attacked in full from the start they may never leave chance.
        attack: what the attack makes large: ``cross_entropy`` to the label, from a uniform start; or ``kl`` from
            the network's own clean prediction, as TRADES does, from a start of 0.001 times normal noise.
        ema: decay of a moving average of R's weights, which is then what is evaluated (Rebuffi et al. 2021, arXiv
            2103.01946, use 0.995); 0 keeps none.
        awp: size gamma of the adversarial weight perturbation (Wu et al. 2020, arXiv 2004.05884, use 0.005 with
            TRADES and 0.01 with AT); 0 leaves the weights where they are.
        tau: strength of the logit adjustment: every cross-entropy of R to the labels sees z + tau log n_y. 1 is
            Balanced Softmax, as in AT-BSL; RoBal has 1.2; 0 knows nothing of the counts.
        cosine: scale of a cosine classifier, which RoBal (Wu et al. 2021, arXiv 2104.02703) sets to 10; 0 keeps the
            linear one. RoBal attacks and pairs the bare cosines; here the scale belongs to the logits throughout.
        margin: by which the true cosine must lead, 0.1 in RoBal; needs ``cosine``.

    Raises:
        InputError: a value is not allowed.
    """

    label = "AT"

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
        margin: float = 0.0,
    ):
        super().__init__(network, counts)
        check_choice("attack", attack, ATTACKS)
        check_weight("margin", margin)
        check_weight("cosine", cosine)
        if margin and not cosine:
            raise InputError(f"margin={margin} is one of cosines: give the classifier a scale too, such as cosine=10.")
        if cosine:
            network.classifier = CosineClassifier(network.classifier, cosine)
        self.register_buffer("prior", log_prior(self.counts, tau), persistent=False)
        self.register_buffer("margin", torch.full_like(self.counts, cosine * margin), persistent=False)
        if not 0 <= ema < 1:
            raise InputError(f"ema must be at least 0 and below 1; got {ema}.")
        start = "gaussian" if attack == "kl" else "uniform"
        self.attack = PGD(epsilon, steps=attack_steps, step_size=step_size, loss=attack, start=start)
        self.ramp, self.awp = check_weight("ramp", ramp), check_weight("awp", awp)
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))  # training images so far
        self.average = None
        if ema:
            self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(ema), use_buffers=True)
            self.average.requires_grad_(False)

    @classmethod
    def published(cls, dataset: str, imbalance_factor: float, backbone: str = "") -> dict[str, object]:
        """The recipe of the adversarial papers, the same for all data; Tiny ImageNet is made 32x32."""
        shared = super().published(dataset, imbalance_factor, backbone)
        return shared | RECIPE | (TINY_IMAGENET if dataset == "tiny_imagenet" else {})

    def adversarial(self, batch: Batch) -> Tensor:
        """x_adv, found with R in evaluation mode; its BatchNorm sees nothing of the search."""
        with attacked(self.network):
            return self.current_attack()(self.network, batch.x, batch.y)

    def current_attack(self) -> PGD:
        """The training attack at this point of the ramp."""
        if not self.ramp:
            return self.attack  # without a look at `seen`, for which a GPU would have to wait
        images = self.ramp * self.counts.sum().item()
        if self.seen >= images:
            return self.attack
        share = (int(self.seen) + 1) / images
        return replace(self.attack, epsilon=share * self.attack.epsilon, step_size=share * self.attack.step_size)

    def loss(self, batch: Batch) -> Tensor:
        x_adv = self.adversarial(batch)
        weights = self.worst_weights(batch, x_adv) if self.awp else {}
        self.seen += len(batch.y) * world_size()
        return self.terms(batch, x_adv, lambda x: functional_call(self.network, weights, (x,)).float())

    def terms(self, batch: Batch, x_adv: Tensor, robust: Logits) -> Tensor:
        """The training loss, given x_adv and R as a function from images to logits."""
        return self.label_loss(robust(x_adv), batch.y)

    def label_loss(self, z: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of R's logits to the labels: CE(z - s m [k = y] + tau log n_k, y)."""
        return F.cross_entropy(with_margin(z, y, self.margin) + self.prior, y)

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

    @property
    def decided_by_host(self) -> str:
        return "ramp" if self.ramp else "ema" if self.average else ""

    def after_step(self) -> None:
        """Let the average follow."""
        if self.average:
            self.average.update_parameters(self.network)

    def logits(self, x: Tensor) -> Tensor:
        return self.average(x) if self.average else self.network(x)


class ATBSL(AdversarialTraining):
    """AT-BSL (Yue et al. 2024, arXiv 2403.10073): AT with Balanced Softmax on the adversarial images.

    The attack raises the plain cross-entropy, from a start of 0.001 times normal noise.

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
        **settings: object,
    ):
        super().__init__(network, counts, tau=tau, epsilon=epsilon, step_size=step_size, **settings)
        self.attack = replace(self.attack, start="gaussian")

    @classmethod
    def published(cls, dataset: str, imbalance_factor: float, backbone: str = "") -> dict[str, object]:
        """The recipe of the adversarial papers, with a weight decay of 5e-4."""
        return super().published(dataset, imbalance_factor, backbone) | {"weight_decay": 5e-4}


class ALP(AdversarialTraining):
    """Adversarial logit pairing (Kannan et al. 2018, arXiv 1803.06373): AT, and equal logits for both images.

    Args:
        alpha: weight of the pairing, at least 0.
        settings: see :class:`AdversarialTraining`.

    Raises:
        InputError: a value is not allowed.
    """

    label = "ALP"

    def __init__(self, network: Network, counts: Tensor, *, alpha: float = 1.0, **settings: object):
        super().__init__(network, counts, **settings)
        self.alpha = check_weight("alpha", alpha)

    def terms(self, batch: Batch, x_adv: Tensor, robust: Logits) -> Tensor:
        z_adv, z = robust(x_adv), robust(batch.x)
        # CE(R(x_adv), y) + alpha MSE(R(x_adv), R(x))
        return self.label_loss(z_adv, batch.y) + self.alpha * F.mse_loss(z_adv, z)


class TRADES(AdversarialTraining):
    """TRADES (Zhang et al. 2019, arXiv 1901.08573): learn the clean image, and predict alike around it.

    Args:
        trades_beta: weight of the second part, at least 0; 6 for robustness, 1 for clean accuracy.
        settings: see :class:`AdversarialTraining`.

    Raises:
        InputError: a value is not allowed.
    """

    label = "TRADES 6"

    def __init__(
        self, network: Network, counts: Tensor, *, trades_beta: float = 6.0, attack: str = "kl", **settings: object
    ):
        super().__init__(network, counts, attack=attack, **settings)
        self.trades_beta = check_weight("trades_beta", trades_beta)

    def terms(self, batch: Batch, x_adv: Tensor, robust: Logits) -> Tensor:
        z_adv, z = robust(x_adv), robust(batch.x)
        # CE(R(x), y) + beta KL(p_clean || p_adv), with gradients through both predictions
        return self.label_loss(z, batch.y) + self.trades_beta * kl_to_clean(z_adv, z).mean()
