"""ImageNet weights of torchvision, downloaded once into torch's own cache (``TORCH_HOME``).

The weights are the first ones of torchvision (IMAGENET1K_V1), from which MiSLAS trains on Places-LT. OLTR, who made
that data set, and others after them start from Caffe's ResNet-152: another training of the same architecture.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import Tensor

from ltlib.errors import InputError
from ltlib.models.efficientnet_lite import EfficientNetLite0, imagenet_network
from ltlib.models.large import LargeResNet, NewLastBlock
from ltlib.models.resnet import Network

# backbone: its entry in torchvision.models. ResNet-10 and ResNeXt-101 32x4d have no weights there.
PRETRAINED = {
    "resnet50": "ResNet50_Weights",
    "resnet101": "ResNet101_Weights",
    "resnet152": "ResNet152_Weights",
    "resnext50": "ResNeXt50_32X4D_Weights",
}
LITE = "efficientnet_lite0"  # its weights come as a Python package


def load_pretrained(network: Network, name: str) -> None:
    """Give the backbone of ``network`` ImageNet weights, all but their classifier.

    Args:
        network: made of the backbone ``name``. Where that is frozen, its new last block gets no weights.
        name: a key of ``PRETRAINED``, or ``LITE``.

    Raises:
        InputError: there are no such weights, there is no network to download from, or the file is damaged.
    """
    backbone, left_out = network.backbone, ("fc.",)
    if isinstance(backbone, EfficientNetLite0):
        backbone.load_state_dict(imagenet_network().backbone.state_dict())
        return
    if isinstance(backbone, NewLastBlock):
        backbone, left_out = backbone.frozen, ("fc.", backbone.replaced)
    if not isinstance(backbone, LargeResNet):
        raise InputError(f"There are no ImageNet weights for {name}: choose one of {', '.join((*PRETRAINED, LITE))}.")
    weights = {key: tensor for key, tensor in read(address(name)).items() if not key.startswith(left_out)}
    backbone.layers.load_state_dict(weights)


def address(name: str) -> str:
    """Where torchvision keeps the weights; the file name ends in the first digits of its SHA-256."""
    from torchvision import models as tv

    return getattr(tv, PRETRAINED[name]).IMAGENET1K_V1.url


def read(url: str) -> dict[str, Tensor]:
    """The weights at ``url``, from torch's cache or else downloaded into it, checked against the hash in their name.

    Raises:
        InputError: they cannot be downloaded, or the file in the cache is damaged.
    """
    file = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(url).path).name)
    expected = file.stem.rpartition("-")[2]
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(file), hash_prefix=expected)
        with file.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"The ImageNet weights {url} could not be downloaded ({error}): connect to the network, put the file at "
            f"{file} yourself, or start without them (pretrained=false, frozen=false)."
        ) from error
    if not found.startswith(expected):
        raise InputError(
            f"The ImageNet weights in {file} are damaged (their SHA-256 does not begin with {expected}): delete the "
            f"file and start again, which downloads it."
        )
    return torch.load(file, map_location="cpu", weights_only=True)
