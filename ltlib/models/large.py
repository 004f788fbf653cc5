"""The networks of the large data sets: torchvision's ResNets and ResNeXts, taken apart as the methods need them.

torchvision builds every layer. It takes a second to import, so it is imported where such a network is made.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from ltlib.errors import InputError
from ltlib.models.backbone import Backbone


class LargeResNet(Backbone):
    """A ResNet of torchvision without its pooling and classifier, for images of about 224x224.

    ``forward`` maps normalised images (B, 3, H, W) to features (B, D), the mean of ``maps`` over the pixels.

    Args:
        block: ``BasicBlock`` (D = 512) or ``Bottleneck`` (D = 2048), a class of ``torchvision.models.resnet``.
        blocks: of each of the four stages.
        groups, width_per_group: of a ResNeXt; the defaults are a ResNet.
    """

    init = "torchvision"

    def __init__(self, block: str, blocks: tuple[int, int, int, int], *, groups: int = 1, width_per_group: int = 64):
        super().__init__()
        from torchvision.models import resnet

        network = resnet.ResNet(getattr(resnet, block), list(blocks), groups=groups, width_per_group=width_per_group)
        self.features = network.fc.in_features
        parts = OrderedDict(network.named_children())
        # The mean does the pooling: adaptive pooling has no deterministic backward pass on a GPU.
        del parts["avgpool"], parts["fc"]
        self.layers = nn.Sequential(parts)

    def maps(self, x: Tensor) -> Tensor:
        """Feature maps before pooling, (B, D, H/32, W/32)."""
        return self.layers(x)

    def released_name(self, name: str) -> str:
        """Our name of a tensor of the ResNets of MiSLAS, ResLT and Kang et al., which are named as torchvision's."""
        return f"layers.{name}"


class NewLastBlock(Backbone):
    """A frozen backbone whose last block starts from scratch and learns: how MiSLAS trains on Places-LT.

    ResNet-152 has blocks (3, 8, 36, 3). The first 49 of these 50 keep their ImageNet weights and stay in evaluation
    mode, whatever a method asks of the whole. The last one, 2048 -> 512 -> 2048, is drawn as PyTorch draws it.

    Args:
        backbone: taken apart here.

    Raises:
        InputError: the backbone is not one of the networks for large images.
    """

    init = "torchvision"

    def __init__(self, backbone: Backbone):
        super().__init__()
        if not isinstance(backbone, LargeResNet):
            raise InputError("frozen=true needs a ResNet or ResNeXt for large images, such as backbone=resnet152.")
        self.features = backbone.features
        *kept, self.block = backbone.layers.get_submodule("layer4").children()
        self.replaced = f"layer4.{len(kept)}."  #: names of the pretrained weights that are not used
        backbone.layers.layer4 = nn.Sequential(*kept)
        for module in self.block.modules():
            if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
                module.reset_parameters()
        self.frozen = backbone.eval().requires_grad_(False)

    def maps(self, x: Tensor) -> Tensor:
        """Feature maps before pooling, (B, D, H/32, W/32)."""
        return self.block(self.frozen.maps(x))

    def released_name(self, name: str) -> str:
        """Our name of a tensor of MiSLAS on Places-LT, which keeps the new block apart, or of a whole ResNet."""
        if name.startswith(self.replaced):  # cRT and LWS of Kang et al. store the block in its place
            return f"block.{name.removeprefix(self.replaced)}"
        return name if name.startswith("block.") else f"frozen.{self.frozen.released_name(name)}"

    def train(self, mode: bool = True) -> NewLastBlock:
        """As ``nn.Module.train``, for the new block only."""
        super().train(mode)
        self.frozen.eval()
        return self

    def requires_grad_(self, requires_grad: bool = True) -> NewLastBlock:
        """As ``nn.Module.requires_grad_``, for the new block only."""
        self.block.requires_grad_(requires_grad)
        return self
