"""Networks by name."""

from __future__ import annotations

from functools import partial

from torch import nn

from ltlib.errors import check_choice
from ltlib.models.backbone import TRAINABLE, Backbone, Features
from ltlib.models.efficientnet_lite import EfficientNetLite0
from ltlib.models.initial import CLASSIFIER_INITS, INITS
from ltlib.models.large import LargeResNet, NewLastBlock
from ltlib.models.resnet import CifarResNet, Network
from ltlib.models.wide_resnet import PreActResNet18, ResNet18, WideResNet

BACKBONES = {
    # depth = 6 * blocks + 2. ResNet-32 is the network of all CIFAR-LT tables.
    **{f"resnet{6 * blocks + 2}": partial(CifarResNet, blocks) for blocks in (1, 2, 3, 5, 7, 9)},
    "resnet18": partial(ResNet18, (1, 2, 2, 2)),
    "resnet18_lbgat": partial(ResNet18, (1, 1, 2, 2)),
    "preact_resnet18": PreActResNet18,
    "resnet34": partial(ResNet18, (1, 2, 2, 2), (3, 4, 6, 3)),  # of weight balancing and label over-smoothing
    # depth = 6 * blocks + 4. WRN-34-10 is the network of the adversarial tables, some of which have WRN-34-20 or
    # WRN-28-10 too. The small ones are for lessons.
    **{f"wrn{6 * n + 4}_{w}": partial(WideResNet, n, w) for n, w in ((1, 2), (2, 2), (4, 10), (5, 10), (5, 20))},
    # The networks of ImageNet-LT, iNaturalist 2018 and Places-LT. The ResNeXts are 32x4d, as in the papers.
    "resnet10": partial(LargeResNet, "BasicBlock", (1, 1, 1, 1)),
    "resnet50": partial(LargeResNet, "Bottleneck", (3, 4, 6, 3)),
    "resnet101": partial(LargeResNet, "Bottleneck", (3, 4, 23, 3)),
    "resnet152": partial(LargeResNet, "Bottleneck", (3, 8, 36, 3)),
    "resnext50": partial(LargeResNet, "Bottleneck", (3, 4, 6, 3), groups=32, width_per_group=4),
    "resnext101": partial(LargeResNet, "Bottleneck", (3, 4, 23, 3), groups=32, width_per_group=4),
    "efficientnet_lite0": EfficientNetLite0,  # a pretrained network that a CPU can fine-tune
}


FEATURES = "features"  # of frozen features, which are no images: nothing learns but the classifier


def make(
    name: str,
    num_classes: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    frozen: bool = False,
    classifier_init: str = "backbone",
    trainable: str = "everything",
    side: int = 0,
) -> Network:
    """The network called ``name``: normalisation, backbone and linear classifier, with the weights it starts from.

    Args:
        name: a key of ``BACKBONES``, or ``FEATURES`` for features of another network.
        num_classes: K.
        mean, std: per channel, subtracted and divided by inside the network. Features have D channels. A backbone with
            ``statistics`` of its own takes those.
        frozen: the backbone never changes except for its last block, which starts from scratch: see
            :class:`~ltlib.models.large.NewLastBlock`.
        classifier_init: ``backbone`` starts the classifier as the papers with this backbone do, ``pytorch`` as
            PyTorch does; see :mod:`ltlib.models.initial`.
        trainable: what of the backbone learns, see :class:`~ltlib.models.backbone.Backbone`.
        side: in pixels, to which the network resizes its images; 0 leaves them.

    Raises:
        InputError: a name is unknown, or only networks for large images can be ``frozen``.
    """
    check_choice("backbone", name, (*BACKBONES, FEATURES))
    check_choice("classifier_init", classifier_init, CLASSIFIER_INITS)
    check_choice("trainable", trainable, TRAINABLE)
    backbone: Backbone = Features(len(mean)) if name == FEATURES else BACKBONES[name]()
    if frozen:
        backbone = NewLastBlock(backbone)
    mean, std = backbone.statistics or (mean, std)
    network = Network(mean, std, backbone, nn.Linear(backbone.features, num_classes), side)
    INITS[backbone.init](network if classifier_init == "backbone" else backbone)
    if trainable != "everything":
        backbone.trainable = trainable
        backbone.requires_grad_()
    return network
