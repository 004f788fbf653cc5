"""Networks by name."""

from __future__ import annotations

from functools import partial

from torch import nn

from ltlib.errors import check_choice
from ltlib.models.resnet import CifarResNet, Network
from ltlib.models.wide_resnet import ResNet18, WideResNet

BACKBONES = {
    # depth = 6 * blocks + 2. ResNet-32 is the network of all CIFAR-LT tables.
    **{f"resnet{6 * blocks + 2}": partial(CifarResNet, blocks) for blocks in (1, 2, 3, 5, 7, 9)},
    "resnet18": partial(ResNet18, (1, 2, 2, 2)),
    "resnet18_lbgat": partial(ResNet18, (1, 1, 2, 2)),
    # depth = 6 * blocks + 4. WRN-34-10 is the network of the adversarial tables; the small ones are for lessons.
    **{f"wrn{6 * n + 4}_{width}": partial(WideResNet, n, width) for n, width in ((1, 2), (2, 2), (5, 10))},
}


def make(name: str, num_classes: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Network:
    """The network called ``name``: normalisation, backbone and linear classifier.

    Raises:
        InputError: the name is unknown.
    """
    check_choice("backbone", name, BACKBONES)
    backbone = BACKBONES[name]()
    return Network(mean, std, backbone, nn.Linear(backbone.features, num_classes))
