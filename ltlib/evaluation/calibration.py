"""Does the confidence tell the truth? Calibration errors from predicted probabilities, as fractions.

Notation: p (N, K) probabilities, y (N,) labels; confidence = max_k p_k, correct = [argmax_k p_k = y]. Every function
raises ``InputError`` on rows that are not finite and on probabilities that do not sum to 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ltlib.evaluation.valid import check_confidence, check_logits, check_probabilities


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax of float32 logits (N, K), in float64 because float32 confidences pile up at exactly 1."""
    check_logits(logits)
    z = logits.astype(np.float64)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def confidence_and_correct(p: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Top-1 confidence (N,) and whether the prediction is right (N,)."""
    check_probabilities(p, y)
    return p.max(axis=1), p.argmax(axis=1) == y


class Bins(NamedTuple):
    """A reliability diagram as numbers; all arrays (bins,)."""

    count: np.ndarray  #: images in the bin
    confidence: np.ndarray  #: their mean confidence, NaN where there are none
    accuracy: np.ndarray  #: share of them that are right, NaN where there are none

    @property
    def gap(self) -> np.ndarray:
        """|accuracy - confidence|, 0 in empty bins."""
        return np.nan_to_num(np.abs(self.accuracy - self.confidence))

    def expected_error(self) -> float:
        """sum_b n_b/n |acc_b - conf_b|"""
        return float((self.count * self.gap).sum() / max(self.count.sum(), 1))


def equal_width_bins(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> Bins:
    """Right-closed bins (b/B, (b+1)/B] on [0, 1]; a confidence of exactly 0 falls into the first, 1 into the last."""
    check_confidence(confidence, correct)
    edges = np.linspace(0, 1, bins + 1)
    return _fill(np.searchsorted(edges[1:-1], confidence, side="left"), confidence, correct, bins)


def equal_mass_bins(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> Bins:
    """Bins that hold the same number of images, to within one."""
    check_confidence(confidence, correct)
    rank = np.argsort(np.argsort(confidence, kind="stable"), kind="stable")
    return _fill(rank * bins // max(len(confidence), 1), confidence, correct, bins)


def _fill(which: np.ndarray, confidence: np.ndarray, correct: np.ndarray, bins: int) -> Bins:
    count = np.bincount(which, minlength=bins)

    def mean(value: np.ndarray) -> np.ndarray:
        total = np.bincount(which, weights=value, minlength=bins)
        return np.divide(total, count, out=np.full(bins, np.nan), where=count > 0)

    return Bins(count, mean(confidence), mean(correct))


def ece(p: np.ndarray, y: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599, eq. 3), 15 right-closed bins as in MiSLAS.

    ECE = sum_b n_b/n |acc_b - conf_b|
    """
    return equal_width_bins(*confidence_and_correct(p, y), bins).expected_error()


def mce(p: np.ndarray, y: np.ndarray, bins: int = 15) -> float:
    """Maximum calibration error: the largest |acc_b - conf_b| over the bins that hold images."""
    return float(equal_width_bins(*confidence_and_correct(p, y), bins).gap.max())


def adaptive_ece(p: np.ndarray, y: np.ndarray, bins: int = 15) -> float:
    """ECE over bins of equal mass (Nixon et al. 2019, arXiv 1904.01685)."""
    return equal_mass_bins(*confidence_and_correct(p, y), bins).expected_error()


def classwise_ece(p: np.ndarray, y: np.ndarray, bins: int = 15) -> float:
    """Mean over classes k of the ECE of p_k as the probability of "the class is k" (Kull et al. 2019)."""
    check_probabilities(p, y)
    return float(np.mean([equal_width_bins(p[:, k], y == k, bins).expected_error() for k in range(p.shape[1])]))


def confidence_gap(p: np.ndarray, y: np.ndarray) -> float:
    """Mean confidence minus accuracy: above 0 over-confident, below 0 under-confident."""
    confidence, correct = confidence_and_correct(p, y)
    return float(confidence.mean() - correct.mean())


def nll(logits: np.ndarray, y: np.ndarray) -> float:
    """Mean of -log p_y, from the logits, where it stays finite."""
    check_logits(logits, y)
    z = logits.astype(np.float64)
    z = z - z.max(axis=1, keepdims=True)
    return float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]).mean())


def brier(p: np.ndarray, y: np.ndarray) -> float:
    """Mean of sum_k (p_k - [k = y])^2, between 0 and 2."""
    check_probabilities(p, y)
    target = np.zeros_like(p)
    target[np.arange(len(y)), y] = 1
    return float(((p - target) ** 2).sum(axis=1).mean())
