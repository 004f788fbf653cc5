"""What a sceptic asks before believing a robust number. Each check fails if the attack failed, not the network.

After Carlini et al. 2019 (arXiv 1902.06705) and the warnings of AutoAttack (Croce and Hein 2020, arXiv 2003.01690).
Two kinds of questions are asked. The first are about the network: are its gradients its own, are its logits a function
of one image? The second are about the reported attack: does any other attack, even a weak one, fool the network on an
image that the reported attack left as robust? Many failing attacks do not pass; passing is no proof.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ltlib.attacks import PGD, Ball, Square, fgsm
from ltlib.attacks.autoattack import Attack, in_turn
from ltlib.attacks.ball import Logits, input_gradient
from ltlib.attacks.losses import margin
from ltlib.evaluation.forward import calls_autograd, gradient_errors, spread_alone

TOLERANCE = 0.02  # of an accuracy on the images of the checks, or one image: attacks start at random points
STRONGER = 0.05  # or two images: what a strong attack may break besides, since no two runs break the same images
GRADIENT_ERROR = 0.25  # of a gradient against finite differences, relative; honest networks reach 0.1
ALONE = 1e-4  # difference of logits, relative to their range, that rounding may cause


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
        attack: PGD-20 on the margin with the epsilon of the evaluation; the checks vary it. The margin does not
            saturate, so what it finds does not depend on the scale of the logits.
        held: (B,) bool, which of these images are right clean and after the reported attacks.
    """

    logits: Logits
    x: Tensor
    y: Tensor
    attack: PGD
    held: Tensor

    @property
    def slack(self) -> float:
        """By how much two accuracies may differ by chance."""
        return max(TOLERANCE, 1 / len(self.x)) + 1e-6

    @property
    def more(self) -> float:
        """Which share of the images another strong attack may break beyond the reported ones."""
        return max(STRONGER, 2 / len(self.x)) + 1e-6

    def accuracy(self, x: Tensor) -> float:
        with torch.no_grad():
            return (self.logits(x).argmax(1) == self.y).float().mean().item()

    def under(self, **changes: object) -> float:
        """Accuracy under the attack with some settings changed."""
        return self.accuracy(replace(self.attack, **changes)(self.logits, self.x, self.y))

    def with_epsilon(self, epsilon: float, **changes: object) -> float:
        return self.under(epsilon=epsilon, step_size=max(epsilon / 8, 1e-12), **changes)

    def breaks(self, attack: Callable[[Logits, Tensor, Tensor], Tensor], logits: Logits | None = None) -> float:
        """Share of all images that held against the reported attacks and fall to this one.

        Args:
            logits: the network that the attack looks at, by default the attacked one.
        """
        x, y = self.x[self.held], self.y[self.held]
        if not len(x):
            return 0.0
        x_adv = attack(logits or self.logits, x, y)
        with torch.no_grad():
            return (self.logits(x_adv).argmax(1) != y).sum().item() / len(self.x)


def sanity(
    logits: Logits,
    x: Tensor,
    y: Tensor,
    attacks: Mapping[str, Attack],
    *,
    held: Tensor | None = None,
    surrogate: Logits | None = None,
) -> list[Check]:
    """The checks, on a few images.

    Args:
        logits: the model, in evaluation mode.
        x, y: images in [0, 1] (B, C, H, W) and labels (B,); a hundred or so.
        attacks: the attacks of the report, of one epsilon and norm.
        held: (B,) bool, which images are right clean and after these attacks; by default they are run here.
        surrogate: another model on the same classes, whose adversarial images are tried on this one.
    """
    x = x.contiguous()
    if held is None:
        held = list(in_turn(dict(attacks), logits, x, y)[2].values())[-1]
    first = next(iter(attacks.values()))
    epsilon, norm = first.epsilon, first.norm
    probe = Probe(logits, x, y, PGD(epsilon, norm, step_size=max(epsilon / 8, 1e-12), loss="margin"), held)
    checks = [check(probe) for check in CHECKS]
    if surrogate:
        checks.append(_transfer(probe, surrogate))
    return checks


# ---- of the network


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


