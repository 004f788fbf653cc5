"""Networks by name."""

from __future__ import annotations

from torch import nn

from ltlib.errors import check_choice
from ltlib.models.resnet import CifarResNet, Network

# name: blocks a stage; depth = 6 * blocks + 2. ResNet-32 is the network of all CIFAR-LT tables.
BACKBONES = {"resnet8": 1, "resnet14": 2, "resnet20": 3, "resnet32": 5, "resnet44": 7, "resnet56": 9}


def make(name: str, num_classes: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Network:
    """The network called ``name``: normalisation, backbone and linear classifier.

    Raises:
        InputError: the name is unknown.
    """
    check_choice("backbone", name, BACKBONES)
    backbone = CifarResNet(BACKBONES[name])
    return Network(mean, std, backbone, nn.Linear(backbone.features, num_classes))
