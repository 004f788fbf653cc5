"""Nearest class mean: an image belongs to the class whose mean feature is nearest (Mensink et al. 2013, TPAMI 35(11)).

Kang et al. 2020 (arXiv 1910.09217, section 4) use it on long tails: the representation is trained by cross-entropy, and
nothing of the classifier is trained. On frozen features nothing is trained at all.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltlib.data.loader import Batch
from ltlib.methods.method import Method, Passes, Stage, check_positive
from ltlib.models import Network


class NearestClassMean(Method):
    """The cosine to the mean feature of each class, with no weight for how many images the mean was taken of.

    The images are then seen once more, without learning, which gives the loss of the means.

    Symbols:
        - m_k: mean feature of class k.
        - s: the setting ``scale``.

    Args:
        scale: of the cosines, above 0. It changes the confidence and not the predicted class; 25 is LIFT's.

    Raises:
        InputError: the scale is not above 0.
    """

    label = "nearest class mean"

    def __init__(self, network: Network, counts: Tensor, *, scale: float = 25.0):
        super().__init__(network, counts)
        check_positive("scale", scale)
        self.scale = scale
        self.means = nn.Parameter(network.classifier.weight.detach().clone())
        self.uses_means = True  # but while the representation is trained

    def stages(self, epochs: int, schedule: str) -> tuple[Stage, ...]:
        means = Stage("means", 1, "instance_balanced", "constant")
        learns = any(True for _ in self.network.backbone.parameters())
        return (Stage("representation", epochs, "instance_balanced", schedule), means) if learns else (means,)

    def begin(self, stage: Stage) -> None:
        self.uses_means = stage.name == "means"
        self.network.requires_grad_(not self.uses_means)
        self.means.requires_grad_(self.uses_means)

    def train(self, mode: bool = True) -> NearestClassMean:
        """As ``nn.Module.train``, but BatchNorm does not move when the means are measured."""
        super().train(mode)
        if self.uses_means:
            self.network.backbone.eval()
        return self

    def wants_means(self, stage: Stage) -> bool:
        return stage.name == "means"

    def take_means(self, means: Tensor) -> None:
        # m_k = 1/n_k sum_{y = k} f(x)
        with torch.no_grad():
            self.means.copy_(means)

    def param_groups(self, stage: Stage) -> list[dict]:
        if stage.name == "means":
            return [{"params": [self.means], "lr_factor": 0.0}]
        return [{"params": list(self.network.parameters())}]

    def passes(self, stage: Stage) -> dict[str, Passes]:
        return {"network": Passes(forward=1)} if stage.name == "means" else super().passes(stage)

    def loss(self, batch: Batch) -> Tensor:
        if not self.uses_means:
            return F.cross_entropy(self.network(batch.x).float(), batch.y)
        with torch.no_grad():
            features = self.network.features(batch.x)
        return F.cross_entropy(self.nearness(features).float(), batch.y)

    def nearness(self, features: Tensor) -> Tensor:
        """z_k = s cos(f, m_k), features (B, D) -> logits (B, K)."""
        return self.scale * F.linear(F.normalize(features), F.normalize(self.means))

    def logits(self, x: Tensor) -> Tensor:
        return self.nearness(self.network.features(x)) if self.uses_means else self.network(x)
