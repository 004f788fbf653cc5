"""What every backbone has in common."""

from __future__ import annotations

from torch import Tensor, nn

from ltlib.errors import InputError


class Backbone(nn.Module):
    """Normalised images (B, 3, H, W) -> features (B, D), the mean of the feature maps over the pixels.

    Attributes:
        features: D.
        init: how its weights are drawn, a key of ``ltlib.models.initial.INITS``.
    """

    features: int
    init: str

    def maps(self, x: Tensor) -> Tensor:
        """Feature maps before pooling, (B, D, h, w)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        # The mean, rather than adaptive pooling, whose backward pass is not deterministic on a GPU.
        return self.maps(x).mean((2, 3))

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
