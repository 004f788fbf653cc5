"""The learning-rate schedules of the papers, as pure functions: epoch -> factor of the base rate.

Epochs are counted from 0 and rates change once per epoch. Each schedule was published for one length. Most are
written in fractions of it and keep their shape in a shorter run; ``step_trades``, those of RoBal and warm-ups that
say so count epochs.
"""

from __future__ import annotations

import math


def step(epoch: int, epochs: int) -> float:
    """MiSLAS on CIFAR-LT: 5 epochs of linear warm-up, then x0.1 after epoch 160 and x0.01 after 180 (of 200)."""
    warmup = round(0.025 * epochs)
    if epoch < warmup:
        return (epoch + 1) / warmup
    return _decay(epoch, epochs, 0.8, 0.9)


def step_reslt(epoch: int, epochs: int) -> float:
    """ResLT on CIFAR-LT: as `step`, but the warm-up climbs from a third, (1-f)/3 + f with f = (e+1)/5."""
    warmup = round(0.025 * epochs)
    if epoch < warmup:
        f = (epoch + 1) / warmup
        return (1 - f) / 3 + f
    return _decay(epoch, epochs, 0.8, 0.9)


def step_ldam(epoch: int, epochs: int) -> float:
    """LDAM-DRW on CIFAR-LT: the warm-up of `step`, then x0.01 after epoch 160 and x0.0001 after 180 (of 200)."""
    factor = step(epoch, epochs)
    # 0.1 and 0.01, squared; the warm-up and 1 as they are
    return factor if epoch < round(0.8 * epochs) else factor**2


def step_lbgat(epoch: int, epochs: int) -> float:
    """LBGAT: a first epoch at x0.2, as the script for CIFAR-100 has it, x0.1 after 75 % and x0.01 after 90 %."""
    return 0.2 if epoch == 0 else _decay(epoch, epochs, 0.75, 0.9)


def step_trades(epoch: int, epochs: int) -> float:
    """TRADES and AT-BSL: x0.1, x0.01 and x0.001 from the 75th, 90th and 100th epoch on, whatever the length.

    TRADES stops after the 76th epoch, so these are epochs and not fractions. A run of fewer than 75 keeps its rate.
    """
    return 0.1 ** sum(epoch + 1 >= decay for decay in (75, 90, 100))


def step_robal(epoch: int, epochs: int) -> float:
    """The code of RoBal: x0.1 in every epoch from the 60th on, and again x0.1 in every one from the 75th on.

    It multiplies the rate of the epoch before and not the first one, so that after the 62nd hardly anything moves.
    """
    return 0.1 ** sum(max(0, epoch + 2 - decay) for decay in (60, 75))


def step_robal_described(epoch: int, epochs: int) -> float:
    """RoBal as its configuration reads: x0.1 from the 60th epoch on and x0.01 from the 75th, whatever the length."""
    return 0.1 ** sum(epoch + 1 >= decay for decay in (60, 75))


def cosine(epoch: int, epochs: int) -> float:
    """MiSLAS on the large sets and in every stage 2: (1 + cos(pi e / E)) / 2, no warm-up."""
    return (1 + math.cos(math.pi * epoch / epochs)) / 2


def cosine_warmup(epoch: int, epochs: int) -> float:
    """ResLT on ImageNet-LT: (e+1)/5 for five epochs at every length, then (1 + cos(pi (e-4)/(E-4))) / 2."""
    return (epoch + 1) / 5 if epoch < 5 else cosine(epoch - 4, epochs - 4)


def constant(epoch: int, epochs: int) -> float:
    """The base rate throughout."""
    return 1.0


def _decay(epoch: int, epochs: int, first: float, second: float) -> float:
    """1, then 0.1, then 0.01, changing at the given fractions of the length."""
    if epoch < round(first * epochs):
        return 1.0
    return 0.1 if epoch < round(second * epochs) else 0.01


SCHEDULES = {
    "step": step,
    "step_reslt": step_reslt,
    "step_ldam": step_ldam,
    "step_lbgat": step_lbgat,
    "step_trades": step_trades,
    "step_robal": step_robal,
    "step_robal_described": step_robal_described,
    "cosine": cosine,
    "cosine_warmup": cosine_warmup,
    "constant": constant,
}
