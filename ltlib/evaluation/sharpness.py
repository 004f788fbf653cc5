"""How steep the loss of each class is around the trained weights, and which way it bends there.

On a long tail the loss of a rare class can have directions in weight space in which it still falls. The weights are
then at a saddle point (Rangwani et al. 2022, arXiv 2212.13827). Sharpness-aware minimisation leaves such points. The
engine moves weights by the same function, :func:`uphill`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ltlib.data.augment import to_float
from ltlib.errors import InputError
from ltlib.methods.method import Method


@contextlib.contextmanager
def uphill(parameters: Sequence[Tensor], radius: float) -> Iterator[None]:
    """Move weights along their gradients, to where the loss is highest at this distance; after the block they are back.

    This is the first half of a step of sharpness-aware minimisation (SAM; Foret et al. 2021, arXiv 2010.01412, eq. 2).
    The second half takes the gradient inside the block and steps from the weights outside. A method that draws random
    numbers draws others in the second half, and BatchNorm counts both passes, as in the code of Rangwani et al.

    Args:
        parameters: all have a gradient.
        radius: rho, the distance, over all parameters together.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    length = torch.stack([g.norm() for g in gradients]).norm()
    kept = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for p, g in zip(parameters, gradients, strict=True):
            # w + rho g / |g|
            p.add_(g * (radius / (length + 1e-12)))
    try:
        yield
    finally:
        with torch.no_grad():
            for p, before in zip(parameters, kept, strict=True):
                p.copy_(before)


def class_sharpness(method: Method, images: Tensor, labels: Tensor, radius: float = 0.05) -> np.ndarray:
    """By how much the loss of each class rises at the weights that are ``radius`` further uphill for this class, (K,).

    The loss is the cross-entropy of the evaluated logits, with BatchNorm at its running statistics.

    Args:
        method: trained; it is left as it was.
        images: uint8 (N, 3, H, W), on the device of the method.
        labels: (N,), every class at least once.
        radius: rho, above 0.

    Raises:
        InputError: the radius is not above 0, or a class has no image.
    """
    if not radius > 0:
        raise InputError(f"radius must be above 0; got {radius}.")
    parameters = [p for p in method.parameters() if p.requires_grad]
    found = []
    with _still(method):
        for x, y in _of_each_class(images, labels):
            before = _loss(method, x, y)
            for p, gradient in zip(parameters, _gradients(before, parameters), strict=True):
                p.grad = gradient
            with uphill(parameters, radius), torch.no_grad():
                # S_c = L_c(w + rho g_c / |g_c|) - L_c(w)
                found.append((_loss(method, x, y) - before).item())
    return np.array(found)


def class_curvature(
    method: Method, images: Tensor, labels: Tensor, steps: int = 20, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest eigenvalue of the Hessian of each class's loss, (K,) each, by Lanczos' iteration.

    Below 0 the smallest one is a direction in which the loss of the class bends downwards.

    Args:
        method, images, labels: see :func:`class_sharpness`.
        steps: products with the Hessian per class, at least 2; more come closer to both ends.
        seed: of the direction in which the iteration begins.

    Raises:
        InputError: there are fewer than 2 steps, or a class has no image.
    """
    if steps < 2:
        raise InputError(f"steps must be at least 2; got {steps}.")
    parameters = [p for p in method.parameters() if p.requires_grad]
    ends = []
    with _still(method):
        for x, y in _of_each_class(images, labels):
            gradient = _flat(_gradients(_loss(method, x, y), parameters, keep=True))
            ends.append(_lanczos(gradient, parameters, steps, torch.Generator().manual_seed(seed)))
    low, high = np.array(ends).T
    return low, high


def _lanczos(
    gradient: Tensor, parameters: Sequence[Tensor], steps: int, generator: torch.Generator
) -> tuple[float, float]:
    """Both ends of the spectrum of the Hessian whose graph ``gradient`` holds."""
    v = torch.randn(gradient.numel(), generator=generator).to(gradient)
    basis, diagonal, beside = [v / v.norm()], [], []
    for _ in range(min(steps, gradient.numel())):
        # w = H v, made orthogonal to all directions before
        w = _flat(_product(gradient, basis[-1], parameters))
        diagonal.append((w @ basis[-1]).item())
        for direction in basis:
            w = w - (w @ direction) * direction
        length = w.norm()
        if length < 1e-6 * abs(diagonal[0]):
            break
        beside.append(length.item())
        basis.append(w / length)
    inner = beside[: len(diagonal) - 1]
    values = np.linalg.eigvalsh(np.diag(diagonal) + np.diag(inner, 1) + np.diag(inner, -1))
    return float(values[0]), float(values[-1])


def _of_each_class(images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Float images and labels of each class.

    Raises:
        InputError: a class has no image.
    """
    for c in range(int(labels.max()) + 1):
        of_class = labels == c
        if not of_class.any():
            raise InputError(f"class {c} has no image: give at least one of each class.")
        yield to_float(images[of_class]), labels[of_class]


def _loss(method: Method, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(method.logits(x).float(), y)


def _gradients(of: Tensor, parameters: Sequence[Tensor], keep: bool = False) -> list[Tensor]:
    """The gradient of a scalar for each parameter, 0 where it does not depend on it.

    With ``keep`` the gradient can be differentiated again.
    """
    found = torch.autograd.grad(of, parameters, allow_unused=True, retain_graph=keep, create_graph=keep)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def _product(gradient: Tensor, direction: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """The Hessian times a direction, in the shapes of the parameters."""
    found = torch.autograd.grad(gradient @ direction, parameters, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.flatten() for t in tensors])


@contextlib.contextmanager
def _still(method: Method) -> Iterator[None]:
    """Evaluation mode; afterwards the mode is the one before, and no parameter has a gradient."""
    was_training = method.training
    method.eval()
    try:
        yield
    finally:
        method.train(was_training)
        for p in method.parameters():
            p.grad = None
