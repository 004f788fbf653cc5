"""The classifier of LIFT (Shi et al., ICML 2024, *Long-Tail Learning with Foundation Model: Heavy Fine-Tuning Hurts*).

LIFT (arXiv 2309.10019) leaves a pretrained network as it is, adds small adapters, and trains them with the classifier
of this file. The adapters are not here: what learns besides the classifier is what the network lets learn. On frozen
features that is nothing.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ltlib import paths
from ltlib.data.loader import Batch
from ltlib.errors import InputError, check_choice
from ltlib.methods.baselines import log_prior
from ltlib.methods.margins import CosineClassifier
from ltlib.methods.method import Method, Stage
from ltlib.models import Network

STARTS = ("class_mean", "text", "random")


class LIFTHead(Method):
    """A cosine classifier, trained with the logit-adjusted loss, which starts from class means or from words.

    Symbols:
        - w_k: row k of the classifier.
        - m_k: mean feature of class k.
        - s: the setting ``scale``.
        - tau: strength of the logit adjustment, a setting.

    Paper against code:
        - The paper and its code adapt the network by AdaptFormer. Here only the classifier is added.
        - The paper averages predictions over shifted crops of a test image. Here each image is seen once.

    Args:
        scale: s of the cosine, above 0.
        tau: at least 0, strength of the adjustment; 0 is plain cross-entropy.
        start: first rows of the classifier: ``class_mean``, the mean training feature of each class; ``text``, what
            ``text_features`` holds; ``random``.
        text_features: a ``.npy`` file of your own with one feature for the name of each class, (K, D), of the text
            encoder that belongs to the frozen network, such as CLIP's.

    Raises:
        InputError: a value is out of its range, or the text features cannot be used.
    """

    label = "LIFT's head"
    prior: Tensor

    def __init__(
        self,
        network: Network,
        counts: Tensor,
        *,
        scale: float = 25.0,
        tau: float = 1.0,
        start: str = "class_mean",
        text_features: str = "",
    ):
        super().__init__(network, counts)
        check_choice("start", start, STARTS)
        if (start == "text") != bool(text_features):
            raise InputError(
                f"start=text and text_features=FILE go together; got start={start}, text_features={text_features!r}."
            )
        network.classifier = CosineClassifier(network.classifier, scale)
        self.register_buffer("prior", log_prior(self.counts, tau), persistent=False)
        self.start = start
        if start == "text":
            self.take_means(read_text_features(text_features, network.classifier))

    def wants_means(self, stage: Stage) -> bool:
        return self.start == "class_mean"

    def take_means(self, means: Tensor) -> None:
        # w_k = m_k / |m_k|
        with torch.no_grad():
            self.network.classifier.weight.copy_(F.normalize(means))

    def loss(self, batch: Batch) -> Tensor:
        # L = -log( n_y^tau exp(s cos(w_y, f)) / sum_k n_k^tau exp(s cos(w_k, f)) )
        return F.cross_entropy(self.network(batch.x).float() + self.prior, batch.y)


def read_text_features(file: str, classifier: torch.nn.Linear) -> Tensor:
    """One feature per class, (K, D).

    Raises:
        InputError: the file cannot be read, or does not fit the classifier.
    """
    shape = (classifier.out_features, classifier.in_features)
    try:
        found = np.load(paths.user_path(file, "text_features"), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"text_features={file} cannot be read ({error}): save the array by numpy.save.") from error
    if not isinstance(found, np.ndarray) or found.shape != shape or not np.isfinite(found).all():
        raise InputError(
            f"text_features={file} must hold finite numbers of shape {shape}, one row per class; got "
            f"{getattr(found, 'shape', type(found).__name__)}."
        )
    return torch.from_numpy(found).float()
