"""The table of methods: a name is what ``--method``, ``-p method`` and ``Experiment(method=...)`` take."""

from __future__ import annotations

from torch import Tensor

from ltlib.methods.adversarial import ALP, ATBSL, TRADES, AdversarialTraining
from ltlib.methods.baselines import (
    BalancedSoftmax,
    CrossEntropy,
    DeferredReweighting,
    Focal,
    LogitAdjustment,
    Mixup,
    Resampling,
    Reweighting,
    TauNormalization,
)
from ltlib.methods.cmo import CMO
from ltlib.methods.dkl import DKL, DKLDistillation
from ltlib.methods.etf import ETF
from ltlib.methods.label_over_smooth import LabelOverSmooth
from ltlib.methods.lbgat import BGAT, LBGAT
from ltlib.methods.lift import LIFTHead
from ltlib.methods.margins import LDAM
from ltlib.methods.method import Method
from ltlib.methods.mislas import CRT, LWS, MiSLAS
from ltlib.methods.nearest_class_mean import NearestClassMean
from ltlib.methods.reslt import ResLT
from ltlib.methods.ride import RIDE
from ltlib.methods.ride_reslt import RIDEResLT
from ltlib.methods.robal import RoBal
from ltlib.methods.weight_balancing import WeightBalancing
from ltlib.models import Network

METHODS: dict[str, type[Method]] = {
    "cross_entropy": CrossEntropy,
    "mixup": Mixup,
    "resampling": Resampling,
    "reweighting": Reweighting,
    "focal": Focal,
    "ce_drw": DeferredReweighting,
    "ldam": LDAM,
    "balanced_softmax": BalancedSoftmax,
    "logit_adjustment": LogitAdjustment,
    "tau_norm": TauNormalization,
    "crt": CRT,
    "lws": LWS,
    "mislas": MiSLAS,
    "label_over_smooth": LabelOverSmooth,
    "weight_balancing": WeightBalancing,
    "etf": ETF,
    "cmo": CMO,
    "reslt": ResLT,
    "ride": RIDE,
    "ride_reslt": RIDEResLT,
    "dkl_distillation": DKLDistillation,
    "nearest_class_mean": NearestClassMean,
    "lift_head": LIFTHead,
    "at": AdversarialTraining,
    "at_bsl": ATBSL,
    "alp": ALP,
    "trades": TRADES,
    "dkl": DKL,
    "robal": RoBal,
    "bgat": BGAT,
    "lbgat": LBGAT,
}


def make(name: str, network: Network, counts: Tensor, **hyperparameters: object) -> Method:
    """The method called ``name``, a key of ``METHODS``."""
    return METHODS[name](network, counts, **hyperparameters)
