"""Several attacks in turn, each only on the images that withstood those before it.

`ensemble` is AutoAttack (Croce and Hein 2020, arXiv 2003.01690) without FAB, which seldom breaks what the others
leave. So a number from it is named after its parts and never "AutoAttack"; `Official` runs the authors' package.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from ltlib.attacks.apgd import APGD
from ltlib.attacks.ball import Ball, Logits
from ltlib.attacks.losses import cross_entropy
from ltlib.attacks.square import Square
from ltlib.errors import InputError

Attack = Callable[[Logits, Tensor, Tensor], Tensor]


def ensemble(epsilon: float = 8 / 255, norm: str = "linf", steps: int = 100, queries: int = 5000) -> dict[str, Attack]:
    """APGD-CE, APGD-T (9 targets) and Square, with AutoAttack's settings."""
    return {
        "APGD-CE": APGD(epsilon, norm, steps),
        "APGD-T": APGD(epsilon, norm, steps, targets=9),
        "Square": Square(epsilon, norm, queries),
    }


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
        # its check for zero gradients needs contiguous images
        found = attack.run_standard_evaluation(x.contiguous(), y)
        return found[0] if isinstance(found, tuple) else found  # the copy on PyPI returns the new labels as well


def _package() -> ModuleType:
    for name in ("autoattack", "pyautoattack"):
        if importlib.util.find_spec(name):
            return importlib.import_module(name)
    raise InputError("The official AutoAttack is not installed: pip install pyautoattack, or use the attack ensemble.")
