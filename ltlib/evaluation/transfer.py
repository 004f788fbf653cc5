"""Black-box attacks by transfer: adversarial images found on one network, tried on another (Papernot et al. 2016, arXiv
1605.07277), as the tables of TRADES and LBGAT report them.

A network whose own gradients fool it less than those of another network hides its gradients.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ltlib.attacks import attacked
from ltlib.attacks.autoattack import Attack
from ltlib.data.augment import to_float
from ltlib.evaluation.precision import full_float32
from ltlib.methods.method import Method


def transfer_table(
    method: Method,
    sources: Mapping[str, Method],
    images: Tensor,
    labels: Tensor,
    attacks: Mapping[str, Attack],
    *,
    chunk: int = 250,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Accuracy of a network on the adversarial images of several.

    Args:
        method: the network that is tried, on the device of the images.
        sources: name -> network on which the images are found; ``method`` itself for the white-box row.
        images, labels: uint8 (N, C, H, W) and (N,).
        attacks: name -> attack, each from the clean images.
        chunk: images at once.
        seed: of the attacks' random numbers, the same for every source.

    Returns:
        Name of the source -> name of the attack -> accuracy on its images, a fraction.
    """
    devices = [images.device] if images.is_cuda else []
    table: dict[str, dict[str, float]] = {}
    for name, source in sources.items():
        right = dict.fromkeys(attacks, 0)
        with torch.random.fork_rng(devices), full_float32(), attacked(source), attacked(method):
            for kind, attack in attacks.items():
                torch.manual_seed(seed)
                for part in torch.arange(len(images), device=images.device).split(chunk):
                    x, y = to_float(images[part]).contiguous(), labels[part]
                    x_adv = attack(source.logits, x, y)
                    with torch.no_grad():
                        right[kind] += int((method.logits(x_adv).argmax(1) == y).sum())
        table[name] = {kind: n / len(images) for kind, n in right.items()}
    return table
