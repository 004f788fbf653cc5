"""The names and shapes of the tensors in the authors' own networks, written down once, against our networks.

``released_names.json`` has them at full depth, as their classes list them: MiSLAS 0fc381e, ResLT 9650d93,
TRADES 6e8e11b, LBGAT f7f33f0 and AT-BSL 23f433e. "bn1.*" is short for the five tensors of a BatchNorm.
LBGAT's wide network has the names of TRADES, and the ResNets of classifier-balancing have those of MiSLAS.
"""

import json
from pathlib import Path

import pytest
import torch

from ltlib import methods, models

NAMES = json.loads((Path(__file__).parent / "released_names.json").read_text(encoding="utf-8"))
NORM = ("weight", "bias", "running_mean", "running_var")
# whose network -> our method, its settings, backbone, frozen, classes
OURS = {
    "MiSLAS, CIFAR-100": ("crt", {}, "resnet32", False, 100),
    "MiSLAS, ImageNet-LT": ("crt", {}, "resnet50", False, 1000),
    "MiSLAS, Places-LT": ("crt", {}, "resnet152", True, 365),
    "ResLT, CIFAR-100": ("reslt", {"groups": "paper"}, "resnet32", False, 100),
    "ResLT, ImageNet-LT, ResNeXt-50": ("reslt", {"transform": "convolution"}, "resnext50", False, 1000),
    "TRADES, CIFAR-10": ("trades", {}, "wrn34_10", False, 10),
    "AT-BSL, CIFAR-10": ("at_bsl", {}, "resnet18", False, 10),
    "LBGAT, network T": ("cross_entropy", {}, "resnet18_lbgat", False, 100),
}


def spelt_out(names):
    for name, shape in names.items():
        if name.endswith(".*"):
            yield from ((name[:-1] + part, shape) for part in NORM)
            yield name[:-1] + "num_batches_tracked", []
        else:
            yield name, shape


@pytest.mark.parametrize("whose", NAMES)
def test_every_tensor_has_one_of_ours_of_its_shape_and_none_of_ours_is_left_over(whose):
    name, own, backbone, frozen, classes = OURS[whose]
    counts = torch.linspace(500, 5, classes).round()
    with torch.device("meta"):
        network = models.make(backbone, classes, (0.0,) * 3, (1.0,) * 3, frozen)
    method = methods.make(name, network, counts, **own)
    left = {n: list(t.shape) for n, t in method.state_dict().items()}
    for theirs, shape in spelt_out(NAMES[whose]):
        ours = method.released_name(theirs, network.backbone)
        if ours is None:
            assert theirs.startswith("sub_block1.")  # the copy of the first block that nothing uses
            continue
        assert left.pop(ours, "no such tensor, or named twice") == shape, theirs
    assert set(left) <= {"scale", "counts", "network.normalize.mean", "network.normalize.std"} | set(method.optional)
