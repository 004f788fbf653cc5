"""Label over-smoothing: its labels, where its loss is smallest, its two stages and its recipe."""

import math

import pytest
import torch

from ltlib import methods, models
from ltlib.data.loader import Batch
from ltlib.errors import InputError
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.recipe import resolve

COUNTS = torch.tensor([100, 30, 5])


def make(**own):
    torch.manual_seed(0)
    return methods.make("label_over_smooth", models.make("resnet8", 3, (0.5,) * 3, (0.2,) * 3), COUNTS, **own)


def second(method):
    stage = method.stages(7, "cosine")[1]
    method.begin(stage)
    return stage


@pytest.mark.parametrize("delta", [0.0, 0.3, 0.98])
def test_second_stage_learns_labels_with_a_little_more_than_one_kth_on_the_true_class(delta):
    method = make(over_smooth=delta)
    second(method)
    torch.manual_seed(1)
    batch = Batch(torch.rand(12, 3, 8, 8), torch.arange(12) % 3)
    log_p = method.eval().network(batch.x).double().log_softmax(1)
    labels = torch.full((12, 3), delta / 3, dtype=torch.double)
    labels[torch.arange(12), batch.y] = 1 - delta + delta / 3
    torch.testing.assert_close(method.loss(batch).double(), -(labels * log_p).sum(1).mean())


def test_the_smallest_loss_has_a_gap_of_a_fifth():
    """log(q_y / q_i) = log((1 - delta + delta / K) / (delta / K)) = log(0.118 / 0.098) for ten classes."""
    torch.manual_seed(0)
    method = methods.make("label_over_smooth", models.make("resnet8", 10, (0.5,) * 3, (0.2,) * 3), torch.ones(10))
    z = torch.zeros(1, 10, dtype=torch.double)
    z[0, 4] = math.log(0.118 / 0.098)
    z.requires_grad_()
    method.smoothed(z, torch.tensor([4])).backward()
    assert z.grad.abs().max() < 1e-15


def test_two_stages_as_in_the_released_script():
    method = make()
    first = method.stages(200, "cosine")[0]
    stage = second(method)
    assert (first.epochs, first.sampler, first.schedule) == (200, "instance_balanced", "cosine")
    assert (stage.epochs, stage.sampler, stage.schedule, stage.length) == (20, "instance_balanced", "cosine", "all")
    (group,) = method.param_groups(stage)
    assert {id(p) for p in group["params"]} == {id(p) for p in method.network.classifier.parameters()}
    assert (group["lr_factor"], group["weight_decay"]) == (0.05, 0.0)
    assert "weight_decay" not in method.param_groups(first)[0]
    before = method.network.backbone.stem[1].running_mean.clone()
    method.train().loss(Batch(torch.rand(12, 3, 8, 8), torch.arange(12) % 3))
    assert not torch.equal(method.network.backbone.stem[1].running_mean, before)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_published_recipe(dataset):
    recipe, own = resolve(Experiment("label_over_smooth", dataset, profile="paper"))
    assert (recipe.backbone, recipe.epochs, recipe.batch_size, recipe.schedule) == ("resnet34", 200, 64, "cosine")
    assert (recipe.lr, recipe.weight_decay) == (0.01, 5e-3)
    assert recipe.lr * own["lr_factor"] == pytest.approx(5e-4)
    assert own["over_smooth"] == 0.98


def test_it_continues_from_a_run_of_cross_entropy():
    """The second stage alone gives what both stages in one run give."""
    whole = execute(Experiment("label_over_smooth", profile="smoke"))
    first = execute(Experiment("cross_entropy", profile="smoke"))
    rest = execute(Experiment("label_over_smooth", profile="smoke", overrides=f"stage1={first.id}"))
    assert (rest.predictions()["logits"] == whole.predictions()["logits"]).all()


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"over_smooth": 1.0}, "over_smooth must be at least 0 and below 1; got 1.0"),
        ({"over_smooth": -0.1}, "over_smooth must be at least 0 and below 1; got -0.1"),
        ({"lr_factor": 0.0}, "lr_factor must be above 0; got 0.0"),
        ({"stage2_decay": -1.0}, "stage2_decay must be at least 0; got -1.0"),
        ({"stage2_epochs": 0}, "stage2_epochs must be above 0; got 0"),
    ],
)
def test_hyperparameters_are_checked(own, message):
    with pytest.raises(InputError, match=message):
        make(**own)
