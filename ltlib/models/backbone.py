"""What every backbone has in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor, nn

from ltlib.errors import InputError

# what learns of a pretrained backbone
TRAINABLE = ("everything", "weights", "norm", "classifier")
NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


class Backbone(nn.Module):
    """Normalised images (B, 3, H, W) -> features (B, D), the mean of the feature maps over the pixels.

    Attributes:
        features: D.
        init: how its weights are drawn, a key of ``ltlib.models.initial.INITS``.
        trainable: what learns, one of ``TRAINABLE``. ``everything`` is all weights and the statistics of BatchNorm. The
            others keep these statistics: ``weights`` trains all weights, ``norm`` only scales and shifts of the
            normalisation layers, and ``classifier`` nothing of the backbone.
        statistics: mean and deviation per channel of its own training, in [0, 1]; None takes those of the data.
    """

    features: int
    init: str
    trainable: str = "everything"
    statistics: ClassVar[tuple[tuple[float, ...], tuple[float, ...]] | None] = None

    def maps(self, x: Tensor) -> Tensor:
        """Feature maps before pooling, (B, D, h, w)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        # The mean, rather than adaptive pooling, whose backward pass is not deterministic on a GPU.
        return self.maps(x).mean((2, 3))

    def train(self, mode: bool = True) -> Backbone:
        """As ``nn.Module.train``. The statistics of BatchNorm stay where ``trainable`` says so."""
        super().train(mode)
        if self.trainable != "everything":
            for layer in self._norms():
                layer.eval()
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Backbone:
        """As ``nn.Module.requires_grad_``, for what ``trainable`` says."""
        super().requires_grad_(requires_grad and self.trainable in ("everything", "weights"))
        if self.trainable == "norm":
            for layer in self._norms():
                layer.requires_grad_(requires_grad)
        return self

    def _norms(self) -> Iterator[nn.Module]:
        return (layer for layer in self.modules() if isinstance(layer, NORMS))

    def released_name(self, name: str) -> str | None:
        """Our name of a tensor in a checkpoint that authors released; None for one that is not used.

        Raises:
            InputError: no released checkpoint has this backbone.
        """
        raise InputError(f"No released checkpoint has the backbone {type(self).__name__}: choose another one.")


class Features(Backbone):
    """The backbone of features that another network has computed: (B, D, 1, 1) -> (B, D). It has no weights.

    Args:
        number: D.
    """

    init = "pytorch"

    def __init__(self, number: int):
        super().__init__()
        self.features = number

    def maps(self, x: Tensor) -> Tensor:
        """The features as they are, (B, D, 1, 1)."""
        return x
