"""The plain recipe, as published repositories write it: PIL images in loader workers, float32, NCHW memory, eager."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from ltlib import models
from ltlib.data.cifar import MEAN, STD
from ltlib.data.loader import Batch

EPSILON, STEP_SIZE, STEPS = 0.031, 0.007, 10


class PilImages(Dataset):
    """As torchvision's CIFAR classes: one PIL image at a time through PIL transforms."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, training: bool):
        self.pixels, self.labels = pixels.transpose(0, 2, 3, 1), labels
        augment = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()] if training else []
        normalize = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        self.transform = transforms.Compose(augment + normalize)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[i])), int(self.labels[i])


def loader(pixels: np.ndarray, labels: np.ndarray, batch: int, training: bool) -> DataLoader:
    return DataLoader(
        PilImages(pixels, labels, training),
        batch_size=batch,
        shuffle=training,
        num_workers=min(4, os.cpu_count() or 1),
        pin_memory=torch.cuda.is_available(),
    )


def network(backbone: str, device: torch.device) -> nn.Module:
    return models.make(backbone, 10, (0.0,) * 3, (1.0,) * 3).to(device)


def training(
    backbone: str, pixels: np.ndarray, labels: np.ndarray, batch: int, device: torch.device
) -> Callable[[], None]:
    """One epoch of the usual training script."""
    model = network(backbone, device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=2e-4)
    images = loader(pixels, labels, batch, training=True)

    def epoch() -> None:
        model.train()
        for x, y in images:
            x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    return epoch


def evaluation(backbone: str, pixels: np.ndarray, labels: np.ndarray, device: torch.device) -> Callable[[], None]:
    """One look at a test set, in batches of 128."""
    model = network(backbone, device).eval()
    images = loader(pixels, labels, 128, training=False)

    def look() -> None:
        right = 0
        with torch.no_grad():
            for x, y in images:
                right += (model(x.to(device)).argmax(1).cpu() == y).sum().item()

    return look


def lbgat(backbone: str, natural: str, batch: Batch, device: torch.device) -> Callable[[], None]:
    """One step of LBGAT as its code is built: the clean logits anew in each of the ten steps of the attack, and the
    gradients of the weights kept while it attacks."""
    robust, clean = (network(name, device).train() for name in (backbone, natural))
    optimizer = torch.optim.SGD([*robust.parameters(), *clean.parameters()], lr=0.01, momentum=0.9)

    def kl(z: Tensor, target: Tensor) -> Tensor:
        return F.kl_div(z.log_softmax(1), target.softmax(1), reduction="sum")

    def step() -> None:
        x, y = batch.x, batch.y
        robust.eval()
        x_adv = x + 0.001 * torch.randn_like(x)
        for _ in range(STEPS):
            x_adv = x_adv.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(kl(robust(x_adv), robust(x)), [x_adv])
            x_adv = x_adv.detach() + STEP_SIZE * gradient.sign()
            x_adv = x_adv.clamp(x - EPSILON, x + EPSILON).clamp(0, 1)
        robust.train()
        optimizer.zero_grad()
        z_adv, z, t = robust(x_adv), robust(x), clean(x)
        loss = F.mse_loss(z_adv, t) + F.cross_entropy(t, y) + 6 * kl(z_adv, z) / len(y)
        loss.backward()
        optimizer.step()

    return step
