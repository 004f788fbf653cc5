"""RIDE: its experts, its loss by the released code, and its recipe."""

import copy

import pytest
import torch
import torch.nn.functional as F

from ltlib import methods, models
from ltlib.data.loader import Batch
from ltlib.errors import InputError
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.recipe import resolve
from ltlib.methods.baselines import effective_weights
from ltlib.methods.margins import margins, with_margin
from ltlib.methods.ride import class_temperatures, diversity

COUNTS = torch.tensor([100, 30, 5])


def make(backbone="resnet8", **own):
    torch.manual_seed(0)
    return methods.make("ride", models.make(backbone, 3, (0.5,) * 3, (0.2,) * 3), COUNTS, **own)


def batch():
    torch.manual_seed(1)
    return Batch(torch.rand(9, 3, 8, 8), torch.arange(9) % 3)


@pytest.mark.parametrize(
    ("late", "loss", "slope"),
    [(False, 33.13748656860306, 6.000643385984455), (True, 51.576545186082434, 6.016005862360616)],
)
def test_loss_gives_the_numbers_of_the_released_code(late, loss, slope):
    """``RIDELoss`` with the diversity factor of CIFAR-100-LT, before and after epoch 160, in float64."""
    counts = torch.tensor([50.0, 20, 8, 1], dtype=torch.double)
    y = torch.tensor([0, 2, 2, 1, 3, 0])
    z = (3 * torch.sin(torch.arange(72, dtype=torch.double) * 1.3)).view(3, 6, 4).requires_grad_()
    margin = 30 * 0.5 * counts**-0.25
    weights = effective_weights(counts, 0.9999).double() if late else None
    temperatures = class_temperatures(counts, 0.05).double() if late else torch.ones(4)
    own = sum(F.cross_entropy(with_margin(e, y, margin), y, weight=weights) for e in z)
    found = own - 0.45 * diversity(z, temperatures)
    found.backward()
    assert found.item() == pytest.approx(loss, rel=1e-6)  # weights and temperatures are kept in float32
    assert z.grad.abs().sum().item() == pytest.approx(slope, rel=1e-6)


def test_temperatures_by_hand():
    """0.05 * 3 * n / 135 + 0.95 over the largest; 1 for all where the factor is 0 or the counts are equal."""
    t = [0.05 * 3 * n / 135 + 0.95 for n in (100, 30, 5)]
    assert class_temperatures(COUNTS, 0.05).tolist() == pytest.approx([v / t[0] for v in t])
    assert class_temperatures(COUNTS, 0.0).tolist() == [1.0] * 3
    assert class_temperatures(torch.tensor([7, 7]), 0.5).tolist() == pytest.approx([1.0] * 2)


def test_experts_that_agree_have_no_diversity():
    z = torch.randn(1, 6, 3).expand(4, 6, 3)
    assert diversity(z, torch.ones(3)).item() == pytest.approx(0, abs=1e-6)
    assert diversity(torch.randn(4, 6, 3), torch.ones(3)) > 0


@pytest.mark.parametrize("late", [False, True])
def test_loss_by_hand(late):
    method = make(drw_start=0.0 if late else 1.0, diversity_weight=0.3, cb_beta=0.9, scale=5.0)
    method.begin(method.stages(10, "constant")[0])
    method.eval()
    b = batch()
    z = method.expert_logits(b.x)
    weights = effective_weights(COUNTS, 0.9) if late else None
    t = class_temperatures(COUNTS, 0.05) if late else torch.ones(3)
    mean = (z.mean(0) / t).softmax(1)
    expected = 0.0
    for e in z:
        expected += F.cross_entropy(with_margin(e, b.y, 5 * margins(COUNTS, 0.5)), b.y, weight=weights)
        divergence = (mean * (mean.log() - (e / t).log_softmax(1))).sum(1).mean()
        expected -= 0.3 * t.mean() ** 2 * divergence
    torch.testing.assert_close(method.loss(b), expected)
    torch.testing.assert_close(method.logits(b.x), z.mean(0))


def test_experts_share_the_first_stage_and_nothing_else():
    method = make(experts=4).eval()
    x = batch().x
    z = method.expert_logits(x)
    assert z.shape == (4, 9, 3)
    torch.testing.assert_close(z[0], method.network(x))  # the network is the first expert
    changed = copy.deepcopy(method)
    with torch.no_grad():
        changed.others[1].later[0][0].conv1.weight.add_(1)
        assert [torch.equal(a, b) for a, b in zip(changed.expert_logits(x), z, strict=True)] == [
            True,
            True,
            False,
            True,
        ]
        changed.network.backbone.stage1[0].conv1.weight.add_(1)
        assert not any(torch.equal(a, b) for a, b in zip(changed.expert_logits(x), z, strict=True))


def test_experts_start_differently():
    z = make().eval().expert_logits(batch().x)
    assert not torch.allclose(z[1], z[2])
    assert not torch.allclose(z[0], z[1])


@pytest.mark.parametrize(("narrow", "channels"), [(True, (24, 48)), (False, (32, 64))])
def test_parameters_are_those_of_the_released_network(narrow, channels):
    """The shared stem and stage, and for each expert two stages and a cosine classifier without a bias."""
    method = make("resnet32", narrow=narrow)
    middle, last = channels

    def block(before, after):
        return 9 * before * after + 9 * after**2 + 4 * after

    shared = 27 * 16 + 32 + 5 * block(16, 16)
    expert = block(16, middle) + 4 * block(middle, middle) + block(middle, last) + 4 * block(last, last) + 3 * last
    assert sum(p.numel() for p in method.parameters()) == shared + 3 * expert


def test_published_recipe():
    recipe, own = resolve(Experiment("ride", "cifar100", profile="paper"))
    assert (recipe.backbone, recipe.epochs, recipe.batch_size, recipe.lr) == ("resnet32", 200, 128, 0.1)
    assert (recipe.weight_decay, recipe.nesterov, recipe.schedule) == (5e-4, True, "step_ldam")
    assert (own["experts"], own["diversity_weight"], own["temperature_factor"]) == (3, 0.45, 0.05)
    assert (own["scale"], own["max_margin"], own["drw_start"], own["cb_beta"]) == (30.0, 0.5, 0.8, 0.9999)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"experts": 1}, "experts must be at least 2; got 1"),
        ({"diversity_weight": -0.1}, "diversity_weight must be at least 0; got -0.1"),
        ({"temperature_factor": 1.0}, "temperature_factor must be at least 0 and below 1; got 1.0"),
        ({"max_margin": -0.5}, "max_margin must be at least 0; got -0.5"),
        ({"backbone": "wrn10_2"}, "choose a backbone such as resnet32"),
    ],
)
def test_hyperparameters_are_checked(own, message):
    with pytest.raises(InputError, match=message):
        make(**own)
