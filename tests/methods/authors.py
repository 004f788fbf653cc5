"""Weights and images by formula, so that the authors' code and ours start from the same numbers on every machine."""

import math
import zlib

import torch

STEPS = 6


def filled(method):
    """The method in float64, every weight a fixed function of its name and position."""
    method = method.double()
    for name, tensor in method.state_dict().items():
        if name.startswith("scale") or not tensor.is_floating_point() or "normalize" in name or "running" in name:
            continue
        phase = zlib.crc32(name.encode()) % 1000 / 1000
        wave = torch.sin((torch.arange(tensor.numel(), dtype=torch.float64) + 1) * (12.9898 + phase)).view(tensor.shape)
        if tensor.ndim > 1:
            tensor.copy_(wave * 2 / math.sqrt(tensor[0].numel()))
        else:
            tensor.copy_(1 + 0.2 * wave if name.endswith("weight") else 0.1 * wave)
    return method


def images(count, side):
    """(count, 3, side, side) in [0, 1]."""
    position = torch.arange(count * 3 * side * side, dtype=torch.float64)
    return ((torch.sin(position * 0.37) + torch.sin(position * 0.0113)) / 4 + 0.5).view(count, 3, side, side)


def noise(like):
    """In place of normal noise."""
    return torch.sin(torch.arange(like.numel(), dtype=like.dtype) * 1.7).view(like.shape)
