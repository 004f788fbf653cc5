"""What every method says about itself."""

import pytest

from ltlib.methods import METHODS

LABELS = {
    "cross_entropy": "cross-entropy",
    "mixup": "mixup",
    "resampling": "re-sampling",
    "reweighting": "class-balanced weights",
    "focal": "focal",
    "ce_drw": "CE-DRW",
    "ldam": "LDAM-DRW",
    "balanced_softmax": "Balanced Softmax",
    "logit_adjustment": "logit adjustment, post hoc",
    "tau_norm": "tau-norm",
    "crt": "cRT",
    "lws": "LWS",
    "mislas": "MiSLAS",
    "label_over_smooth": "LOS",
    "weight_balancing": "weight balancing",
    "etf": "ETF",
    "cmo": "CE-DRW + CMO",
    "reslt": "ResLT",
    "ride": "RIDE",
    "ride_reslt": "RIDE + ResLT",
    "dkl_distillation": "GKL distillation",
    "nearest_class_mean": "nearest class mean",
    "lift_head": "LIFT's head",
    "at": "AT",
    "at_bsl": "AT-BSL",
    "alp": "ALP",
    "trades": "TRADES 6",
    "dkl": "GKL-AT",
    "robal": "RoBal",
    "bgat": "BGAT",
    "lbgat": "LBGAT0",
}


@pytest.mark.parametrize("name", METHODS)
def test_each_method_has_a_label_of_its_own(name):
    assert vars(METHODS[name])["label"] == LABELS[name]  # an inherited label would join two methods in one row
