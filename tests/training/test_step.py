"""The parts of a step, against the tools of torch that do the same with the host's help."""

import pytest
import torch
from torch import nn

from ltlib.training.step import Guard, LossScale, counted_together, fuse

CPU = torch.device("cpu")


def test_the_loss_scale_follows_the_rule_of_gradscaler(monkeypatch):
    """Both see the same gradients, some of which overflow: equal scales, weights and left-out steps."""
    monkeypatch.setattr(LossScale, "interval", 3)
    theirs = torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=3)
    weights = [nn.Parameter(torch.ones(4)) for _ in range(2)]
    plain = torch.optim.SGD(weights[:1], lr=0.1, momentum=0.9)
    fused = torch.optim.SGD(weights[1:], lr=0.1, momentum=0.9, fused=True)
    guard = Guard(CPU, "float16")
    fuse(fused, guard.skip)
    for bad in (True, False, False, False, True, True, False, False, False, False):
        factor = torch.inf if bad else 2.0
        theirs.scale((weights[0] * factor).sum()).backward()
        theirs.step(plain)
        theirs.update()
        plain.zero_grad()

        guard.scaled((weights[1] * factor).sum()).backward()
        guard.check(torch.zeros(()), [weights[1].grad])
        fused.step()
        fused.zero_grad()
        assert guard.scale.value.item() == theirs.get_scale()
        assert float(guard.skip) == bad
        torch.testing.assert_close(weights[1], weights[0], rtol=1e-6, atol=0)
    assert guard.scale.value.item() == 2.0**15
    assert float(guard.halt) == 0


def test_a_gradient_that_is_never_finite_halts_once_the_scale_is_below_one():
    guard = Guard(CPU, "float16")
    halted = []
    for _ in range(18):
        guard.check(torch.zeros(()), [torch.tensor([torch.nan])])
        halted.append(bool(guard.halt))
    assert halted == [False] * 16 + [True] * 2


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
def test_a_loss_that_is_not_finite_halts_for_ever(precision, bad):
    guard = Guard(CPU, precision)
    guard.check(torch.tensor(1.0), [torch.ones(2)])
    assert float(guard.halt) == float(guard.skip) == 0
    guard.check(torch.tensor(bad), [torch.ones(2)])
    guard.check(torch.tensor(1.0), [torch.ones(2)])
    assert float(guard.halt) == float(guard.skip) == 1


def test_gradients_are_left_as_they_are_without_a_scale():
    gradients = [torch.randn(5), torch.randn(3, 2)]
    before = [g.clone() for g in gradients]
    Guard(CPU, "bfloat16").check(torch.tensor(1.0), gradients)
    assert all(torch.equal(a, b) for a, b in zip(gradients, before, strict=True))


def test_batches_are_counted_together_by_layers_that_train_only():
    network = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2)).train()
    network[1].eval()
    with counted_together(network, 4):
        assert "0.num_batches_tracked" not in network.state_dict()
        for _ in range(4):
            network(torch.randn(3, 2))
    assert [int(layer.num_batches_tracked) for layer in network] == [4, 0]
    with pytest.raises(KeyError), counted_together(network, 4):
        raise KeyError
    assert int(network[0].num_batches_tracked) == 4
