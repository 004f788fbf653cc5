"""Networks by name."""

from __future__ import annotations

from functools import partial

from torch import nn

from ltlib.errors import check_choice
from ltlib.models.large import LargeResNet, OneMoreBlock
from ltlib.models.resnet import CifarResNet, Network
from ltlib.models.wide_resnet import PreActResNet18, ResNet18, WideResNet

BACKBONES = {
    # depth = 6 * blocks + 2. ResNet-32 is the network of all CIFAR-LT tables.
    **{f"resnet{6 * blocks + 2}": partial(CifarResNet, blocks) for blocks in (1, 2, 3, 5, 7, 9)},
    "resnet18": partial(ResNet18, (1, 2, 2, 2)),
    "resnet18_lbgat": partial(ResNet18, (1, 1, 2, 2)),
    "preact_resnet18": PreActResNet18,
    # depth = 6 * blocks + 4. WRN-34-10 is the network of the adversarial tables; the small ones are for lessons.
    **{f"wrn{6 * n + 4}_{width}": partial(WideResNet, n, width) for n, width in ((1, 2), (2, 2), (5, 10))},
    # The networks of ImageNet-LT, iNaturalist 2018 and Places-LT. The ResNeXts are 32x4d, as in the papers.
    "resnet10": partial(LargeResNet, "BasicBlock", (1, 1, 1, 1)),
    "resnet50": partial(LargeResNet, "Bottleneck", (3, 4, 6, 3)),
    "resnet101": partial(LargeResNet, "Bottleneck", (3, 4, 23, 3)),
    "resnet152": partial(LargeResNet, "Bottleneck", (3, 8, 36, 3)),
    "resnext50": partial(LargeResNet, "Bottleneck", (3, 4, 6, 3), groups=32, width_per_group=4),
    "resnext101": partial(LargeResNet, "Bottleneck", (3, 4, 23, 3), groups=32, width_per_group=4),
}


def make(name: str, num_classes: int, mean: tuple[float, ...], std: tuple[float, ...], frozen: bool = False) -> Network:
    """The network called ``name``: normalisation, backbone and linear classifier.

    With ``frozen`` the backbone never changes, and one more block on it learns: see
    :class:`~ltlib.models.large.OneMoreBlock`.

    Raises:
        InputError: the name is unknown.
    """
    check_choice("backbone", name, BACKBONES)
    backbone = BACKBONES[name]()
    if frozen:
        backbone = OneMoreBlock(backbone)
    return Network(mean, std, backbone, nn.Linear(backbone.features, num_classes))
