"""A network whose BatchNorm is folded into its convolutions gives the same values, and is itself again afterwards."""

import contextlib

import pytest
import torch
from torch import nn

from ltlib import methods, models
from ltlib.attacks import attacked
from ltlib.data.loader import Batch
from ltlib.models.folded import find_pairs, folded

# How many BatchNorm layers follow a convolution, of how many. In a Wide ResNet every second one reads a sum.
FOLDS = {
    "resnet8": (7, 7),
    "resnet18": (20, 20),
    "wrn10_2": (3, 7),
    "preact_resnet18": (8, 17),
    "resnet10": (4, 12),
}


def trained(name: str, classes: int = 5) -> models.Network:
    """A network in float64 whose BatchNorm layers do something, as after a training."""
    torch.manual_seed(0)
    network = models.make(name, classes, (0.5,) * 3, (0.25,) * 3).double().eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            for values, low, high in ((part.running_mean, -1, 1), (part.running_var, 0.1, 2)):
                values.uniform_(low, high)
            for values, low, high in ((part.weight, 0.5, 2), (part.bias, -1, 1)):
                nn.init.uniform_(values, low, high)
    return network


def logits_and_gradient(network, x):
    x = x.clone().requires_grad_()
    z = network(x)
    return z.detach(), torch.autograd.grad(z.square().sum(), x)[0]


@pytest.mark.parametrize("name", FOLDS)
def test_logits_and_gradients_are_equal_in_float64(name):
    network, x = trained(name), torch.rand(3, 3, 16, 16, dtype=torch.float64)
    calls = []
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.register_forward_hook(lambda *_: calls.append(1))
    expected = logits_and_gradient(network, x)
    assert (len(find_pairs(network)), len(calls)) == FOLDS[name]
    calls.clear()
    with folded(network):
        found = logits_and_gradient(network, x)
    assert len(calls) == FOLDS[name][1] - FOLDS[name][0]
    for ours, plain in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-10 * float(plain.abs().max()))


@pytest.mark.parametrize("backbone", ["resnet8", "wrn10_2"])
@pytest.mark.parametrize("attack", ["cross_entropy", "kl"])
def test_adversarial_training_finds_the_images_that_the_plain_network_gives(backbone, attack):
    """Ten steps in float64: a sign of the gradient would turn only where it is 0 but for rounding."""
    network = trained(backbone)
    method = methods.make("at", network, torch.ones(5), attack=attack).double().train()
    batch = Batch(torch.rand(4, 3, 16, 16, dtype=torch.float64), torch.arange(4))
    torch.manual_seed(1)
    found = method.adversarial(batch)
    torch.manual_seed(1)
    with attacked(network):
        expected = method.attack(network, *batch[:2])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert (expected - batch.x).abs().amax() > 0.02


def test_in_bfloat16_the_gradient_is_as_close_to_the_exact_one_as_without_folding():
    """Each feature map is rounded once less. The mean over some draws may still be a tenth larger by chance."""
    errors = {False: 0.0, True: 0.0}
    for seed in range(3):
        network = trained("resnet8")
        torch.manual_seed(seed)
        x = torch.rand(8, 3, 16, 16, dtype=torch.float64)
        _, exact = logits_and_gradient(network, x)
        network.float()
        for fold in errors:
            inside = folded(network) if fold else contextlib.nullcontext()
            with inside, torch.autocast("cpu", torch.bfloat16), attacked(network):
                _, found = logits_and_gradient(network, x.float())
            errors[fold] += float((found - exact).norm() / exact.norm())
    assert 0 < errors[True] < 1.1 * errors[False]


@pytest.mark.parametrize("fails", [False, True])
def test_afterwards_every_layer_weight_and_mode_is_as_before(fails):
    network = trained("resnet18").train()
    network.backbone.stages[0].bn1.eval()
    modules = [(name, part, part.training) for name, part in network.named_modules()]
    before = {name: (t, t.clone(), t.requires_grad) for name, t in network.state_dict(keep_vars=True).items()}
    with pytest.raises(ZeroDivisionError) if fails else torch.no_grad(), folded(network), attacked(network):
        assert network(torch.rand(2, 3, 8, 8, dtype=torch.float64)).shape == (2, 5)
        if fails:
            raise ZeroDivisionError
    assert [(name, part, part.training) for name, part in network.named_modules()] == modules
    after = network.state_dict(keep_vars=True)
    assert list(after) == list(before)
    for name, (tensor, values, requires_grad) in before.items():
        assert after[name] is tensor
        assert torch.equal(after[name], values)
        assert after[name].requires_grad == requires_grad
    assert all(part.bias is None for part in network.modules() if isinstance(part, nn.Conv2d))


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d(4, affine=False), nn.BatchNorm2d(4, track_running_stats=False), nn.GroupNorm(2, 4)]
)
def test_what_has_no_fixed_scale_and_shift_stays_as_it_is(norm):
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), norm, nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)).eval()
    x = torch.rand(2, 3, 8, 8)
    expected = network(x)
    with folded(network):
        assert torch.equal(network(x), expected)


def test_each_layer_keeps_its_own_epsilon():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, eps=0.5), nn.Conv2d(4, 2, 3, bias=False), nn.BatchNorm2d(2)
    )
    network, x = network.double().eval(), torch.rand(2, 3, 8, 8, dtype=torch.float64)
    expected = network(x)
    with folded(network):
        torch.testing.assert_close(network(x), expected, rtol=1e-12, atol=1e-12)
