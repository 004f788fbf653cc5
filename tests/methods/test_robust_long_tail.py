"""Adversarial training that knows of the tail: the counts enter the losses, never the attack."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ltlib import methods, models
from ltlib.data.loader import Batch
from ltlib.errors import InputError
from ltlib.experiments.execute import execute, load
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.prepare import prepare
from ltlib.experiments.recipe import resolve

COUNTS = torch.tensor([100, 30, 5])
EQUAL = torch.tensor([20, 20, 20])
GUIDED = {"lbgat": {"natural": "resnet8"}, "bgat": {"natural": "resnet8", "natural_run": "some"}}
COUNTING = [
    ("at", {"tau": 1.0}),
    ("alp", {"tau": 1.0}),
    ("trades", {"tau": 1.0}),
    ("lbgat", {"tau": 1.0, "label_weight": 0.5}),
    ("lbgat", {"natural_tau": 1.0}),
    ("bgat", {"tau": 1.0, "label_weight": 0.5}),
]


def make(name, counts=COUNTS, **own):
    torch.manual_seed(0)
    network = models.make("resnet8", 3, (0.5,) * 3, (0.2,) * 3)
    return methods.make(name, network, counts, **(GUIDED.get(name, {}) | own))


def seeded(method, call, batch):
    torch.manual_seed(3)
    return getattr(method, call)(batch)


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return Batch(torch.rand(12, 3, 8, 8), torch.arange(12) % 3)


@pytest.mark.parametrize(("name", "own"), COUNTING)
def test_with_equal_counts_each_is_its_plain_parent_exactly(batch, name, own):
    plain = {key: value for key, value in own.items() if not key.endswith("tau")}
    losses = [seeded(make(name, EQUAL, **settings), "loss", batch) for settings in (own, plain)]
    assert torch.equal(*losses)
    assert not torch.equal(seeded(make(name, **own), "loss", batch), losses[1])


@pytest.mark.parametrize("name", ["at", "alp", "trades"])
def test_counts_enter_the_cross_entropy_as_balanced_softmax(batch, name):
    """p_y = n_y exp(z_y) / sum_i n_i exp(z_i), on the image that each method learns the label of."""
    method = make(name, tau=1.0).eval()
    x_adv = method.adversarial(batch)
    method.adversarial = lambda given: x_adv
    z_adv, z = method.network(x_adv), method.network(batch.x)
    mine = COUNTS * (z if name == "trades" else z_adv).exp()
    expected = -(mine / mine.sum(1, keepdim=True))[torch.arange(12), batch.y].log().mean()
    if name == "alp":
        expected = expected + F.mse_loss(z_adv, z)
    if name == "trades":  # the pairing compares what is evaluated
        expected = expected + 6 * F.kl_div(z_adv.log_softmax(1), z.softmax(1), reduction="batchmean")
    torch.testing.assert_close(method.loss(batch), expected)


def test_the_natural_network_of_lbgat_learns_by_balanced_softmax_and_guides_by_its_plain_logits(batch):
    method = make("lbgat", natural_tau=1.0).eval()
    x_adv = method.adversarial(batch)
    method.adversarial = lambda given: x_adv
    z_adv, t = method.network(x_adv), method.natural(batch.x)
    balanced = COUNTS * t.exp()
    cross_entropy = -(balanced / balanced.sum(1, keepdim=True))[torch.arange(12), batch.y].log().mean()
    torch.testing.assert_close(method.loss(batch), (z_adv - t).square().mean() + cross_entropy)


@pytest.mark.parametrize("name", ["at", "trades", "lbgat", "at_bsl"])
def test_the_attack_knows_nothing_of_the_counts(batch, name):
    tau = {"natural_tau": 1.0, "label_weight": 1.0} if name == "lbgat" else {}
    images = [
        seeded(make(name, counts, tau=strength, **(tau if strength else {})), "adversarial", batch)
        for counts, strength in ((COUNTS, 0.0), (COUNTS, 1.0), (EQUAL, 1.0))
    ]
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[0], images[2])


def test_at_bsl_is_at_with_balanced_softmax_and_its_published_recipe(batch):
    method, parent = make("at_bsl"), make("at", tau=1.0)
    z = torch.randn(12, 3)
    assert torch.equal(method.label_loss(z, batch.y), parent.label_loss(z, batch.y))
    assert (method.attack.loss, method.attack.start) == ("cross_entropy", "gaussian")
    assert (method.attack.epsilon, method.attack.step_size, method.attack.steps) == (8 / 255, 2 / 255, 10)
    recipe, own = resolve(Experiment(method="at_bsl", dataset="cifar10", profile="paper", imbalance_factor=50.0))
    assert (recipe.epochs, recipe.batch_size, recipe.weight_decay, recipe.schedule) == (100, 128, 5e-4, "step_trades")
    # --arch res and --aug aua are the defaults of train_at_bsl_cifar10.py
    assert (recipe.backbone, recipe.augmentation) == ("resnet18", "crop_flip_autoaugment")
    assert own["tau"] == 1.0
    recipe, own = resolve(Experiment(method="at_bsl"))
    assert (recipe.backbone, own["attack_steps"], own["ramp"]) == ("wrn10_2", 3, 10.0)


@pytest.mark.parametrize("name", ["at", "at_bsl", "trades", "lbgat", "bgat"])
def test_cosine_logits_are_bounded_and_the_moving_average_has_them_too(batch, name):
    method = make(name, cosine=10.0, ema=0.5).eval()
    f, w = method.network.features(batch.x), method.network.classifier.weight
    expected = 10 * (f / f.norm(dim=1, keepdim=True)) @ (w / w.norm(dim=1, keepdim=True)).T
    torch.testing.assert_close(method.network(batch.x), expected)
    torch.testing.assert_close(method.logits(batch.x), expected)
    assert make(name).network.classifier.bias is not None


def test_loss_with_margin_and_prior_by_hand(batch):
    """RoBal's training loss: CE(s (cos_k - m [k = y]) + tau log pi_k, y)."""
    method = make("at", cosine=10.0, margin=0.1, tau=1.2).eval()
    x_adv = method.adversarial(batch)
    method.adversarial = lambda given: x_adv
    cos = method.network(x_adv) / 10
    z = 10 * (cos - 0.1 * F.one_hot(batch.y, 3)) + 1.2 * (COUNTS / COUNTS.sum()).log()
    torch.testing.assert_close(method.loss(batch), F.cross_entropy(z, batch.y))


