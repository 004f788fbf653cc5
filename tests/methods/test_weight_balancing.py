"""Weight balancing: MaxNorm, the loss of the second stage by the released code, and its recipe."""

import pytest
import torch
import torch.nn.functional as F

from ltlib import methods, models
from ltlib.data.loader import Batch
from ltlib.errors import InputError
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.recipe import resolve
from ltlib.methods.baselines import effective_weights
from ltlib.methods.weight_balancing import balanced_binary, longest_row, max_norm

COUNTS = torch.tensor([100, 30, 5])


def make(**own):
    torch.manual_seed(0)
    return methods.make("weight_balancing", models.make("resnet8", 3, (0.5,) * 3, (0.2,) * 3), COUNTS, **own)


def second(method):
    stage = method.stages(7, "cosine")[1]
    method.begin(stage)
    return stage


def test_max_norm_gives_the_numbers_of_the_released_code():
    """``MaxNorm_via_PGD`` with threshold 0.1 on rows of which the fourth is the shortest."""
    lengths = torch.tensor([3, 2, 1, 0.5]).repeat_interleave(6)
    weight = (torch.sin(torch.arange(24.0) * 1.1) * lengths).view(4, 6)
    radius = longest_row(weight, 0.1)
    assert radius.item() == pytest.approx(1.2781946659, rel=1e-6)
    capped = max_norm(weight, radius)
    assert capped.norm(dim=1).tolist() == pytest.approx([1.2781946659, 1.2781946659, 1.2781946659, 0.8549106717])
    assert capped.abs().sum().item() == pytest.approx(10.116049766540527, rel=1e-6)
    assert torch.equal(capped[3], weight[3])


@pytest.mark.parametrize(("threshold", "expected"), [(0.0, 1.0), (1.0, 5.0), (0.25, 2.0)])
def test_the_radius_is_between_the_shortest_and_the_longest_row(threshold, expected):
    weight = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 2.0]])
    assert longest_row(weight, threshold).item() == pytest.approx(expected)


def test_loss_gives_the_numbers_of_the_released_code():
    """``CB_loss`` with ``loss_type="softmax"``, in float32."""
    z = (3 * torch.sin(torch.arange(20.0) * 1.3)).view(5, 4).requires_grad_()
    weights = effective_weights(torch.tensor([50.0, 20, 8, 1]), 0.9999)
    loss = balanced_binary(z, torch.tensor([0, 2, 2, 1, 3]), weights)
    loss.backward()
    assert loss.item() == pytest.approx(1.3201212882995605, rel=1e-6)
    assert z.grad.abs().sum().item() == pytest.approx(0.730744481086731, rel=1e-5)


def test_loss_is_a_binary_cross_entropy_of_every_probability():
    torch.manual_seed(0)
    z, y, weights = torch.randn(9, 3, dtype=torch.double), torch.arange(9) % 3, torch.tensor([0.5, 1.0, 1.5])
    each = F.binary_cross_entropy(z.softmax(1), F.one_hot(y, 3).double(), reduction="none")
    torch.testing.assert_close(balanced_binary(z, y, weights), (weights[y, None] * each).mean())


def test_loss_has_a_gradient_where_the_network_is_certain_and_wrong():
    z = torch.tensor([[60.0, 0.0, 0.0]], requires_grad=True)
    balanced_binary(z, torch.tensor([1]), torch.ones(3)).backward()
    assert torch.isfinite(z.grad).all()


def test_rows_stay_within_the_radius_of_the_beginning_of_the_second_stage():
    method = make(threshold=0.5)
    stage = second(method)
    weight = method.network.classifier.weight
    radius = longest_row(weight.detach(), 0.5)
    assert torch.equal(method.radius, radius)
    optimizer = torch.optim.SGD(method.param_groups(stage), lr=5.0)
    batch = Batch(torch.rand(12, 3, 8, 8), torch.arange(12) % 3)
    for _ in range(3):
        method.train().loss(batch).backward()
        optimizer.step()
        assert weight.norm(dim=1).max() > radius
        method.after_step()
        assert weight.norm(dim=1).max() <= radius * (1 + 1e-6)
    assert torch.equal(method.radius, radius)


def test_nothing_is_projected_in_the_first_stage():
    method = make()
    method.begin(method.stages(7, "cosine")[0])
    before = method.network.classifier.weight.clone()
    method.after_step()
    assert torch.equal(method.network.classifier.weight, before)


def test_a_second_stage_on_a_finished_run_equals_both_stages_in_one():
    """The radius is that of the first stage's classifier."""
    whole = execute(Experiment("weight_balancing", profile="smoke"))
    first = execute(Experiment("cross_entropy", profile="smoke"))
    rest = execute(Experiment("weight_balancing", profile="smoke", overrides=f"stage1={first.id}"))
    assert (rest.predictions()["logits"] == whole.predictions()["logits"]).all()


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_published_recipe(dataset):
    recipe, own = resolve(Experiment("weight_balancing", dataset, profile="paper"))
    assert (recipe.backbone, recipe.epochs, recipe.batch_size, recipe.schedule) == ("resnet34", 320, 64, "cosine")
    assert (recipe.lr, recipe.weight_decay, recipe.lr * own["lr_factor"]) == (0.01, 5e-3, 0.01)
    assert (own["threshold"], own["stage2_decay"], own["stage2_epochs"], own["cb_beta"]) == (0.1, 0.1, 10, 0.9999)
    (group,) = make().param_groups(second(make()))
    assert (group["lr_factor"], group["weight_decay"]) == (1.0, 0.1)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"threshold": 1.5}, r"threshold must be from 0 \(the shortest row\) to 1 \(the longest\); got 1.5"),
        ({"cb_beta": 1.0}, r"cb_beta must lie in \[0, 1\); got 1.0"),
        ({"lr_factor": 0.0}, "lr_factor must be above 0; got 0.0"),
        ({"stage2_decay": -1.0}, "stage2_decay must be at least 0; got -1.0"),
        ({"stage2_epochs": 0}, "stage2_epochs must be above 0; got 0"),
    ],
)
def test_hyperparameters_are_checked(own, message):
    with pytest.raises(InputError, match=message):
        make(**own)
