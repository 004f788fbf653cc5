"""What an attack makes large: every loss maps logits (B, K) and labels (B,) to one value an image, (B,).

CE saturates where the network is sure, so that its gradient may vanish; the margin, and DLR, which is invariant to
shift and scale of the logits, do not.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ltlib.errors import InputError

TINY = 1e-12  # added to denominators


def cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    """-log p_y (Madry et al. 2018, arXiv 1706.06083)."""
    return F.cross_entropy(z.float(), y, reduction="none")


def margin(z: Tensor, y: Tensor) -> Tensor:
    """max_{j != y} z_j - z_y, above 0 where the network errs (Carlini and Wagner 2017, arXiv 1608.04644)."""
    return best_other(z, y) - _of(z, y)


def dlr(z: Tensor, y: Tensor) -> Tensor:
    """Difference of logits ratio (Croce and Hein 2020, arXiv 2003.01690): the margin over z_(1) - z_(3).

    Raises:
        InputError: there are fewer than 3 classes.
    """
    _need(z, 3, "dlr")
    top = z.topk(3, dim=1).values
    return margin(z, y) / (top[:, 0] - top[:, 2] + TINY)


def dlr_targeted(z: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """Towards the class ``target`` (B,): -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2).

    Raises:
        InputError: there are fewer than 4 classes.
    """
    _need(z, 4, "the targeted dlr")
    top = z.topk(4, dim=1).values
    return (_of(z, target) - _of(z, y)) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + TINY)


def kl_to_clean(z: Tensor, clean: Tensor) -> Tensor:
    """KL(p_clean || p_adv), the loss of TRADES (Zhang et al. 2019, arXiv 1901.08573), without labels.

    Both sides are log-probabilities: where p_clean underflows to 0 the product with its logarithm stays 0.

    Args:
        z: logits (B, K) of the changed images.
        clean: logits (B, K) of the clean ones.
    """
    log_p, log_q = clean.float().log_softmax(1), z.float().log_softmax(1)
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


def best_other(z: Tensor, y: Tensor) -> Tensor:
    """max_{j != y} z_j, (B,)."""
    return z.scatter(1, y[:, None], -float("inf")).amax(1)


def _of(z: Tensor, y: Tensor) -> Tensor:
    return z.gather(1, y[:, None]).squeeze(1)


def _need(z: Tensor, classes: int, name: str) -> None:
    if z.shape[1] < classes:
        raise InputError(f"{name} needs at least {classes} classes; this model has {z.shape[1]}: use cross_entropy.")


LOSSES = {"cross_entropy": cross_entropy, "margin": margin, "dlr": dlr}