def _alone(p: Probe) -> Check:
    apart = spread_alone(p.logits, p.x)
    return Check(
        "an image alone has the same logits as in a batch",
        apart <= ALONE,
        "an image alone cannot be evaluated" if math.isinf(apart) else f"difference {apart:.2g} of their range",
        f"at most {ALONE:g}",
    )


def _no_autograd(p: Probe) -> Check:
    called = calls_autograd(p.logits, p.x[:4])
    words = "gradients are computed in it" if called else "none"
    return Check("no gradient is computed in the forward pass", not called, words, "none")


def _gradients(p: Probe) -> Check:
    gradient, _ = input_gradient(lambda x: margin(p.logits(x), p.y), p.x)
    finite = bool(torch.isfinite(gradient).all())
    zero = (gradient.flatten(1).abs().amax(1) == 0).float().mean().item()
    return Check(
        "gradients are finite and not zero",
        finite and zero <= p.slack,
        f"{zero:.0%} of the images have none" if finite else "some are not finite",
        f"finite, and zero for at most {TOLERANCE:.0%} of the images",
    )


def _own_gradients(p: Probe) -> Check:
    error = gradient_errors(p.logits, p.x[:32], p.y[:32], Ball(p.attack.epsilon, p.attack.norm)).median().item()
    return Check(
        "gradients agree with finite differences",
        error <= GRADIENT_ERROR,
        f"relative error {error:.2f} for the median image",
        f"at most {GRADIENT_ERROR}",
    )


def _epsilon_zero(p: Probe) -> Check:
    clean, none = p.accuracy(p.x), p.with_epsilon(0.0, steps=5)
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


# ---- of the reported attack: what it left, no other attack may break


def _finds_no_more(name: str, words: str, share: float, most: float) -> Check:
    """A check that passes if another attack breaks at most a share of ``most`` beyond the reported one."""
    return Check(name, share <= most, f"{words} breaks {share:.1%} more", f"at most {most:.0%} more")


def _more_steps(p: Probe) -> Check:
    share = p.breaks(replace(p.attack, steps=60))
    return _finds_no_more("more steps find nothing more", "PGD-60 on the margin", share, p.more)


def _one_step(p: Probe) -> Check:
    share = p.breaks(fgsm(p.attack.epsilon, p.attack.norm))
    return _finds_no_more("one step finds nothing more", "FGSM", share, p.slack)


def _noise(p: Probe) -> Check:
    ball = Ball(p.attack.epsilon, p.attack.norm)

    def noise(logits: Logits, x: Tensor, y: Tensor) -> Tensor:
        return ball.project(x + p.attack.epsilon * ball.steepest(torch.randn_like(x)), x)

    share = max(p.breaks(noise) for _ in range(3))
    return _finds_no_more("random noise finds nothing more", "noise of this size", share, p.slack)


def _scale(p: Probe) -> Check:
    """Where logits are too large, or too much alike, cross-entropy misses adversarial images that it finds after the
    logits are scaled. That spoils a number only if the attacks behind it miss them as well."""
    by_label = replace(p.attack, loss="cross_entropy")
    shares = [p.breaks(by_label, lambda x, factor=factor: factor * p.logits(x)) for factor in (0.1, 1.0, 10.0)]
    words = ", ".join(f"{share:.1%}" for share in shares)
    return Check(
        "the scale of the logits hides nothing",
        max(shares) <= p.more,
        f"PGD-20 on logits times 0.1, 1, 10 breaks {words} more",
        f"at most {p.more:.0%} more",
    )


def _black_box(p: Probe) -> Check:
    share = p.breaks(Square(p.attack.epsilon, p.attack.norm, queries=300, rescale=True))
    return _finds_no_more("an attack without gradients finds nothing more", "Square", share, p.slack)


def _transfer(p: Probe, surrogate: Logits) -> Check:
    share = p.breaks(p.attack, surrogate)
    return _finds_no_more("another model's adversarial images find nothing more", "transfer", share, p.more)


CHECKS = (
    _deterministic,
    _no_probabilities,
    _alone,
    _no_autograd,
    _gradients,
    _own_gradients,
    _epsilon_zero,
    _monotone,
    _large_epsilon,
    _more_steps,
    _one_step,
    _noise,
    _scale,
    _black_box,
)
