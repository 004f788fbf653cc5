"""Decoupled KL: the identity of the paper, the numbers of the released code, and both methods that use it."""

import pytest
import torch
import torch.nn.functional as F

from ltlib import methods, models
from ltlib.data.loader import Batch
from ltlib.errors import InputError
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.recipe import resolve
from ltlib.methods.dkl import ClassMeans, decoupled, generalised, weighted_mse

COUNTS = torch.tensor([100, 30, 5])
i = torch.arange(20, dtype=torch.double)
FIRST, SECOND = (3 * torch.sin(i * 1.3)).view(5, 4), (3 * torch.sin(i * 0.7 + 1)).view(5, 4)
WEIGHTS = torch.sin(torch.arange(16, dtype=torch.double) * 2.1).view(4, 4).softmax(1)[[0, 2, 2, 1, 3]]


def make(name="dkl", **own):
    torch.manual_seed(0)
    return methods.make(name, models.make("resnet8", 3, (0.5,) * 3, (0.2,) * 3), COUNTS, **own)


def gradients(loss):
    first, second = FIRST.clone().requires_grad_(), SECOND.clone().requires_grad_()
    value = loss(first, second)
    value.backward()
    return value.item(), first.grad, second.grad


def test_kl_is_weighted_mse_and_cross_entropy():
    """Theorem 1: both losses have the same gradient, for either prediction."""
    _, *ours = gradients(decoupled)
    _, *kl = gradients(lambda a, b: (a.softmax(1) * (a.log_softmax(1) - b.log_softmax(1))).sum(1).mean())
    for found, expected in zip(ours, kl, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_weighted_mse_is_the_sum_over_all_pairs_of_classes():
    """1/4 sum_jk w_j w_k ((a_j - a_k) - (b_j - b_k))^2 as the paper writes it, with a matrix for each image."""
    a, b = FIRST[:, :, None] - FIRST[:, None], SECOND[:, :, None] - SECOND[:, None]
    pairs = WEIGHTS[:, :, None] * WEIGHTS[:, None]
    expected = 0.25 * (pairs * (a - b) ** 2).sum() / 5
    torch.testing.assert_close(weighted_mse(FIRST, SECOND, WEIGHTS), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    ("gamma", "alpha", "beta", "taught", "expected"),
    [
        # adversarial training of version 1, of version 2, and distillation with a teacher that takes no gradient
        (1.0, 4.0, 20.0, False, (52.720660578886594, 33.237700648326445, 38.05314544191361)),
        (0.4, 4.0, 20.0, False, (62.24227150969463, 36.92479772047615, 41.67085916861146)),
        (0.3, 3.0, 4.0, True, (17.74538544123492, 0.0, 11.092244757170068)),
    ],
)
def test_generalised_form_gives_the_numbers_of_the_released_code(gamma, alpha, beta, taught, expected):
    """Loss, and the sums of the absolute gradients, by the function ``dkl_loss`` of commit 2ebb309."""

    def loss(first, second):
        first = first.detach() + 0 * first if taught else first
        return generalised(first, second, WEIGHTS**gamma, alpha, beta)

    value, *both = gradients(loss)
    assert (value, *(g.abs().sum().item() for g in both)) == pytest.approx(expected, rel=1e-13)


def test_class_means_are_those_of_the_epoch_before():
    means = ClassMeans(3, 2.0)
    assert (means.rows == 1 / 3).all()
    z, y = torch.tensor([[2.0, 0, 0], [0, 4.0, 0], [0, 0, 1.0]]), torch.tensor([0, 0, 2])
    means.collect(z, y)
    assert (means.rows == 1 / 3).all()
    means.turn()
    p = (z / 2).softmax(1)
    torch.testing.assert_close(means.rows, torch.stack([(p[0] + p[1]) / 2, torch.full((3,), 1 / 3), p[2]]))
    before = means.rows.clone()
    means.turn()  # nothing was collected since
    assert torch.equal(means.rows, before)
    means.collect(z[:1], torch.tensor([0]))  # of an epoch that saw one image
    means.turn()
    torch.testing.assert_close(means.rows[0], p[0])
    assert torch.equal(means.rows[1:], before[1:])


def test_training_renews_the_means_and_evaluation_does_not():
    method = make(attack_steps=1)
    method.train().loss(Batch(torch.rand(6, 3, 8, 8), torch.arange(6) % 3))
    method.eval()
    assert (method.means.rows == 1 / 3).all()
    method.train()
    assert not (method.means.rows == 1 / 3).all()


@pytest.mark.parametrize("tau", [0.0, 1.0])
def test_loss_by_hand(tau):
    method = make(alpha=3.0, beta=5.0, gamma=0.5, tau=tau, attack_steps=1).eval()
    method.means.rows.copy_(torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.2, 0.2, 0.6]]))
    torch.manual_seed(1)
    batch = Batch(torch.rand(6, 3, 8, 8), torch.arange(6) % 3)
    x_adv = torch.rand(6, 3, 8, 8)
    method.adversarial = lambda given: x_adv
    z, z_adv = method.network(batch.x), method.network(x_adv)
    weights = method.means.rows[batch.y].sqrt()
    expected = F.cross_entropy(z + tau * COUNTS.log(), batch.y) + generalised(z, z_adv, weights, 3.0, 5.0)
    torch.testing.assert_close(method.loss(batch), expected)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_published_recipe(dataset):
    recipe, own = resolve(Experiment("dkl", dataset, 1.0, profile="paper"))
    assert (recipe.backbone, recipe.epochs, recipe.batch_size, recipe.schedule) == ("wrn34_10", 200, 128, "cosine")
    assert (recipe.lr, recipe.weight_decay, recipe.normalize) == (0.2, 5e-4, False)
    assert (own["alpha"], own["beta"], own["gamma"], own["temperature"]) == (4.0, 20.0, 1.0, 4.0)
    assert (own["awp"], own["ramp"], own["epsilon"], own["step_size"]) == (0.005, 200.0, 8 / 255, 4 / 255)


