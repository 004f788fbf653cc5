"""What an attack makes the host wait for, and what it casts."""

from collections import Counter

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ltlib.attacks import APGD, FAB, PGD, Square, attacked
from tests.attacks.problems import Linear, small_network


class Waits(TorchDispatchMode):
    """Counts the operations for which the host would wait for a GPU."""

    names = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero")

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        indices = torch.utils._pytree.tree_leaves(args[1:]) if name.startswith("index") else []
        by_mask = any(isinstance(index, torch.Tensor) and index.dtype == torch.bool for index in indices)
        self.found["waits"] += name in self.names or by_mask
        self.found["cumsum"] += name == "cumsum"  # has no deterministic kernel on a GPU
        self.found["casts"] += name == "_to_copy"
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(
    "attack",
    [
        lambda norm: APGD(1e-6, norm, steps=40),
        lambda norm: Square(1e-6, norm, queries=40),
        lambda norm: FAB(1e-6, norm, steps=40, targets=1),
        lambda norm: PGD(1e-6, norm, steps=40),
    ],
    ids=["apgd", "square", "fab", "pgd"],
)
def test_an_attack_waits_at_most_once_in_ten_steps(attack, norm):
    """The radius fools nothing, so every step is made."""
    model, x = Linear(5, 192), torch.rand(8, 3, 8, 8) * 0.4 + 0.3
    y = model(x).argmax(1)
    with Waits() as seen:
        attack(norm)(model, x, y)
    # one look at the beginning says which images are attacked at all
    assert seen.found["waits"] <= 1 + 40 // 10
    assert seen.found["cumsum"] == 0


def test_apgd_without_waits_finds_the_same_images(monkeypatch):
    """Against the plain form, which writes into the places of some of the images."""
    network = small_network()
    torch.manual_seed(3)
    x, y = torch.rand(10, 3, 8, 8), torch.arange(10) % 5
    y = torch.where(torch.arange(10) < 8, network(x).argmax(1), y)
    torch.manual_seed(4)
    ours = APGD(0.02, steps=30)(network, x, y)

    def where(mask, new, old):
        out = (old + torch.zeros_like(new)).clone()
        mask = mask.expand_as(out)
        out[mask] = new.expand_as(out)[mask]
        return out

    monkeypatch.setattr(torch, "where", where)
    torch.manual_seed(4)
    assert torch.equal(APGD(0.02, steps=30)(network, x, y), ours)


def test_weights_are_cast_once_in_an_attack_and_nothing_changes_by_it():
    network = small_network()
    x, y = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])
    before = {name: (id(p), p.clone(), p.requires_grad) for name, p in network.named_parameters()}
    found, casts = {}, {}
    for steps in (1, 5):
        with torch.autocast("cpu", torch.bfloat16), attacked(network), Waits() as seen:
            torch.manual_seed(0)
            found[steps] = PGD(0.03, steps=steps)(network, x, y)
        casts[steps] = seen.found["casts"]
    kernels = sum(isinstance(part, nn.Conv2d | nn.Linear) for part in network.modules())
    # inside the loop only images and activations are cast, no kernel
    with torch.autocast("cpu", torch.bfloat16), Waits() as seen:
        network.requires_grad_(False)
        torch.manual_seed(0)
        plain = PGD(0.03, steps=5)(network, x, y)
        network.requires_grad_(True)
    assert seen.found["casts"] - casts[5] >= 4 * kernels
    assert torch.equal(plain, found[5])
    for name, p in network.named_parameters():
        assert (id(p), p.requires_grad) == (before[name][0], before[name][2])
        assert torch.equal(p, before[name][1])
