"""Problems whose answer is known, for the tests of the attacks."""

import torch
import torch.nn.functional as F
from torch import nn

from ltlib import models

EPSILON = 0.1
GREY = torch.full((1, 3, 2, 2), 0.5)


class Linear(nn.Module):
    """z = W x + b on flattened images."""

    def __init__(self, classes=2, features=12, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.w, self.b = nn.Parameter(torch.randn(classes, features)), nn.Parameter(torch.randn(classes))

    def forward(self, x):
        return F.linear(x.flatten(1), self.w, self.b)


def inner_images(n=6):
    """Images far enough from 0 and 1 that only the ball limits the attack."""
    torch.manual_seed(1)
    return torch.rand(n, 3, 2, 2) * 0.4 + 0.3


def small_network():
    torch.manual_seed(0)
    return models.make("resnet8", 5, (0.5,) * 3, (0.2,) * 3).eval()


class Planted(nn.Module):
    """Class 1 exactly where the first pixel of the first channel exceeds 0.55: every image at 0.5 is 0.05 away."""

    def forward(self, x):
        return torch.stack([torch.zeros(len(x)), 50 * (x[:, 0, 0, 0] - 0.55)], dim=1)
