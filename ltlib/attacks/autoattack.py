"""Several attacks in turn, each only on the images that withstood those before it.

`ensemble` is AutoAttack (Croce and Hein 2020, arXiv 2003.01690) without FAB, which seldom breaks what the others
leave. So a number from it is named after its parts and never "AutoAttack"; `Official` runs the authors' package.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor

from ltlib.attacks.apgd import APGD
from ltlib.attacks.ball import Ball, Logits
from ltlib.attacks.losses import cross_entropy
from ltlib.attacks.square import Square
from ltlib.errors import InputError


class Attack(Protocol):
    """What every attack is: a dataclass of its settings, called with a network, images and labels."""

    @property
    def epsilon(self) -> float: ...

    @property
    def norm(self) -> str: ...

    def __call__(self, logits: Logits, x: Tensor, y: Tensor) -> Tensor: ...


FEWEST = 4  # classes that the targeted DLR of APGD-T needs


def gradient_attacks(
    epsilon: float = 8 / 255, norm: str = "linf", classes: int = 10, *, steps: int = 100
) -> dict[str, Attack]:
    """APGD-CE and APGD-T (9 targets, or all other classes) with AutoAttack's settings.

    With 2 or 3 classes the targeted DLR does not exist; APGD on the margin, which needs no scale either, replaces it.
    """
    first: dict[str, Attack] = {"APGD-CE": APGD(epsilon, norm, steps)}
    if classes < FEWEST:
        return first | {"APGD-margin": APGD(epsilon, norm, steps, loss="margin")}
    return first | {"APGD-T": APGD(epsilon, norm, steps, targets=9)}


def ensemble(
    epsilon: float = 8 / 255, norm: str = "linf", classes: int = 10, *, steps: int = 100, queries: int = 5000
) -> dict[str, Attack]:
    """APGD-CE, APGD-T (see :func:`gradient_attacks`) and Square, with AutoAttack's settings."""
    return gradient_attacks(epsilon, norm, classes, steps=steps) | {"Square": Square(epsilon, norm, queries)}


def official(epsilon: float = 8 / 255, norm: str = "linf", classes: int = 10) -> dict[str, Attack]:
    """The authors' package under the name of what it runs: with 2 or 3 classes it has no APGD-T."""
    name = "AutoAttack" if classes >= FEWEST else "AutoAttack without APGD-T"
    return {name: Official(epsilon, norm)}


def in_turn(
    attacks: dict[str, Attack], logits: Logits, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Run the attacks one after the other.

    Args:
        attacks: name -> attack.
        logits: images in [0, 1] -> logits (B, K).
        x, y: images (B, C, H, W) and labels (B,).

    Returns:
        Adversarial images: the one that fooled the network, or else the one with the largest cross-entropy that an
        attack gave back; an image that was wrong already stays as it is. Their logits (B, K), from the very pass that
        judged them. And name -> (B,) bool, which images are still right after this attack and all before it.
    """
    with torch.no_grad():
        z = logits(x).clone()
    found, robust, withstood = x.clone(), z.argmax(1) == y, {}
    for name, attack in attacks.items():
        left = robust.nonzero().flatten()
        if len(left):
            x_adv = attack(logits, x[left], y[left])
            with torch.no_grad():
                z_adv = logits(x_adv)
            fooled = z_adv.argmax(1) != y[left]
            worse = fooled | (cross_entropy(z_adv, y[left]) > cross_entropy(z[left], y[left]))
            found[left[worse]], z[left[worse]] = x_adv[worse], z_adv[worse]
            robust = robust.clone()
            robust[left[fooled]] = False
        withstood[name] = robust
    return found, z, withstood


@dataclass(frozen=True)
class Official:
    """The authors' own AutoAttack, version "standard", seed 0: their repository's package, or its copy on PyPI.

    "standard" is made for at least 10 classes. With fewer, both targeted attacks take all other classes as targets;
    with 2 or 3 classes the APGD attack among them, whose loss needs 4, is left out.

    Args:
        epsilon, norm: see `Ball`.
    """

    epsilon: float = 8 / 255
    norm: str = "linf"

    def __post_init__(self) -> None:
        Ball(self.epsilon, self.norm)

    def __call__(self, logits: Logits, x: Tensor, y: Tensor) -> Tensor:
        """Adversarial images; where none was found, the image itself: x (B, C, H, W), y (B,) -> (B, C, H, W).

        Raises:
            InputError: neither package is installed.
        """
        norm = {"linf": "Linf", "l2": "L2"}[self.norm]
        attack = _package().AutoAttack(logits, norm=norm, eps=self.epsilon, seed=0, device=x.device)
        attack.verbose = False
        with torch.no_grad():
            classes = logits(x[:1]).shape[1]
        attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = min(9, classes - 1)
        if classes < FEWEST:
            attack.attacks_to_run = [name for name in attack.attacks_to_run if name != "apgd-t"]
        with _repeated(attack):
            # its check for zero gradients needs contiguous images
            found = attack.run_standard_evaluation(x.contiguous(), y)
        return found[0] if isinstance(found, tuple) else found  # the copy on PyPI returns the new labels as well


class AttackWarning(UserWarning):
    """An attack says that its result might not be reliable."""


class _Repeat(logging.Handler):
    """Hands what is logged as a warning on as an :class:`AttackWarning`."""

    def emit(self, record: logging.LogRecord) -> None:
        warnings.warn(record.getMessage(), AttackWarning, stacklevel=2)


@contextmanager
def _repeated(attack: Any) -> Iterator[None]:
    """The package's warnings as :class:`AttackWarning`: its copy on PyPI writes them to the log, the original by
    ``logger.log``, each beginning with "Warning: "."""
    log, handler = logging.getLogger("auto-attack"), _Repeat(logging.WARNING)
    before = log.propagate
    log.addHandler(handler)
    log.propagate = False
    if not isinstance(attack.logger, logging.Logger):
        attack.logger.log = lambda line: log.warning(line) if line.startswith("Warning") else None
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = before


def _package() -> ModuleType:
    for name in ("autoattack", "pyautoattack"):
        if importlib.util.find_spec(name):
            return importlib.import_module(name)
    raise InputError("The official AutoAttack is not installed: pip install pyautoattack, or use the attack ensemble.")
