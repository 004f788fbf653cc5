"""RIDE + ResLT: its experts, its loss by hand, its gradient, and its recipe."""

import pytest
import torch

from ltlib import methods, models
from ltlib.data.loader import Batch
from ltlib.errors import InputError
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.recipe import resolve

COUNTS = torch.tensor([200, 50, 5])


def make(name="ride_reslt", backbone="resnet8", **own):
    torch.manual_seed(0)
    return methods.make(name, models.make(backbone, 3, (0.5,) * 3, (0.2,) * 3), COUNTS, **own)


def batch():
    torch.manual_seed(1)
    return Batch(torch.rand(9, 3, 8, 8), torch.arange(9) % 3)


def test_loss_by_hand():
    """As the released code writes it: for each expert, all branches over one denominator, and the sum of them."""
    method = make(beta=0.9).eval().double()
    b = Batch(batch().x.double(), batch().y)
    z = method.expert_logits(b.x).double()
    assert z.shape == (3, 3, 9, 3)
    learns = [[True] * 3, [False, True, True], [False, False, True]]
    expected = 0.0
    for expert in z:
        terms = [
            -(expert[j, i].softmax(0)[y] + 1e-7).log()
            for i, y in enumerate(b.y.tolist())
            for j in range(3)
            if learns[j][y]
        ]
        fused = -expert.sum(0).log_softmax(1)[torch.arange(9), b.y].mean()
        expected += 0.9 * torch.stack(terms).mean() + 0.1 * fused
    assert method.loss(b).item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(method.logits(b.x).double(), z.sum((0, 1)), rtol=1e-5, atol=1e-5)


def test_gradient_equals_differences():
    """Of the logits, in float64: the loss is a function of them alone."""
    method = make(beta=0.6).double()
    z = torch.randn(3, 3, 9, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: sum(method.fit(e, batch().y) for e in z), z)


def test_experts_share_the_first_stage_and_nothing_else():
    method, x = make(), batch().x
    method.eval()
    z = method.expert_logits(x)
    with torch.no_grad():
        method.others[0].branches.norms[0].bias.add_(1)
        changed = method.expert_logits(x)
        assert [torch.equal(a, b) for a, b in zip(changed, z, strict=True)] == [True, False, True]
        method.network.backbone.stage1[0].conv1.weight.add_(1)
        assert not any(torch.equal(a, b) for a, b in zip(method.expert_logits(x), z, strict=True))
    assert not torch.allclose(z[1], z[2])  # they start differently


@pytest.mark.parametrize("narrow", [True, False])
def test_the_first_expert_is_a_reslt(narrow):
    """With the weights of the first expert, ResLT of this width has its logits."""
    method, alone = make(narrow=narrow).eval(), make("reslt").eval()
    if narrow:
        alone.network.backbone.widen(0.75)
        alone.network.classifier = torch.nn.Linear(48, 3)
        alone.branches = type(alone.branches)(48, 3)
        alone.eval()
    own = {n: t for n, t in method.state_dict().items() if not n.startswith("others.")}
    alone.load_state_dict(own)
    x = batch().x
    torch.testing.assert_close(method.expert_logits(x)[0], alone.branch_logits(x))


def test_recipe_is_that_of_reslt():
    recipe, own = resolve(Experiment("ride_reslt", "cifar100", profile="paper"))
    of_reslt, own_of_reslt = resolve(Experiment("reslt", "cifar100", profile="paper"))
    assert recipe == of_reslt
    assert {n: v for n, v in own.items() if n not in ("experts", "narrow")} == own_of_reslt
    assert (own["experts"], own["narrow"], own["beta"], own["groups"]) == (3, True, 0.995, "paper")


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"experts": 1}, "experts must be at least 2; got 1"),
        ({"beta": 1.5}, "beta must lie in"),
        ({"backbone": "wrn10_2"}, "choose a backbone such as resnet32"),
    ],
)
def test_hyperparameters_are_checked(own, message):
    with pytest.raises(InputError, match=message):
        make(**own)


def test_it_cannot_be_taken_over():
    method = make()
    with pytest.raises(InputError, match="several experts"):
        method.plain_weights(method.state_dict())
    with pytest.raises(InputError, match="No released checkpoint"):
        method.released_name("conv1.weight", method.network.backbone)