@pytest.mark.parametrize(
    ("name", "own", "message"),
    [
        ("at", {"tau": -1.0}, "tau must be at least 0; got -1.0"),
        ("at", {"cosine": -1.0}, "cosine must be at least 0; got -1.0"),
        ("at", {"margin": 0.1}, "margin=0.1 is one of cosines: give the classifier a scale too, such as cosine=10"),
        ("at", {"margin": -0.1, "cosine": 10.0}, "margin must be at least 0; got -0.1"),
    ],
)
def test_hyperparameters_are_checked(name, own, message):
    with pytest.raises(InputError, match=message):
        make(name, **own)


def smoke(method, overrides="epochs=1"):
    return execute(Experiment(method=method, profile="smoke", overrides=overrides))


@pytest.mark.parametrize("method", ["balanced_softmax", "lws", "mislas", "reslt"])
def test_bgat_is_guided_by_what_a_balanced_run_predicts(method):
    natural = smoke(method, "epochs=1, lr=0.5")
    bgat = load(smoke("bgat", f"epochs=1, attack_steps=1, natural_run={natural.id}"))
    experiment = Experiment(**natural.info["experiment"])
    test = prepare(experiment, resolve(experiment)[0]).test
    with torch.inference_mode():
        guide = bgat.natural(torch.from_numpy(test.pixels) / 255)
    np.testing.assert_allclose(guide.numpy(), natural.predictions()["logits"], atol=1e-3)


@pytest.mark.parametrize("method", ["tau_norm", "logit_adjustment"])
def test_a_run_that_changes_its_logits_afterwards_cannot_guide(method):
    natural = smoke(method)
    before = set(natural.folder.parent.iterdir())
    with pytest.raises(InputError, match=f"does not predict by its network alone: {method} changes"):
        smoke("bgat", f"natural_run={natural.id}")
    assert set(natural.folder.parent.iterdir()) == before
