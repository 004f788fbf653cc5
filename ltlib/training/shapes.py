"""What a training needs, found from shapes only: nothing is computed, on torch's meta device."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ltlib import models
from ltlib.errors import InputError
from ltlib.methods.method import Method, Stage
from ltlib.models import Network

# What CUDA, cuDNN and cuBLAS take by themselves, generously: nothing of it depends on the training.
CONTEXT_BYTES = 1.5 * 2**30


def training_bytes(backbones: list[str], num_classes: int, side: int, batch_size: int) -> int:
    """About how much memory of a GPU a training takes, images apart; meant to be rather too much than too little.

    Weights, gradients, momentum and a copy are four float32 numbers per parameter. The backward pass needs what the
    layers put out, in half precision or float32, of a clean and an attacked image at most.

    Args:
        backbones: keys of ``ltlib.models.BACKBONES``, all that are trained together.
        num_classes: K.
        side: of the images, in pixels.
        batch_size: images per step.
    """
    total = CONTEXT_BYTES
    for name in backbones:
        with torch.device("meta"):
            network = models.make(name, num_classes, (0.0,) * 3, (1.0,) * 3)
            x = torch.empty(2, 3, side, side)
        put_out = _numbers_put_out(network, x) // 2  # for each image
        total += 4 * 4 * sum(p.numel() for p in network.parameters()) + 2 * 4 * put_out * batch_size
    return int(total)


def _numbers_put_out(network: nn.Module, x: Tensor) -> int:
    """Numbers that all layers put out together for a batch."""
    found = 0

    def add(_layer: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal found
        found += output.numel()

    for layer in network.modules():
        if not any(layer.children()):
            layer.register_forward_hook(add)
    with torch.no_grad():
        network(x)
    return found


def smallest_share(images: int, batch_size: int, length: str, processes: int = 1) -> int:
    """Images in the smallest batch that a process gets in an epoch, see ``ltlib.data.loader.LENGTHS``."""
    full = length == "one_more" or (length == "drop_last" and images >= batch_size)
    smallest = batch_size if full else images % batch_size or batch_size
    return max(smallest // processes, 1)


def check_single_images(
    method: Method, stages: tuple[Stage, ...], images: int, side: int, batch_size: int, processes: int = 1
) -> None:
    """Refuse a training whose BatchNorm would see one number per channel, which has no variance.

    Args:
        method: whose networks are tried, on shapes only.
        stages, images, side, batch_size, processes: of the training.

    Raises:
        InputError: some batch holds one image, and a network leaves one pixel of it.
    """

    def smallest(batch: int) -> int:
        return min(smallest_share(images, batch, stage.length, processes) for stage in stages)

    if smallest(batch_size) > 1 or not _one_pixel(method, side):
        return
    fits = [b for b in (*range(batch_size - 1, 1, -1), *range(batch_size + 1, 2 * batch_size)) if smallest(b) > 1]
    advice = f"choose another batch_size, such as {fits[0]}" if fits else "train on more images"
    share = f" shared by {processes} processes" if processes > 1 else ""
    raise InputError(
        f"{images} images in batches of {batch_size}{share} leave a batch of one image, and this network leaves one "
        f"pixel of it, of which BatchNorm can take no variance: {advice}."
    )


def _one_pixel(method: Method, side: int) -> bool:
    """Whether BatchNorm somewhere in a method cannot train on a single image."""
    trial = copy.deepcopy(method).to("meta").train()
    x = torch.empty(1, 3, side, side, device="meta")
    try:
        with torch.no_grad():
            for forward in (trial.logits, *(m for m in trial.modules() if isinstance(m, Network))):
                forward(x)
    except ValueError as error:  # torch's own check of the shape
        return "more than 1 value per channel" in str(error)
    return False
