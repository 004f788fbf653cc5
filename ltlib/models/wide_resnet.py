"""The networks of the adversarial papers on small images: ResNet-18, PreActResNet-18 and Wide ResNet (WRN-34-10)."""

from __future__ import annotations

import re

import torch.nn.functional as F
from torch import Tensor, nn

from ltlib.models.backbone import Backbone


def _conv(channels_in: int, channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels, kernel, stride, padding=kernel // 2, bias=False)


class PreActivation(nn.Module):
    """BatchNorm and ReLU before each of two convolutions (He et al. 2016b, arXiv 1603.05027)."""

    folds = (("conv1", "bn2"),)  # see ltlib.models.folded; bn1 reads a sum

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(channels_in), _conv(channels_in, channels, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(channels), _conv(channels, channels, 3)
        self.shortcut = _conv(channels_in, channels, 1, stride) if channels_in != channels else None

    def forward(self, x: Tensor) -> Tensor:
        z = F.relu(self.bn1(x), inplace=True)
        past = self.shortcut(z) if self.shortcut else x
        z = self.conv1(z)
        return self.conv2(F.relu(self.bn2(z), inplace=True)) + past


class WideResNet(Backbone):
    """WRN-depth-width (Zagoruyko and Komodakis 2016, arXiv 1605.07146), as in the code of TRADES.

    Args:
        blocks: of each of the three stages; depth = 6 * blocks + 4.
        width: factor of the channels 16, 32, 64.
    """

    init = "wide"

    def __init__(self, blocks: int, width: int):
        super().__init__()
        channels = [16, 16 * width, 32 * width, 64 * width]
        self.blocks, self.features = blocks, channels[-1]
        self.stem = _conv(3, 16, 3)
        self.stages = nn.Sequential(
            *(
                PreActivation(channels[s] if b == 0 else channels[s + 1], channels[s + 1], 2 if s and b == 0 else 1)
                for s in range(3)
                for b in range(blocks)
            )
        )
        self.norm = nn.BatchNorm2d(self.features)

    def maps(self, x: Tensor) -> Tensor:
        """Feature maps before pooling, (B, 64 width, H/4, W/4)."""
        return F.relu(self.norm(self.stages(self.stem(x))), inplace=True)

    def released_name(self, name: str) -> str | None:
        """Our name of a tensor of TRADES and LBGAT: ``block2.layer.0.convShortcut.weight`` and the like.

        None for ``sub_block1``, a copy of the first block that their network has and never uses.
        """
        if name.startswith("sub_block1."):
            return None
        if block := re.fullmatch(r"block(\d)\.layer\.(\d+)\.(.+)", name):
            number = (int(block[1]) - 1) * self.blocks + int(block[2])
            return f"stages.{number}.{block[3].replace('convShortcut', 'shortcut')}"
        return name.replace("conv1.", "stem.").replace("bn1.", "norm.")


class PreActResNet18(Backbone):
    """PreActResNet-18 with a 3x3 stem and a last BatchNorm, as in the code of Rice et al. 2020 (arXiv 2002.11569).

    Many robust networks on small images are of this shape. It costs a twelfth of WRN-34-10.
    """

    features = 512
    init = "pytorch"

    def __init__(self):
        super().__init__()
        channels = (64, 64, 128, 256, 512)
        self.stem = _conv(3, 64, 3)
        self.stages = nn.Sequential(
            *(
                PreActivation(channels[s] if b == 0 else channels[s + 1], channels[s + 1], 2 if s and b == 0 else 1)
                for s in range(4)
                for b in range(2)
            )
        )
        self.norm = nn.BatchNorm2d(self.features)

    def maps(self, x: Tensor) -> Tensor:
        """Feature maps before pooling, (B, 512, H/8, W/8)."""
        return F.relu(self.norm(self.stages(self.stem(x))))


class Basic(nn.Module):
    """Two 3x3 convolutions and a shortcut, a 1x1 convolution where the shape changes."""

    folds = (("conv1", "bn1"), ("conv2", "bn2"))  # see ltlib.models.folded

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = _conv(channels_in, channels, 3, stride), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = _conv(channels, channels, 3), nn.BatchNorm2d(channels)
        self.shortcut = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(_conv(channels_in, channels, 1, stride), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        z = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(z)) + self.shortcut(x), inplace=True)


class ResNet18(Backbone):
    """ResNet-18 with a 3x3 stem, for 32x32 images; or ResNet-34, with other numbers of blocks.

    Args:
        strides: of the four stages. (1, 2, 2, 2) is usual. LBGAT's natural network has (1, 1, 2, 2): as many
            parameters, about three times the work.
        blocks: of the four stages; (3, 4, 6, 3) is ResNet-34.
    """

    features = 512
    init = "pytorch"

    def __init__(self, strides: tuple[int, int, int, int], blocks: tuple[int, int, int, int] = (2, 2, 2, 2)):
        super().__init__()
        self.blocks = blocks
        self.stem = nn.Sequential(_conv(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU(inplace=True))
        channels = (64, 64, 128, 256, 512)
        self.stages = nn.Sequential(
            *(
                Basic(channels[s] if b == 0 else channels[s + 1], channels[s + 1], strides[s] if b == 0 else 1)
                for s in range(4)
                for b in range(blocks[s])
            )
        )

    def maps(self, x: Tensor) -> Tensor:
        """Feature maps before pooling, (B, 512, h, w)."""
        return self.stages(self.stem(x))

    def released_name(self, name: str) -> str:
        """Our name of a tensor of the ResNet-18 of LBGAT and AT-BSL: ``layer2.0.shortcut.0.weight`` and the like."""
        if block := re.fullmatch(r"layer(\d)\.(\d)\.(.+)", name):
            return f"stages.{sum(self.blocks[: int(block[1]) - 1]) + int(block[2])}.{block[3]}"
        return name.replace("conv1.", "stem.0.").replace("bn1.", "stem.1.")
