"""How networks start: each family of networks as the code of its papers draws its weights.

A backbone names its start in the attribute ``init``. One paper departs from its backbone's start: ResLT leaves the
classifier of the CIFAR ResNets as PyTorch draws it, which its method says (``Method.classifier_init``).

===============  ==========================================  =======================================================
``init``         convolutions                                classifier
===============  ==========================================  =======================================================
``kaiming``      N(0, 2 / fan_in)                            N(0, 2 / fan_in): the code of LDAM, and MiSLAS after it
``wide``         N(0, 2 / fan_out)                           PyTorch's weights, no bias: the code of TRADES and LBGAT
``pytorch``      U(-a, a), a = 1 / sqrt(fan_in)              PyTorch's: ResNet-18 of LBGAT and AT-BSL
``torchvision``  N(0, 2 / fan_out), drawn by torchvision     PyTorch's: MiSLAS and ResLT on the large sets
===============  ==========================================  =======================================================

PyTorch's classifier is U(-a, a) with a = 1 / sqrt(fan_in), weights and bias alike.
"""

from __future__ import annotations

from torch import nn

CLASSIFIER_INITS = ("backbone", "pytorch")


def kaiming(network: nn.Module) -> None:
    """Every convolution and linear layer from N(0, 2 / fan_in)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)


def wide(network: nn.Module) -> None:
    """Every convolution from N(0, 2 / fan_out); linear layers keep PyTorch's weights and lose their bias."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


def unchanged(network: nn.Module) -> None:
    """The layers stay as they were made."""


INITS = {"kaiming": kaiming, "wide": wide, "pytorch": unchanged, "torchvision": unchanged}
