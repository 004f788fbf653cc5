"""Temperature scaling (Guo et al. 2017, arXiv 1706.04599, section 4.2): one number repairs the confidence afterwards.

softmax(z / T) has the same largest entry as softmax(z), so that no prediction changes; only how sure it is. T is
fitted on held-out images, never on the test set that is then reported.
"""

from __future__ import annotations

import math

import numpy as np

from ltlib.errors import InputError
from ltlib.evaluation.calibration import probabilities
from ltlib.evaluation.valid import check_logits

RANGE = (0.02, 50.0)  # of the temperatures that are searched


def fit_temperature(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The temperature T with the smallest mean negative log-likelihood of softmax(z / T).

    With b = 1/T the objective is mean(log sum_k exp(b z_k) - b z_y), which is convex in b; its derivative
    mean(sum_k p_k z_k - z_y), p = softmax(b z), grows with b, so that bisection finds the one place where it is 0.

    Args:
        logits: (N, K) of held-out images.
        labels: (N,) their true classes.
        weights: (N,), not negative, how much each image counts; all alike by default. Where the held-out images
            are long-tailed and the test set is balanced, 1 / (held-out images of the class) makes them agree.

    Returns:
        T; above 1 the model was over-confident. An end of ``RANGE`` where the best T lies outside: a model that
        is always right wants T = 0, one that is worse than guessing wants an infinite T.

    Raises:
        InputError: there is no image, the shapes do not agree, a logit is not finite, or the weights are not usable.
    """
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=np.float64)
    if not len(labels) or len(logits) != len(labels) or weights.shape != (len(labels),):
        raise InputError(
            f"A temperature needs at least one held-out image, with logits, a label and a weight each; got "
            f"{len(logits)} rows of logits, {len(labels)} labels and weights of shape {weights.shape}."
        )
    if not (np.isfinite(weights).all() and weights.min() >= 0 and weights.sum() > 0):
        raise InputError("The weights must be finite, not negative, and not all 0.")
    check_logits(logits, labels)
    z = logits.astype(np.float64)
    z_y = z[np.arange(len(labels)), labels]

    def slope(b: float) -> float:
        # d NLL / d b = mean(sum_k p_k z_k - z_y)
        return float(np.average((probabilities(b * z) * z).sum(axis=1) - z_y, weights=weights))

    low, high = (math.log(1 / t) for t in reversed(RANGE))  # of log b
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (low, middle) if slope(math.exp(middle)) > 0 else (middle, high)
    return math.exp(-low)
