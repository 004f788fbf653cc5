"""The exercises of lesson 07."""

from __future__ import annotations

import math

import numpy as np

from ltlib.lesson.exercises.exercise import WrongAnswer, exercise


def _verify_shift(answer) -> None:
    mu, sigma, epsilon, odds = 0.12, 0.08, 0.05, 100.0
    given, right = float(answer(mu, sigma, epsilon, odds)), sigma**2 * math.log(odds) / (2 * (mu - epsilon))
    if math.isclose(given, right):
        if not math.isclose(float(answer(mu, sigma, epsilon, 1.0)), 0.0, abs_tol=1e-12):
            raise WrongAnswer("With odds of 1 the classes are alike, and the boundary must stay in the middle.")
        return
    hints = {
        "That is the boundary without attack: the attack brings the means nearer to each other.": (
            sigma**2 * math.log(odds) / (2 * mu)
        ),
        "An attack moves both classes, each by epsilon: they stand at +-(mu - epsilon), not further apart.": (
            sigma**2 * math.log(odds) / (2 * (mu + epsilon))
        ),
        "sigma enters by its square.": sigma * math.log(odds) / (2 * (mu - epsilon)),
        "The odds enter by their natural logarithm.": sigma**2 * odds / (2 * (mu - epsilon)),
        "Mind the 2: the means are 2 (mu - epsilon) apart.": sigma**2 * math.log(odds) / (mu - epsilon),
    }
    hint = next((h for h, wrong in hints.items() if math.isclose(given, wrong)), "")
    raise WrongAnswer(f"The boundary of the example is {right:.4f} from the middle; you return {given:.4f}. {hint}")


@exercise(_verify_shift)
def adversarial_shift(mu, sigma, epsilon, odds):
    """How far the boundary of adversarial training is from the middle, towards the rare class.

    The two classes are N(+mu, sigma^2) and N(-mu, sigma^2). The first is `odds` times as frequent.
    The attack moves every point by at most epsilon, which is less than mu.
    """
    return sigma**2 * np.log(odds) / (2 * (mu - epsilon))


def _verify_balanced_guided_loss(answer) -> None:
    robust = np.array([[1.0, 2.0, 0.0], [0.0, -1.0, 3.0]])
    natural = np.array([[2.0, 2.0, 0.0], [0.0, 1.0, 2.0]])
    labels, counts = np.array([1, 2]), np.array([100.0, 10.0, 1.0])

    def cross_entropy(z):
        log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
        return -log_p[[0, 1], labels].mean()

    prior, squares = np.log(counts), ((robust - natural) ** 2).mean()
    balanced, plain = ([cross_entropy(z + p) for z in (robust, natural)] for p in (prior, 0))
    given, right = float(answer(robust, natural, labels, counts)), squares + sum(balanced)
    if np.isclose(given, right):
        return
    subtracted = [cross_entropy(z - prior) for z in (robust, natural)]
    moved = ((robust + prior - natural) ** 2).mean()
    hints = {
        "Nothing is re-balanced yet: add log n to the logits of each cross-entropy.": squares + sum(plain),
        "The natural network is re-balanced, the robust one is not.": squares + plain[0] + balanced[1],
        "The robust network is re-balanced, its guide is not.": squares + balanced[0] + plain[1],
        "log n is added, not subtracted: it gives the frequent classes their advantage, so the network need not.": (
            squares + sum(subtracted)
        ),
        "The guidance compares the bare logits; log n belongs to the cross-entropies alone.": moved + sum(balanced),
        "The guidance is missing: the mean of the squares.": sum(balanced),
        "The mean of the squares runs over the images and the classes.": 3 * squares + sum(balanced),
        "The robust network learns the label too: its cross-entropy is missing.": squares + balanced[1],
    }
    hint = next((h for h, wrong in hints.items() if np.isclose(given, wrong)), "")
    raise WrongAnswer(f"The loss of the example is {right:.4f}; you return {given:.4f}. {hint}")


@exercise(_verify_balanced_guided_loss)
def balanced_guided_loss(robust, natural, labels, counts):
    """The loss of LBGAT with a balanced guide, as the table above has it, a number.

    robust (B, K): logits of R on adversarial images; natural (B, K): logits of T on the clean
    ones; labels (B,); counts (K,): training images n of each class.
    """

    def balanced_cross_entropy(z):
        z = z + np.log(counts)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        return -np.mean(log_p[np.arange(len(labels)), labels])

    return np.mean((robust - natural) ** 2) + balanced_cross_entropy(natural) + balanced_cross_entropy(robust)


def _verify_robust_few(answer) -> None:
    clean = np.array([1, 1, 0, 1, 0, 0, 0, 1], dtype=bool)
    after = np.array([1, 0, 0, 1, 1, 0, 0, 1], dtype=bool)
    few = np.array([0, 0, 0, 0, 1, 1, 1, 1], dtype=bool)
    given = float(answer(clean, after, few))
    if math.isclose(given, 0.25):
        return
    why = ""
    if math.isclose(given, 1.0):
        why = "You divide by the few-shot images that are right without an attack. All of them count."
    raise WrongAnswer(
        f"assert robust_few(...) == 0.25 fails: of four few-shot images one is right before and after the attack, and "
        f"you return {given:g}. {why}"
    )


def _faulty_robust_few(clean, after, few):
    """Robust accuracy on the few-shot classes. It has one bug: find it.

    clean, after, few: (N,) bool: right without the attack, right under it, of a few-shot class.
    """
    return np.mean(after[few & clean])


@exercise(_verify_robust_few, _faulty_robust_few)
def robust_few(clean, after, few):
    """Robust accuracy on the few-shot classes.

    clean, after, few: (N,) bool: right without the attack, right under it, of a few-shot class.
    """
    return np.mean((clean & after)[few])
