"""APGD: projected gradient ascent that finds its own step size (Croce and Hein 2020, arXiv 2003.01690)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ltlib.attacks.ball import Ball, Logits, check_draws, input_gradient, length, per_image
from ltlib.attacks.losses import LOSSES, dlr_targeted
from ltlib.errors import InputError, check_choice

MOMENTUM = 0.75
RISING = 0.75  # share of the steps since the last check in which the loss must have risen


@dataclass(frozen=True)
class APGD:
    """Auto-PGD, untargeted or towards several classes one after the other.

    Args:
        epsilon, norm: of the ball, see `Ball`.
        steps: gradient steps of one run; 100 in AutoAttack.
        loss: ``cross_entropy``, ``margin`` or ``dlr``; not used when there are targets.
        targets: 0 for the untargeted attack. Otherwise so many classes, those with the largest clean logits
            besides the true one (all others if there are fewer), each with the targeted DLR.
        restarts: runs, each only on images that are still classified right.
        draws: passes whose mean is the gradient, see `ltlib.attacks.ball.input_gradient`; AutoAttack takes 20 for
            random networks. What counts as misclassified is the last pass.

    Raises:
        InputError: a value is not allowed.
    """

    epsilon: float = 8 / 255
    norm: str = "linf"
    steps: int = 100
    loss: str = "cross_entropy"
    targets: int = 0
    restarts: int = 1
    draws: int = 1

    def __post_init__(self) -> None:
        Ball(self.epsilon, self.norm)
        check_choice("loss", self.loss, LOSSES)
        check_draws(self.draws)
        if self.steps < 1 or self.restarts < 1 or self.targets < 0:
            raise InputError(
                f"steps and restarts must be at least 1 and targets at least 0; got {self.steps}, {self.restarts} "
                f"and {self.targets}."
            )

    def __call__(self, logits: Logits, x: Tensor, y: Tensor) -> Tensor:
        """Adversarial images; where none was found, the image itself: x (B, C, H, W), y (B,) -> (B, C, H, W)."""
        x = x.detach().contiguous()
        with torch.no_grad():
            z = logits(x)
        found, robust = x.clone(), z.argmax(1) == y
        # the classes other than y, most likely first
        order = z.scatter(1, y[:, None], -float("inf")).argsort(dim=1, descending=True)
        for _ in range(self.restarts):
            for target in range(min(self.targets, z.shape[1] - 1) or 1):
                left = robust.nonzero().flatten()
                if len(left) == 0:
                    return found
                labels, towards = y[left], order[left, target]
                x_adv, fooled = self._run(logits, x[left], labels, towards)
                found.index_copy_(0, left, x_adv)  # where it is not fooled, the image itself
                robust.index_copy_(0, left, ~fooled)
        return found

    def _run(self, logits: Logits, x: Tensor, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """One run: the last misclassified point of each image, or the image itself, and whether there is one.

        A GPU never waits for the host in it: what holds for some of the images is done by ``torch.where``.
        """
        ball = Ball(self.epsilon, self.norm)
        adversarial, fooled = x.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)

        def look(point: Tensor) -> tuple[Tensor, Tensor]:
            """Gradient and loss at a point; remembers what is misclassified there."""
            wrong = torch.zeros_like(fooled)

            def objective(x_adv: Tensor) -> Tensor:
                z = logits(x_adv)
                wrong.copy_(z.detach().argmax(1) != y)
                return dlr_targeted(z, y, target) if self.targets else LOSSES[self.loss](z, y)

            gradient, value = input_gradient(objective, point, self.draws)
            adversarial.copy_(torch.where(per_image(wrong), point, adversarial))
            fooled.logical_or_(wrong)
            return gradient, value

        point = self._begin(ball, x)
        gradient, value = look(point)
        previous = point
        best = Best(point, gradient, value)
        step = torch.full((len(x), 1, 1, 1), 2 * self.epsilon, device=x.device, dtype=x.dtype)
        search, checks, project = StepSize(value), set(check_points(self.steps)), ball.around(x)
        for k in range(self.steps):
            # z = P(x_k + step * steepest ascent), x_{k+1} = P(x_k + a (z - x_k) + (1 - a) (x_k - x_{k-1}))
            a = MOMENTUM if k else 1.0
            z = project(point + step * ball.steepest(gradient))
            following = project(point + a * (z - point) + (1 - a) * (point - previous))
            previous, point = point, following
            gradient, value = look(point)
            best.update(point, gradient, value)
            search.saw(value)
            if k + 1 in checks:
                halve = per_image(search.check(best.value))
                step = torch.where(halve, step / 2, step)
                point, gradient = torch.where(halve, best.point, point), torch.where(halve, best.gradient, gradient)
        return adversarial, fooled

    def _begin(self, ball: Ball, x: Tensor) -> Tensor:
        """A random point on the surface of the ball."""
        if ball.norm == "linf":
            t = torch.empty_like(x).uniform_(-1, 1)
            t = t / t.abs().amax((1, 2, 3), keepdim=True)
        else:
            t = torch.randn_like(x)
            t = t / length(t)
        return ball.project(x + self.epsilon * t, x)


class Best:
    """Per image the largest loss so far, with its point and its gradient."""

    def __init__(self, point: Tensor, gradient: Tensor, value: Tensor):
        self.point, self.gradient, self.value = point, gradient, value

    def update(self, point: Tensor, gradient: Tensor, value: Tensor) -> None:
        better = value > self.value
        self.point = torch.where(per_image(better), point, self.point)
        self.gradient = torch.where(per_image(better), gradient, self.gradient)
        self.value = torch.where(better, value, self.value)


class StepSize:
    """Decides at a check point which images go on with half the step.

    (a) since the last check the loss rose in at most 75 % of the steps, or
    (b) the step was not halved at the last check, and the best loss has not improved since.
    """

    def __init__(self, value: Tensor):
        self.last, self.best_then = value, value.clone()
        self.halved_then = torch.ones_like(value, dtype=torch.bool)
        self.rises, self.steps = torch.zeros_like(value), 0

    def saw(self, value: Tensor) -> None:
        """The loss of one more step."""
        self.rises += value > self.last
        self.last = value
        self.steps += 1

    def check(self, best: Tensor) -> Tensor:
        """Which images halve their step, (B,) bool; a new interval begins."""
        halve = (self.rises <= RISING * self.steps) | (~self.halved_then & (best <= self.best_then))
        self.halved_then, self.best_then = halve, best.clone()
        self.rises, self.steps = torch.zeros_like(self.rises), 0
        return halve


def check_points(steps: int) -> list[int]:
    """After which steps to check: first after 22 %, then in intervals that shrink by 3 % down to 6 %."""
    interval, shrink, shortest = (max(int(share * steps), 1) for share in (0.22, 0.03, 0.06))
    points, at = [], interval
    while at <= steps:
        points.append(at)
        interval = max(interval - shrink, shortest)
        at += interval
    return points
