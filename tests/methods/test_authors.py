"""Six training steps against the released code of the papers, whose losses are stored here.

They were measured with MiSLAS 0fc381e, ResLT 9650d93, TRADES 6e8e11b, LBGAT f7f33f0, AT-BSL and (on our backbone) RoBal
ab2f3a7, each on the weights and images of ``authors.py`` in float64, with the mixing weight and the noise of the attack
fixed. Momentum 0.9 throughout.
"""

import pytest
import torch

from ltlib import methods, models
from ltlib.data.loader import Batch
from ltlib.methods import baselines, mislas
from tests.methods.authors import STEPS, filled, images, noise

COUNTS = torch.tensor([50.0, 20, 8, 3, 3, 3, 3, 3, 2, 1], dtype=torch.float64)
SMALL, WIDE = ("resnet8", 6, 16, [0, 1, 2, 3, 4, 9]), ("wrn10_2", 4, 32, [0, 1, 2, 9])  # backbone, images, side, labels


def mixed(x, y, _alpha):
    """mixup with lambda 0.3 and each image's neighbour."""
    return 0.3 * x + 0.7 * x.roll(1, 0), y, y.roll(1), 0.3


@pytest.fixture(autouse=True)
def fixed(monkeypatch):
    monkeypatch.setattr(baselines, "mixup", mixed)
    monkeypatch.setattr(mislas, "mixup", mixed)
    monkeypatch.setattr(torch, "randn_like", noise)
    monkeypatch.setattr(torch, "rand_like", lambda like: (1 + noise(like)) / 2)
    # The losses in float64 too: near the clean image float32 rounds the KL so much that signs of its gradient differ.
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self)


ROBAL_R_100 = {"margin": 0.3, "tau_margin": 0.0, "tau": 0.0, "cosine_gamma": 1 / 16, "tau_evaluation": 1.7}
ROBAL_N_100 = {"regulariser": 3.0, "margin": 0.2, "tau_margin": 0.0, "tau": 0.0, "tau_evaluation": 1.5}

# (method, its settings, number of the stage, network and images, rate, weight decay, Nesterov), losses of the steps,
# and the sum of the absolute values of all weights and running statistics afterwards
CASES = {
    "MiSLAS, stage 1, mixup": (
        ("mislas", {}, 0, SMALL, 0.05, 2e-4, False),
        [2.278378090914, 2.053074284636, 1.916208590844, 1.71846329088, 1.587456876094, 1.490628368032],
        6034.408504107558,
    ),
    "MiSLAS, stage 2": (
        ("mislas", {}, 1, SMALL, 0.1, 2e-4, False),
        [2.29351552502, 2.262858459949, 2.211522086089, 2.152064147762, 2.095613219593, 2.049280941436],
        6086.005961159214,
    ),
    "MiSLAS, stage 2, mixup": (
        ("mislas", {"stage2_mixup_alpha": 1.0}, 1, SMALL, 0.1, 2e-4, False),
        [2.293190501131, 2.263827713545, 2.214966366543, 2.159015929251, 2.106874062832, 2.065381012771],
        6089.168234128938,
    ),
    "ResLT": (
        ("reslt", {"beta": 0.96, "groups": "paper"}, 0, SMALL, 0.05, 5e-4, True),
        [2.254921927199, 1.907957313764, 1.599487366228, 1.359083591829, 1.151595991544, 0.965253654009],
        6595.369758280708,
    ),
    "TRADES": (
        ("trades", {"attack_steps": 3}, 0, WIDE, 0.05, 2e-4, False),
        [2.23892363779, 2.131271378798, 1.845835791661, 1.523590561847, 1.475218787069, 1.380569750651],
        17330.866817259397,
    ),
    "AT-BSL": (
        ("at_bsl", {"attack_steps": 3}, 0, WIDE, 0.05, 5e-4, False),
        [2.326404073946, 2.208387022511, 2.842605341858, 2.992847976031, 2.060999365961, 1.630240711067],
        17337.97420766267,
    ),
    "LBGAT0": (
        ("lbgat", {"attack_steps": 3, "natural": "wrn10_2"}, 0, WIDE, 0.05, 2e-4, False),
        [2.345598333652, 2.07550879751, 1.932678628734, 1.841384444088, 1.669114921421, 1.465850668193],
        16902.483337490725,
    ),
    "LBGAT6": (
        ("lbgat", {"attack_steps": 3, "natural": "wrn10_2", "alpha": 6.0}, 0, WIDE, 0.05, 2e-4, False),
        [2.346454901153, 2.076510461462, 1.934444593265, 1.846999760036, 1.685023686232, 1.483587793979],
        17015.769732535307,
    ),
    "RoBal-R, CIFAR-10-LT": (
        ("robal", {"attack_steps": 3}, 0, WIDE, 0.05, 2e-4, False),
        [4.265384526855018, 4.729612737180773, 5.776846766562672, 3.546039641151095, 3.673746764537003, 3.728891067723],
        20963.972136259003,
    ),
    "RoBal-R, CIFAR-100-LT": (
        ("robal", {"attack_steps": 3} | ROBAL_R_100, 0, WIDE, 0.05, 2e-4, False),
        [5.207246428801605, 5.33520670882184, 5.8104661009008, 4.446912756141, 4.458856500348745, 4.364277989331],
        22077.09922968885,
    ),
    "RoBal-N, CIFAR-100-LT": (
        ("robal", {"attack_steps": 3} | ROBAL_N_100, 0, WIDE, 0.05, 2e-4, False),
        [4.216855335980726, 4.431165902121555, 4.25741110256, 3.385571342520, 3.421577846271513, 3.288924704047],
        22380.60181978485,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_six_steps_are_those_of_the_released_code(case):
    (name, own, stage, (backbone, count, side, labels), lr, weight_decay, nesterov), losses, checksum = CASES[case]
    network = models.make(backbone, 10, (0.0,) * 3, (1.0,) * 3)
    method = filled(methods.make(name, network, COUNTS, **own))
    batch = Batch(images(count, side), torch.tensor(labels))
    chosen = method.stages(1, "constant")[stage]
    method.begin(chosen)
    groups = [group | {"lr": lr * group.pop("lr_factor", 1.0)} for group in method.param_groups(chosen)]
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=0.9, weight_decay=weight_decay, nesterov=nesterov)
    found = []
    for _ in range(STEPS):
        loss = method.train().loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    assert found == pytest.approx(losses, abs=1e-10)
    state = {n: t for n, t in method.state_dict().items() if t.is_floating_point() and "normalize" not in n}
    if name == "lbgat":
        state = {n: t for n, t in state.items() if not n.startswith("natural.")}
    assert sum(t.abs().sum().item() for t in state.values()) == pytest.approx(checksum, rel=1e-11)
