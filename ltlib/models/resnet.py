"""The CIFAR ResNets of the long-tail papers (He et al. 2016, section 4.2), with the shortcut they call option A."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltlib.models.backbone import Backbone


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters."""

    folds = (("conv1", "bn1"), ("conv2", "bn2"))  # see ltlib.models.folded

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.widen = stride, (channels - channels_in) // 2

    def forward(self, x: Tensor) -> Tensor:
        # In place where the old values are not needed again: less memory to walk through.
        z = F.relu(self.bn1(self.conv1(x)), inplace=True)
        z = self.bn2(self.conv2(z))
        return F.relu(z + self.shortcut(x), inplace=True)

    def shortcut(self, x: Tensor) -> Tensor:
        """Option A: every second pixel, and zeros for the new channels, half on each side."""
        if self.stride == 1:
            return x
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.widen, self.widen))


class CifarResNet(Backbone):
    """3x3 stem with 16 channels, then three stages of ``blocks`` blocks with 16, 32 and 64 channels.

    ``forward`` maps normalised images (B, 3, H, W) to features (B, 64), the mean of ``maps`` over the pixels.
    """

    init = "kaiming"

    def __init__(self, blocks: int):
        super().__init__()
        self.blocks = blocks
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.stage1 = _stage(16, 16, blocks, stride=1)
        self.widen(1.0)

    def later(self, width: float = 1.0) -> nn.Sequential:
        """New second and third stages, with ``width`` times the usual channels; each expert of RIDE has its own."""
        middle, last = round(32 * width), round(64 * width)
        return nn.Sequential(_stage(16, middle, self.blocks, stride=2), _stage(middle, last, self.blocks, stride=2))

    def widen(self, width: float) -> None:
        """Replace the second and third stages with new ones of another width."""
        self.stage2, self.stage3 = self.later(width)
        self.features = round(64 * width)

    def maps(self, x: Tensor) -> Tensor:
        """Feature maps before pooling, (B, 64, H/4, W/4)."""
        return self.stage3(self.stage2(self.stage1(self.stem(x))))

    def released_name(self, name: str) -> str:
        """Our name of a tensor of the ResNet-32 of MiSLAS and ResLT: ``layer1.0.conv1.weight`` and the like."""
        for theirs, ours in (("conv1.", "stem.0."), ("bn1.", "stem.1."), ("layer", "stage")):
            if name.startswith(theirs):
                return ours + name.removeprefix(theirs)
        return name


def _stage(channels_in: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = Block(channels_in, channels, stride)
    return nn.Sequential(first, *(Block(channels, channels, 1) for _ in range(blocks - 1)))


class Normalize(nn.Module):
    """(x - mean) / std per channel, inside the model, so that everything outside sees images in [0, 1].

    Args:
        mean, std: per channel.
        side: in pixels, to which images are resized before (bicubic); 0 leaves them as they are.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], side: int = 0):
        super().__init__()
        self.side = side
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return ((resized(x, self.side) if self.side else x) - self.mean) / self.std


def resized(x: Tensor, side: int) -> Tensor:
    """Images in [0, 1] (B, C, H, W) as images in [0, 1] (B, C, side, side), bicubic."""
    return F.interpolate(x, (side, side), mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)


class Network(nn.Module):
    """Images in [0, 1] (B, 3, H, W) -> logits (B, K), in three named parts that methods may take apart."""

    def __init__(
        self,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        backbone: Backbone,
        classifier: nn.Linear,
        side: int = 0,
    ):
        super().__init__()
        self.normalize = Normalize(mean, std, side)
        self.backbone = backbone
        self.classifier = classifier

    def maps(self, x: Tensor) -> Tensor:
        """Feature maps before pooling, (B, D, h, w)."""
        return self.backbone.maps(self.normalize(x))

    def features(self, x: Tensor) -> Tensor:
        """Features before the classifier, (B, D)."""
        return self.backbone(self.normalize(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))

    def requires_grad_(self, requires_grad: bool = True) -> Network:
        """As ``nn.Module.requires_grad_``, but asks the parts, so that a frozen backbone stays frozen."""
        for part in self.children():
            part.requires_grad_(requires_grad)
        return self
