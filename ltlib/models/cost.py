"""What a network costs: parameters and floating-point operations, counted on shapes alone.

Nothing is computed and no memory used: the tensors live on torch's meta device. A multiply-add counts as two
operations, and only convolutions and matrix products count, which are all but a per cent of the work.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from ltlib import models


class Cost(NamedTuple):
    """Of one network at one image size."""

    parameters: int  #: all of them, the classifier's too
    trained: int  #: those that learn; fewer than all where the backbone is frozen
    forward: int  #: floating-point operations of one image, forward
    training: int  #: the same, forward and backward, as one training image costs with one loss


def cost(
    backbone: str,
    num_classes: int,
    image_size: int,
    frozen: bool = False,
    channels: int = 3,
    trainable: str = "everything",
) -> Cost:
    """The cost of a network with a linear classifier on images of ``image_size`` x ``image_size`` pixels.

    Args:
        backbone: a key of ``ltlib.models.BACKBONES``.
        num_classes: K.
        image_size: side in pixels.
        frozen, trainable: as in :func:`ltlib.models.make`.
        channels: of an image; features of a frozen network have D.

    Raises:
        InputError: the backbone is unknown.
    """
    images = 2  # BatchNorm has no variance of one value
    with torch.device("meta"):
        network = models.make(backbone, num_classes, (0.0,) * channels, (1.0,) * channels, frozen, trainable=trainable)
        x = torch.empty(images, channels, image_size, image_size)
        with _counter() as forward:
            z = network(x)
        with _counter() as backward:
            z.sum().backward()
    return Cost(
        parameters=sum(p.numel() for p in network.parameters()),
        trained=sum(p.numel() for p in network.parameters() if p.requires_grad),
        forward=forward.get_total_flops() // images,
        training=(forward.get_total_flops() + backward.get_total_flops()) // images,
    )


def _counter() -> FlopCounterMode:
    return FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: _convolution_backward})


def _convolution_backward(
    gradient, x, weight, _bias, _stride, _padding, _dilation, transposed, _output_padding, _groups, wanted, **_unused
) -> int:
    """Each wanted gradient, of the input and of the weights, costs what the forward pass costs.

    torch's own count multiplies that of the weights by the number of groups, 32 in a ResNeXt. The arguments are many
    because they are those of torch's operator.
    """
    return (wanted[0] + wanted[1]) * conv_flop_count(x, weight, gradient, transposed)
