"""ResLT: residual learning for long-tailed recognition (Cui, Liu, Tian, Zhong and Jia, TPAMI 2023, arXiv 2101.10633).

Top to bottom in the order of the paper: the nested sets of classes, the loss, the branches, the method. One trunk
feeds three light branches H, M and T and one shared classifier. H learns all classes, M those of medium and low
frequency, T the rare ones; their logits are added, so that M and T correct H where it fails. Lesson 04 walks
through all of it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltlib.data.loader import Batch
from ltlib.errors import InputError, check_choice
from ltlib.methods.baselines import tau_normalized
from ltlib.methods.large import LARGE
from ltlib.methods.method import Method, Stage
from ltlib.models import Network
from ltlib.models.backbone import Backbone

DESIGNS = ("residual", "trivial", "ensemble")
GROUPS = ("counts", "paper")
TRANSFORMS = ("batch_norm", "convolution")
POOL_FIRST = ("never", "evaluation", "always")
EVALUATIONS = ("plain", "tau_normalized")
RELEASED_BRANCHES = {"BNH": "norms.0", "BNM": "norms.1", "BNT": "norms.2"}

# The first class of S_M and the first of S_T, classes sorted by descending count: fixed in the released code, the
# same at every imbalance factor, and not the groups of its reports. iNaturalist (8,142 classes) has no T.
PAPER_SETS = {10: (2, 4), 100: (35, 70), 1000: (175, 780), 8142: (1542, 8142)}


def class_sets(counts: Tensor, groups: str = "counts", design: str = "residual") -> Tensor:
    """Which branch learns which classes: the sets S_H, S_M and S_T.

    Args:
        counts: (K,) training images of each class, in any order.
        groups: ``counts`` calls classes of more than 100 images head and those of less than 20 tail;
            ``paper`` takes the fixed sets of the released code, defined for 10, 100, 1000 and 8142 classes.
        design: ``residual`` nests the sets as ResLT does, head+medium+tail, medium+tail, tail; ``trivial`` keeps
            them apart, head, medium, tail, which the paper argues against; ``ensemble`` gives every branch all
            classes.

    Returns:
        (J, K) bool, a row for each branch. A set without classes has no row: with an empty tail, as on
        iNaturalist, two branches are left.

    Raises:
        InputError: a name is unknown, or ``paper`` does not define this number of classes.
    """
    check_choice("groups", groups, GROUPS)
    check_choice("design", design, DESIGNS)
    rank = torch.argsort(torch.argsort(counts, descending=True, stable=True))
    if groups == "counts":
        medium, tail = int((counts > 100).sum()), int((counts >= 20).sum())
    elif len(counts) in PAPER_SETS:
        medium, tail = PAPER_SETS[len(counts)]
    else:
        raise InputError(
            f"groups='paper' is defined for {', '.join(map(str, PAPER_SETS))} classes, not for {len(counts)}: "
            f"use groups='counts'."
        )
    nested = torch.stack([rank >= first for first in (0, medium, tail)])
    nested = nested[nested.any(1)]
    if design == "ensemble":
        return torch.ones_like(nested)
    if design == "trivial":  # each set without the next one
        nested = nested & ~torch.cat([nested[1:], torch.zeros_like(nested[:1])])
        return nested[nested.any(1)]
    return nested


def specialisation(z: Tensor, y: Tensor, sets: Tensor, clip: float = 1e-7) -> Tensor:
    """The loss of each branch on its own classes; their sum is L_ind.

    All branches share one denominator, the number of pairs (image, branch that learns it). A mean for each branch
    instead would weigh a rare image in a batch by how few of its kind came along.

    Args:
        z: logits of the branches (J, B, K).
        y: labels (B,).
        sets: (J, K) bool, see :func:`class_sets`.
        clip: added to the probability inside the logarithm, as in the released code: it bounds the loss of one
            image, and its gradient fades where p is far below. 0 is plain cross-entropy.

    Returns:
        (J,): the term of a branch without an image in the batch is 0, and so is its gradient.
    """
    mask = sets[:, y]  # m_j(y) = [y in S_j], (J, B)
    if clip:
        p_y = z.softmax(2).gather(2, y.expand(len(z), -1)[..., None]).squeeze(2)
        cross_entropy = -(p_y + clip).log()
    else:
        cross_entropy = F.cross_entropy(z.flatten(0, 1), y.repeat(len(z)), reduction="none").view(len(z), -1)
    # L_ind = sum_j sum_b m_j(y_b) CE(z_jb, y_b) / sum_j sum_b m_j(y_b)
    return torch.where(mask, cross_entropy, 0).sum(1) / mask.sum()


class BatchNormBranches(nn.Module):
    """The branches on CIFAR: one BatchNorm each, maps (B, C, h, w) -> features (J, B, C).

    All see the same maps and so normalise alike: they differ in their gamma and beta, 2C numbers each.
    """

    def __init__(self, channels: int, branches: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(branches))

    def forward(self, maps: Tensor) -> Tensor:
        return torch.stack([norm(maps).mean((2, 3)) for norm in self.norms])


class ConvolutionBranches(nn.Module):
    """The branches on the large sets: one 1x1 convolution C -> JC, BatchNorm, ReLU, cut into J.

    Not light: with C = 2048 and J = 3 they have 12.6 million parameters, and for 256 images of 224 pixels each of the
    three steps gives 256 x 6144 x 7 x 7 numbers, 308 MB in float32. Pooling first leaves a 49th of that.
    """

    def __init__(self, channels: int, branches: int):
        super().__init__()
        self.branches = branches
        self.conv = nn.Conv2d(channels, branches * channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(branches * channels)
        # N(0, 2 / fan_out); the authors' layer always has three branches, also on iNaturalist, where two are used
        nn.init.normal_(self.conv.weight, std=math.sqrt(2 / (3 * channels)))

    def forward(self, maps: Tensor) -> Tensor:
        features = F.relu(self.norm(self.conv(maps))).mean((2, 3))
        return features.unflatten(1, (self.branches, -1)).transpose(0, 1)


class ResLT(Method):
    """Residual branches over nested sets of classes.

    The arguments are many because each of them is a name that overrides can use.

    Symbols:
        - j: a branch, one of J; in the paper they are H, M and T.
        - z_j: logits of branch j; z_jb are those of image b. Their sum over j is evaluated.
        - S_j: the classes that branch j learns. H learns all, and each set contains the next.
        - m_j: 1 for an image whose class branch j learns, otherwise 0.
        - L_ind, L_fus: the loss of the branches on their own classes, and that of the sum of their logits.
        - beta: weight of the first against the second, a setting.

    Paper against code:
        - On CIFAR a branch is one BatchNorm instead of a 1x1 convolution (``transform``).
        - The sets of classes are fixed, the same at every imbalance factor (``groups="paper"``), and they are not the
          groups of the reports.
        - The loss of the branches is -log(p + 1e-7) (``clip``).
        - On the large sets the maps are pooled after the branches in training and before them at evaluation
          (``pool_first``), the classifier's bias is dropped at evaluation and its rows are shortened (``evaluation``).
        - On iNaturalist three branches are made and two are used, which changes how the layer starts. The training
          script has gamma 0.3 there, and the evaluation script 0.
        - The code reports the epoch that is best on the test set. Our tables report the last one.
        - The authors say that results on CIFAR depend on the environment. No number of their own on CIFAR was released.

    Args:
        beta: weight of the branches' own losses against the loss of the summed logits, in [0, 1];
            :meth:`published` has the value of each data set.
        groups, design: see :func:`class_sets`.
        transform: ``batch_norm`` (CIFAR) or ``convolution`` (the large sets), see the two classes above.
        pool_first: when the maps are pooled before the branches: ``never``, ``always`` (ResNet-10), or only in
            ``evaluation``, as the code does with the deeper networks to save time, although BatchNorm and ReLU
            of a mean are not the mean of BatchNorm and ReLU. Behind ``batch_norm`` it makes no difference at
            evaluation.
        evaluation: ``tau_normalized`` drops the classifier's bias at evaluation and divides its rows by
            ||w||^gamma, as on the large sets.
        gamma: that exponent, at least 0; 0 only drops the bias.
        balanced: train every softmax as Balanced Softmax (arXiv 2007.10740): add log n_y to the logits, for a
            branch over its own classes only.
        clip: see :func:`specialisation`; at least 0. The code for ImageNet-LT clips the loss of the sum too, which
            changes it only where p is far below.

    Raises:
        InputError: a value is out of its range, or the sets are not defined for these classes.
    """

    label = "ResLT"
    classifier_init = "pytorch"  # the released code draws the CIFAR network by kaiming and leaves its classifier out
    sets: Tensor
    own_prior: Tensor
    prior: Tensor

    def __init__(
        self,
        network: Network,
        counts: Tensor,
        *,
        beta: float = 0.995,
        groups: str = "counts",
        design: str = "residual",
        transform: str = "batch_norm",
        pool_first: str = "never",
        evaluation: str = "plain",
        gamma: float = 0.3,
        balanced: bool = False,
        clip: float = 1e-7,
    ):
        super().__init__(network, counts)
        if not 0 <= beta <= 1:
            raise InputError(f"beta must lie in [0, 1]; got {beta}.")
        if gamma < 0 or clip < 0:
            raise InputError(f"gamma and clip must be at least 0; got {gamma} and {clip}.")
        check_choice("transform", transform, TRANSFORMS)
        check_choice("pool_first", pool_first, POOL_FIRST)
        check_choice("evaluation", evaluation, EVALUATIONS)
        self.register_buffer("sets", class_sets(self.counts, groups, design), persistent=False)
        make = BatchNormBranches if transform == "batch_norm" else ConvolutionBranches
        self.branches = make(network.classifier.in_features, len(self.sets))
        if design == "ensemble" and isinstance(self.branches, BatchNormBranches):
            # Alike at the start and taught alike, the branches would stay copies of one another.
            for name, parameter in self.branches.norms.named_parameters():
                if name.endswith("weight"):
                    nn.init.uniform_(parameter, 0.5, 1.5)
        n = self.counts if balanced else torch.ones_like(self.counts)
        # Balanced Softmax of a branch knows the classes that the branch sees: the others have prior log 0.
        own = n * self.sets if balanced else n.expand(len(self.sets), -1)
        self.register_buffer("own_prior", own.log()[:, None], persistent=False)
        self.register_buffer("prior", n.log(), persistent=False)
        self.beta, self.pool_first, self.evaluation = beta, pool_first, evaluation
        self.gamma, self.clip = gamma, clip

    @classmethod
    def as_stage1(cls, hyperparameters: dict[str, object]) -> dict[str, object]:
        return {"mixup_alpha": 0.0, "balanced": hyperparameters["balanced"]}

    def stages(self, epochs: int, schedule: str) -> tuple[Stage, ...]:
        return (Stage("train", epochs, "instance_balanced", schedule, length="drop_last"),)

    @classmethod
    def published(cls, dataset: str, imbalance_factor: float, backbone: str = "") -> dict[str, object]:
        """The released recipe: for CIFAR with beta of the nearest published imbalance factor (as a ratio), for
        ImageNet-LT that of the backbone, ResNeXt-50 unless another is given.

        Nothing was released for Places-LT: its network and training are those of MiSLAS, its branches those of
        ImageNet-LT, its sets of classes follow the counts, and nobody has tuned any of it.
        """
        if dataset == "imagenet_lt":
            return LARGE[dataset] | CONVOLUTION | IMAGENET_LT.get(backbone, IMAGENET_LT["resnext50"])
        if dataset == "inaturalist2018":
            return LARGE[dataset] | CONVOLUTION | INATURALIST2018
        if dataset == "places_lt":
            return LARGE[dataset] | CONVOLUTION | {"groups": "counts"}
        if dataset not in BETA:
            return {}
        factor = min(BETA[dataset], key=lambda known: abs(math.log(known / imbalance_factor)))
        recipe = {"weight_decay": 5e-4, "nesterov": True, "schedule": "step_reslt"}
        return recipe | {"groups": "paper", "beta": BETA[dataset][factor]}

    def branch_logits(self, x: Tensor) -> Tensor:
        """z_H, z_M, z_T: images in [0, 1] (B, 3, H, W) -> logits (J, B, K)."""
        return self.branched(self.network.maps(x), self.branches, self.network.classifier)

    def branched(self, maps: Tensor, branches: nn.Module, g: nn.Linear) -> Tensor:
        """Maps of the last layer (B, C, h, w) -> logits (J, B, K), by these branches and this classifier."""
        if self.pool_first == "always" or (self.pool_first == "evaluation" and not self.training):
            maps = maps.mean((2, 3), keepdim=True)
        features = branches(maps)
        if self.evaluation == "tau_normalized" and not self.training:
            return F.linear(features, tau_normalized(g.weight, self.gamma))
        return g(features)

    def loss(self, batch: Batch) -> Tensor:
        return self.fit(self.branch_logits(batch.x).float(), batch.y)

    def fit(self, z: Tensor, y: Tensor) -> Tensor:
        """The loss of branch logits (J, B, K) and labels (B,), a scalar."""
        own = specialisation(z + self.own_prior, y, self.sets, self.clip).sum()
        fused = F.cross_entropy(z.sum(0) + self.prior, y)
        # L_fus = CE(sum_j z_j, y)
        # L = beta L_ind + (1 - beta) L_fus
        return self.beta * own + (1 - self.beta) * fused

    def logits(self, x: Tensor) -> Tensor:
        """z_H + z_M + z_T: the bias of the shared classifier enters once for each branch."""
        return self.branch_logits(x).sum(0)

    @classmethod
    def released_name(cls, name: str, backbone: Backbone) -> str | None:
        """CIFAR has BNH, BNM and BNT beside ``model``; the large sets have ``finalBlock``."""
        part, _, rest = name.partition(".")
        if part in RELEASED_BRANCHES:
            return f"branches.{RELEASED_BRANCHES[part]}.{rest}"
        if part == "finalBlock":  # convolution, BatchNorm
            return f"branches.{'conv' if rest.startswith('0.') else 'norm'}.{rest[2:]}"
        return super().released_name(name.removeprefix("model."), backbone)

    @staticmethod
    def plain_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The network with the ``batch_norm`` branches folded into its classifier.

        At evaluation BatchNorm is a_j h + c_j for each channel and pooling a mean, so that the three branches and
        the sum are one linear map of the pooled features.

        Raises:
            InputError: the branches are convolutions, whose ReLU cannot be folded.
        """
        if "branches.conv.weight" in weights:
            raise InputError("A ResLT with transform='convolution' is not one linear classifier: use 'batch_norm'.")
        plain = Method.plain_weights(weights)
        norms = [n.removesuffix("weight") for n in weights if n.startswith("branches.norms.") and n.endswith("weight")]
        w, b = plain["classifier.weight"], plain["classifier.bias"]
        scale, shift = w.new_zeros(w.shape[1]), w.new_zeros(w.shape[1])
        for norm in norms:
            gamma, beta, mean, variance = (weights[norm + n] for n in ("weight", "bias", "running_mean", "running_var"))
            a = gamma / (variance + nn.BatchNorm2d(1).eps).sqrt()
            scale, shift = scale + a, shift + beta - a * mean
        # sum_j (W (a_j h + c_j) + b) = W diag(sum_j a_j) h + W sum_j c_j + J b
        return plain | {"classifier.weight": w * scale, "classifier.bias": w @ shift + len(norms) * b}


