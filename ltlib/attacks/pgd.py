"""FGSM and PGD: gradient ascent on a loss, projected back onto the ball after every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ltlib.attacks.ball import Ball, Logits, check_draws, input_gradient, per_image
from ltlib.attacks.losses import LOSSES, kl_to_clean
from ltlib.errors import InputError, check_choice

STARTS = ("uniform", "positive", "gaussian", "clean")


@dataclass(frozen=True)
class PGD:
    """Projected gradient descent (Madry et al. 2018, arXiv 1706.06083).

    The defaults are the evaluation of the TRADES code: PGD-20 at 0.031 with steps of 0.003 from a uniform start.

    Args:
        epsilon, norm: of the ball, see `Ball`.
        steps: at least 1.
        step_size: of each, above 0.
        loss: ``cross_entropy``; ``margin`` (then often called CW); ``dlr``; or ``kl``, the distance from the
            network's own clean prediction, as TRADES and LBGAT train: it uses no label.
        start: ``uniform`` in the ball; ``positive``, epsilon U[0, 1), as the code of RoBal trains; ``gaussian``, 0.001
            times normal noise, which the KL needs because its gradient at the clean image is 0; or ``clean``.
        restarts: an image keeps the result of the first one that fools the network, or else of the last.
        draws: passes whose mean is the gradient, for random networks; see `ltlib.attacks.ball.input_gradient`.

    Raises:
        InputError: a value is not allowed.
    """

    epsilon: float = 0.031
    norm: str = "linf"
    steps: int = 20
    step_size: float = 0.003
    loss: str = "cross_entropy"
    start: str = "uniform"
    restarts: int = 1
    draws: int = 1

    def __post_init__(self) -> None:
        Ball(self.epsilon, self.norm)
        check_choice("loss", self.loss, (*LOSSES, "kl"))
        check_choice("start", self.start, STARTS)
        check_draws(self.draws)
        if self.loss == "kl" and self.start == "clean":
            raise InputError("The KL has no gradient at the clean image: use start='gaussian' or 'uniform'.")
        if self.steps < 1 or self.restarts < 1:
            raise InputError(f"steps and restarts must be at least 1; got {self.steps} and {self.restarts}.")
        if not self.step_size > 0:
            raise InputError(f"step_size must be above 0; got {self.step_size}.")

    def __call__(self, logits: Logits, x: Tensor, y: Tensor) -> Tensor:
        """Adversarial images: x (B, C, H, W) in [0, 1] and labels y (B,) -> (B, C, H, W), without gradient."""
        x = x.detach().contiguous()
        objective = self._objective(logits, x, y)
        found = self._ascend(objective, x)
        for _ in range(self.restarts - 1):
            with torch.no_grad():
                held = logits(found).argmax(1) == y
            found = torch.where(per_image(held), self._ascend(objective, x), found)
        return found

    def _ascend(self, objective: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        ball = Ball(self.epsilon, self.norm)
        x_adv, project = self._begin(ball, x), ball.around(x)
        for _ in range(self.steps):
            gradient, _ = input_gradient(objective, x_adv, self.draws)
            # x_{k+1} = P(x_k + step * steepest ascent)
            x_adv = project(x_adv + self.step_size * ball.steepest(gradient))
        return x_adv

    def _begin(self, ball: Ball, x: Tensor) -> Tensor:
        if self.start == "uniform":
            return ball.random(x)
        if self.start == "positive":
            return x + self.epsilon * torch.rand_like(x)
        return x + 0.001 * torch.randn_like(x) if self.start == "gaussian" else x

    def _objective(self, logits: Logits, x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
        if self.loss == "kl":
            with torch.no_grad():
                clean = logits(x)  # once: the released code computes it again in every step
            return lambda x_adv: kl_to_clean(logits(x_adv), clean)
        return lambda x_adv: LOSSES[self.loss](logits(x_adv), y)


def fgsm(epsilon: float, norm: str = "linf") -> PGD:
    """The fast gradient sign method (Goodfellow et al. 2015, arXiv 1412.6572): one step of full size."""
    return PGD(epsilon, norm, steps=1, step_size=max(epsilon, 1e-12), start="clean")
