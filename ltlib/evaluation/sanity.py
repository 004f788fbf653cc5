"""What a sceptic asks before believing a robust number: each check fails if the attack failed, not the network.

After Carlini et al. 2019 (arXiv 1902.06705) and the warnings of AutoAttack (Croce and Hein 2020, arXiv 2003.01690).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ltlib.attacks import PGD, Ball, Square, fgsm
from ltlib.attacks.ball import Logits, input_gradient
from ltlib.attacks.losses import cross_entropy

TOLERANCE = 0.02  # of an accuracy on the images of the checks, or one image: attacks start at random points
SCALE_TOLERANCE = 0.05  # cross-entropy weighs images otherwise at another scale, which shifts a few of them


@dataclass(frozen=True)
class Check:
    """One question a sceptic would ask.

    Attributes:
        name: what is checked.
        passed: whether the answer is as it must be.
        measured: the answer.
        expected: what it must be.
    """

    name: str
    passed: bool
    measured: str
    expected: str


@dataclass(frozen=True)
class Probe:
    """A few images and what the checks need to know of them.

    Attributes:
        logits: the model, images in [0, 1] -> logits.
        x, y: images and labels.
        attack: PGD-20 with the epsilon of the evaluation; the checks vary it.
        withstood: share of these images that withstood the attacks of the evaluation, if they were run.
    """

    logits: Logits
    x: Tensor
    y: Tensor
    attack: PGD
    withstood: float | None = None

    @property
    def slack(self) -> float:
        """By how much two accuracies may differ by chance."""
        return max(TOLERANCE, 1 / len(self.x)) + 1e-6

    def accuracy(self, x: Tensor, logits: Logits | None = None) -> float:
        with torch.no_grad():
            return ((logits or self.logits)(x).argmax(1) == self.y).float().mean().item()

    def under(self, logits: Logits | None = None, **changes: object) -> float:
        """Accuracy under the attack with some settings changed."""
        model = logits or self.logits
        attack = replace(self.attack, **changes)
        return self.accuracy(attack(model, self.x, self.y), model)

    def with_epsilon(self, epsilon: float) -> float:
        return self.under(epsilon=epsilon, step_size=max(epsilon / 8, 1e-12))


def sanity(
    logits: Logits,
    x: Tensor,
    y: Tensor,
    epsilon: float,
    norm: str = "linf",
    surrogate: Logits | None = None,
    withstood: float | None = None,
) -> list[Check]:
    """The checks, on a few images.

    Args:
        logits: the model, in evaluation mode.
        x, y: images in [0, 1] (B, C, H, W) and labels (B,); a hundred or so.
        epsilon, norm: of the evaluation.
        surrogate: another model on the same classes, whose adversarial images are tried on this one.
        withstood: see :class:`Probe`.
    """
    attack = PGD(epsilon, norm, steps=20, step_size=max(epsilon / 8, 1e-12))
    probe = Probe(logits, x.contiguous(), y, attack, withstood)
    checks = [
        _deterministic(probe),
        _no_probabilities(probe),
        _gradients(probe),
        _epsilon_zero(probe),
        _monotone(probe),
        _large_epsilon(probe),
        _more_steps(probe),
        _one_step(probe),
        _noise(probe),
        _scale(probe),
        _black_box(probe),
    ]
    if surrogate:
        checks.append(_transfer(probe, surrogate))
    return checks


def _deterministic(p: Probe) -> Check:
    with torch.no_grad():
        apart = (p.logits(p.x) - p.logits(p.x)).abs().max().item()
    return Check("two passes give the same logits", apart == 0, f"difference {apart:.3g}", "0")


def _no_probabilities(p: Probe) -> Check:
    with torch.no_grad():
        z = p.logits(p.x)
    sums = z.sum(1)
    probabilities = bool((z >= 0).all() and (z <= 1).all() and ((sums - 1).abs() < 1e-3).all())
    words = "rows of numbers in [0, 1] with sum 1" if probabilities else "logits"
    return Check("the outputs are logits", not probabilities, words, "logits, not probabilities")


def _gradients(p: Probe) -> Check:
    gradient, _ = input_gradient(lambda x: cross_entropy(p.logits(x), p.y), p.x)
    finite = bool(torch.isfinite(gradient).all())
    zero = (gradient.flatten(1).abs().amax(1) == 0).float().mean().item()
    return Check(
        "gradients are finite and not zero",
        finite and zero <= p.slack,
        f"{zero:.0%} of the images have none" if finite else "some are not finite",
        f"finite, and zero for at most {TOLERANCE:.0%} of the images",
    )


def _epsilon_zero(p: Probe) -> Check:
    clean, none = p.accuracy(p.x), p.with_epsilon(0.0)
    return Check("epsilon 0 gives clean accuracy", clean == none, f"{none:.1%}", f"{clean:.1%}")


def _monotone(p: Probe) -> Check:
    values = [p.accuracy(p.x), *(p.with_epsilon(factor * p.attack.epsilon) for factor in (0.5, 1, 2))]
    falls = all(b <= a + p.slack for a, b in itertools.pairwise(values))
    words = ", ".join(f"{v:.1%}" for v in values)
    return Check("accuracy falls with epsilon", falls, f"at 0, 1/2, 1, 2 epsilon: {words}", "never rises")


def _large_epsilon(p: Probe) -> Check:
    with torch.no_grad():
        classes = p.logits(p.x[:1]).shape[1]
    large = 0.5 if p.attack.norm == "linf" else 0.5 * math.sqrt(p.x[0].numel())
    value, most = p.with_epsilon(large), 1 / classes + 0.05
    return Check(f"chance at epsilon {large:.3g}", value <= most, f"{value:.1%}", f"at most {most:.1%}")


def _more_steps(p: Probe) -> Check:
    few, many = p.under(steps=10), p.under(steps=60)
    return Check("more steps are not weaker", many <= few + p.slack, f"10: {few:.1%}, 60: {many:.1%}", "60 at most 10")


def _one_step(p: Probe) -> Check:
    one, many = p.accuracy(fgsm(p.attack.epsilon, p.attack.norm)(p.logits, p.x, p.y)), p.under()
    passed = many <= one + p.slack
    return Check("one step is not stronger than twenty", passed, f"1: {one:.1%}, 20: {many:.1%}", "20 at most 1")


def _noise(p: Probe) -> Check:
    ball = Ball(p.attack.epsilon, p.attack.norm)
    noisy = min(
        p.accuracy(ball.project(p.x + p.attack.epsilon * ball.steepest(torch.randn_like(p.x)), p.x)) for _ in range(3)
    )
    value = p.under()
    passed = value <= noisy + p.slack
    return Check(
        "random noise is not stronger", passed, f"noise {noisy:.1%}, attack {value:.1%}", "attack at most noise"
    )


def _scale(p: Probe) -> Check:
    """Where logits are too large, or too much alike, cross-entropy misses adversarial images that it finds after the
    logits are scaled. That spoils a number only if the attacks behind it miss them as well."""
    values = [p.under(lambda x, factor=factor: factor * p.logits(x)) for factor in (0.1, 1.0, 10.0)]
    reported = values[1] if p.withstood is None else p.withstood
    least = max(reported - SCALE_TOLERANCE, 0.0)
    words = ", ".join(f"{v:.1%}" for v in values)
    return Check(
        "the scale of the logits hides nothing",
        min(values) >= least,
        f"PGD-20 on logits times 0.1, 1, 10: {words}",
        f"at least {least:.1%}",
    )


def _black_box(p: Probe) -> Check:
    blind = p.accuracy(Square(p.attack.epsilon, p.attack.norm, queries=300)(p.logits, p.x, p.y))
    seeing = min(p.under(loss=loss) for loss in ("cross_entropy", "margin"))
    return Check(
        "an attack without gradients is not stronger",
        seeing <= blind + p.slack,
        f"Square {blind:.1%}, PGD {seeing:.1%}",
        "PGD at most Square",
    )


def _transfer(p: Probe, surrogate: Logits) -> Check:
    moved, value = p.accuracy(p.attack(surrogate, p.x, p.y)), p.under()
    passed = value <= moved + p.slack
    return Check(
        "another model's adversarial images are not stronger",
        passed,
        f"transfer {moved:.1%}, own {value:.1%}",
        "own at most transfer",
    )
