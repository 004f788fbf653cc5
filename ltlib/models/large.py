"""The networks of the large data sets: torchvision's ResNets and ResNeXts, taken apart as the house needs them.

torchvision builds every layer. It takes a second to import, so it is imported where such a network is made.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn


class LargeResNet(nn.Module):
    """A ResNet of torchvision without its pooling and classifier, for images of about 224x224.

    ``forward`` maps normalised images (B, 3, H, W) to features (B, D), the mean of ``maps`` over the pixels.

    Args:
        block: ``BasicBlock`` (D = 512) or ``Bottleneck`` (D = 2048), a class of ``torchvision.models.resnet``.
        blocks: of each of the four stages.
        shape: ``groups`` and ``width_per_group`` of a ResNeXt.
    """

    init_mode = None  # torchvision draws the weights as the papers' code does

    def __init__(self, block: str, blocks: tuple[int, int, int, int], **shape: int):
        super().__init__()
        from torchvision.models import resnet

        network = resnet.ResNet(getattr(resnet, block), list(blocks), **shape)
        self.features = network.fc.in_features
        parts = OrderedDict(network.named_children())
        # The mean does the pooling: adaptive pooling has no deterministic backward pass on a GPU.
        del parts["avgpool"], parts["fc"]
        self.layers = nn.Sequential(parts)

    def maps(self, x: Tensor) -> Tensor:
        """Feature maps before pooling, (B, D, H/32, W/32)."""
        return self.layers(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.maps(x).mean((2, 3))


class OneMoreBlock(nn.Module):
    """A frozen backbone and one bottleneck block D -> D/4 -> D on its maps, which learns: how Places-LT is trained.

    The backbone keeps its weights and stays in evaluation mode, whatever a method asks of the whole.

    Args:
        frozen: a backbone with ``maps``.
    """

    init_mode = None

    def __init__(self, frozen: nn.Module):
        super().__init__()
        from torchvision.models.resnet import Bottleneck

        self.features = frozen.features
        self.frozen = frozen.eval().requires_grad_(False)
        self.block = Bottleneck(self.features, self.features // Bottleneck.expansion)

    def maps(self, x: Tensor) -> Tensor:
        """Feature maps before pooling, shaped as those of the frozen backbone."""
        return self.block(self.frozen.maps(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.maps(x).mean((2, 3))

    def train(self, mode: bool = True) -> OneMoreBlock:
        """As ``nn.Module.train``, for the block alone."""
        super().train(mode)
        self.frozen.eval()
        return self

    def requires_grad_(self, requires_grad: bool = True) -> OneMoreBlock:
        """As ``nn.Module.requires_grad_``, for the block alone."""
        self.block.requires_grad_(requires_grad)
        return self
