"""The one interface between a paper and the engine.

A method is a network plus what a paper adds to it. It says which stages its training has, what a batch costs,
and what its logits are. The engine calls nothing else and knows nothing of any paper. To add a method, write
one file with one subclass and add its name to the table in ``ltlib/methods/__init__.py``.
"""

from __future__ import annotations

import inspect
from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from ltlib.attacks import PGD
from ltlib.data.loader import Batch
from ltlib.errors import InputError
from ltlib.methods.large import LARGE
from ltlib.models import Network
from ltlib.models.backbone import Backbone


class Passes(NamedTuple):
    """What one training image costs a network.

    One forward pass is the unit. A backward pass costs one more by the images and one more by the weights.
    """

    forward: float = 0  #: units, each as expensive as a forward pass
    training: int = 0  #: forward and backward passes that learn, images and weights; counted exactly for the network


@dataclass(frozen=True)
class Stage:
    """One stretch of training with an optimiser of its own.

    Attributes:
        name: what progress lines and metrics call it.
        epochs: passes of as many images as the training set holds.
        sampler: a name from ``ltlib.data.samplers.SAMPLERS``.
        schedule: a name from ``ltlib.training.schedule.SCHEDULES``.
        length: a name from ``ltlib.data.loader.LENGTHS``: how many batches make an epoch.
        partners: a sampler without a memory, by name, for a second stream of as many images; empty for none.
    """

    name: str
    epochs: int
    sampler: str
    schedule: str
    length: str = "all"
    partners: str = ""


class Method(nn.Module):
    """Base class, and by itself plain cross-entropy training.

    A subclass overrides what its paper changes. Its hyper-parameters are the keyword-only arguments of its
    ``__init__``, with the published values as defaults: they are what overrides of an experiment may name. With
    ``**settings`` a subclass hands those of its base on.

    Attributes:
        label: the name of the method with its published settings in every table, in the words of the papers.
        classifier_init: how the classifier starts, see :func:`ltlib.models.make`.
        sources: hyper-parameters that name a finished run to start from.

    Args:
        network: normalisation, backbone, classifier.
        counts: float tensor (K,), training images of each class. Kept as a buffer, so that it follows the
            method to its device; not part of the weights.
    """

    label: ClassVar[str]
    classifier_init: ClassVar[str] = "backbone"
    sources: ClassVar[tuple[str, ...]] = ()
    network: Network
    counts: Tensor

    def __init__(self, network: Network, counts: Tensor):
        super().__init__()
        self.network = network
        self.register_buffer("counts", counts.float(), persistent=False)

    def stages(self, epochs: int, schedule: str) -> tuple[Stage, ...]:
        """The stages of the training, given the recipe's number of epochs and schedule."""
        return (Stage("train", epochs, "instance_balanced", schedule),)

    @classmethod
    def published(cls, dataset: str, imbalance_factor: float, backbone: str = "") -> dict[str, object]:
        """What the paper's code sets for this data set and differs from the defaults: fields of the recipe, or
        hyper-parameters of the method.

        Args:
            dataset: a data set by name; on the large ones every method shares one recipe unless its paper has another.
            imbalance_factor: for papers that tune to it.
            backbone: the one that will be used, for papers that tune to it; empty for the paper's own.
        """
        return LARGE.get(dataset, {})

    def begin(self, stage: Stage) -> None:
        """Called before a stage's first batch, also after a resume: freeze or thaw here."""

    def wants_means(self, stage: Stage) -> bool:
        """Whether :meth:`take_means` shall be called before the first batch of a stage."""
        return False

    def take_means(self, means: Tensor) -> None:
        """Receives the mean feature of the training images of each class, (K, D), as the network makes them now."""

    def param_groups(self, stage: Stage) -> list[dict]:
        """Optimiser groups of a stage. A group's optional ``lr_factor`` multiplies the scheduled rate."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def loss(self, batch: Batch) -> Tensor:
        """Training loss of a batch, a scalar."""
        raise NotImplementedError

    def passes(self, stage: Stage) -> dict[str, Passes]:
        """What one training image costs in a stage, for each network.

        The keys are ``network``, or the hyper-parameter that names another backbone.
        """
        return {"network": Passes(training=1)}

    def phase(self, progress: float) -> Hashable | None:
        """Which steps are alike: those of one phase differ only in the numbers inside their tensors.

        The engine records one CUDA graph for each phase. ``None`` means that this step must not be recorded.

        Args:
            progress: of the batch at hand, see :class:`~ltlib.data.loader.Batch`.
        """
        return ()

    def held_out_attack(self) -> PGD | None:
        """The attack under which held-out images choose an epoch; None where clean images do."""
        return None

    def after_step(self) -> None:
        """Called after each step of the optimiser."""

    def logits(self, x: Tensor) -> Tensor:
        """What is evaluated: images in [0, 1] (B, 3, H, W) -> logits (B, K)."""
        return self.network(x)

    @classmethod
    def as_stage1(cls, hyperparameters: dict[str, object]) -> dict[str, object]:
        """A run of this method as the first stage of another: its loss, in the hyper-parameters of ``TwoStage``."""
        return {"mixup_alpha": 0.0, "balanced": False}

    def weight_norms(self) -> Tensor:
        """||w_k|| of each row of the classifier as it is used, (K,), scales and branches folded in.

        Raises:
            InputError: the classifier is not linear.
        """
        return self.plain_weights(self.state_dict())["classifier.weight"].norm(dim=1)

    # Checkpoints that the authors released

    optional: ClassVar[tuple[str, ...]] = ()  # beginnings of our names that such a file may lack

    @classmethod
    def released_name(cls, name: str, backbone: Backbone) -> str | None:
        """Our name of a tensor in a file of the authors; None for one that is not used.

        Args:
            name: theirs, without ``module.`` in front; the new block of Places-LT has ``block.`` in front.
            backbone: ours, whose class knows the names of its own layers.

        Raises:
            InputError: no released file has such a backbone.
        """
        part, _, rest = name.partition(".")
        if part in ("fc", "linear"):
            return f"network.classifier.{rest}"
        own = backbone.released_name(name)
        return own and f"network.backbone.{own}"

    @staticmethod
    def plain_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """From the weights of this method, those of a ``Network``: what a second stage starts from.

        Raises:
            InputError: the classifier is a cosine, which no linear one equals.
        """
        plain = {n.removeprefix("network."): t for n, t in weights.items() if n.startswith("network.")}
        if "classifier.bias" not in plain:
            raise InputError("A run with a cosine classifier cannot be taken over: name one with a linear classifier.")
        return plain


def hyperparameters(method: type[Method]) -> dict[str, object]:
    """Names and published values of a method's own hyper-parameters, its bases' too if it hands them on (``**``)."""
    found: dict[str, object] = {}
    for base in method.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters.values()
        found = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY} | found
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found


def check_positive(name: str, value: float) -> None:
    """Raise :class:`InputError` unless ``value`` is above zero."""
    if not value > 0:
        raise InputError(f"{name} must be above 0; got {value}.")


def check_weight(name: str, value: float) -> float:
    """``value``, if it is a weight: raise :class:`InputError` unless it is at least 0."""
    if not value >= 0:
        raise InputError(f"{name} must be at least 0; got {value}.")
    return value