# Released values by imbalance factor. The authors warn that results on CIFAR depend on the environment and ask
# for beta to be tuned a little; so close to 1, a step of 0.002 doubles the weight of the fused loss.
BETA = {
    "cifar10": {100: 0.998, 50: 0.998, 10: 0.96},
    "cifar100": {100: 0.995, 50: 0.99, 10: 0.72},
}

# On the large sets; where the tables below say nothing else, the values of ResNeXt-50 on ImageNet-LT.
CONVOLUTION: dict[str, object] = {
    "transform": "convolution",
    "pool_first": "evaluation",
    "evaluation": "tau_normalized",
    "groups": "paper",
    "beta": 0.99,
    "gamma": 0.7,
}
WARM_COSINE: dict[str, object] = {"schedule": "cosine_warmup"}
IMAGENET_LT: dict[str, dict[str, object]] = {
    "resnet10": WARM_COSINE | {"backbone": "resnet10", "gamma": 0.3, "pool_first": "always"},
    "resnext50": WARM_COSINE | {"backbone": "resnext50"},
    "resnext101": WARM_COSINE | {"backbone": "resnext101", "batch_size": 128, "lr": 0.05},
}
# gamma is that of training, whose best epoch the paper reports; the separate evaluation script sets 0. No jitter here.
INATURALIST2018: dict[str, object] = {"beta": 0.85, "gamma": 0.3, "augmentation": "resized_crop_flip"}