def test_published_recipe_of_distillation():
    recipe, own = resolve(Experiment("dkl_distillation", "imagenet_lt", profile="paper", overrides="natural_run=x"))
    assert (recipe.backbone, recipe.epochs, recipe.batch_size, recipe.lr) == ("resnet50", 90, 128, 0.05)
    assert (own["natural"], own["alpha"], own["beta"], own["gamma"]) == ("resnet50", 1.0, 1.0, 0.3)


def test_distillation_has_a_finished_run_as_its_teacher():
    teacher = execute(Experiment("balanced_softmax", profile="smoke"))
    student = execute(Experiment("dkl_distillation", profile="smoke", overrides=f"natural_run={teacher.id}"))
    own = student.info["hyperparameters"]
    assert (own["natural_run"], own["natural"]) == (teacher.id, "resnet8")
    assert student.state == "finished"


def test_distillation_by_hand():
    method = make("dkl_distillation", natural_run="any", natural="resnet8", alpha=2.0, beta=3.0, gamma=0.5)
    method.means.rows.copy_(torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.2, 0.2, 0.6]]))
    method.train()
    assert not method.natural.training
    torch.manual_seed(1)
    batch = Batch(torch.rand(6, 3, 8, 8), torch.arange(6) % 3)
    method.network.eval()
    z, weights = method.network(batch.x), method.means.rows[batch.y].sqrt()
    expected = F.cross_entropy(z, batch.y) + generalised(method.natural(batch.x), z, weights, 2.0, 3.0)
    torch.testing.assert_close(method.loss(batch), expected)


@pytest.mark.parametrize(
    ("name", "own", "message"),
    [
        ("dkl", {"alpha": -1.0}, "alpha must be at least 0; got -1.0"),
        ("dkl", {"beta": -1.0}, "beta must be at least 0; got -1.0"),
        ("dkl", {"gamma": -0.5}, "gamma must be at least 0; got -0.5"),
        ("dkl", {"temperature": 0.0}, "temperature must be above 0; got 0.0"),
        ("dkl_distillation", {}, "name its run with overrides natural_run=ID"),
        ("dkl_distillation", {"natural_run": "a", "beta": -1.0}, "beta must be at least 0; got -1.0"),
    ],
)
def test_hyperparameters_are_checked(name, own, message):
    with pytest.raises(InputError, match=message):
        make(name, **own)
