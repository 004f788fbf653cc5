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


def make(name, counts=COUNTS, backbone="resnet8", **own):
    torch.manual_seed(0)
    start = methods.METHODS[name].classifier_init
    network = models.make(backbone, 3, (0.5,) * 3, (0.2,) * 3, classifier_init=start)
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


ROBAL_R = {"cosine": 10.0, "cosine_gamma": 1 / 32, "margin": 0.1, "tau_margin": 0.3, "tau": 1.5}


def robal_loss(features, weight, y, counts):
    """RoBal-R in NumPy, in float64, from the formulas of the paper: rows w / (|w| + 1/32), unit features, scale 10,
    margin 0.1 + 0.3 / 10 log(n_y / n_min) on the true cosine, prior 1.5 log pi_k."""
    rows = weight / (np.linalg.norm(weight, axis=1, keepdims=True) + 1 / 32)
    cosines = features / np.linalg.norm(features, axis=1, keepdims=True) @ rows.T
    for i, k in enumerate(y):
        cosines[i, k] -= 0.1 + 0.03 * np.log(counts[k] / min(counts))
    z = 10 * cosines + 1.5 * np.log(np.array(counts) / sum(counts))
    return np.mean([np.log(np.exp(row).sum()) - row[k] for row, k in zip(z, y, strict=True)])


def test_the_loss_of_robal_r_and_its_gradient_by_independent_numbers(batch):
    method = make("at", **ROBAL_R).double().eval()
    features, y = torch.randn(12, method.network.classifier.in_features, dtype=torch.float64), batch.y.numpy()
    weight = method.network.classifier.weight
    with torch.no_grad():
        weight.copy_(torch.randn_like(weight))  # rows of other lengths than 1, as after some steps
    loss = method.label_loss(method.network.classifier(features), batch.y)
    start = weight.detach().numpy().copy()
    assert loss.item() == pytest.approx(robal_loss(features.numpy(), start, y, (100, 30, 5)), rel=1e-6)
    loss.backward()
    for k, d in ((0, 0), (1, 3), (2, 7)):
        moved = np.zeros_like(start)
        moved[k, d] = 1e-5
        ends = [robal_loss(features.numpy(), start + sign * moved, y, (100, 30, 5)) for sign in (1, -1)]
        assert weight.grad[k, d].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-9)


def test_margins_of_robal_r_on_cifar10_are_those_of_the_released_configuration():
    """0.1 + 0.3 / 10 log(50) = 0.21736 for 5,000 images beside 100; the rarest class has 0.1."""
    method = make("at", torch.tensor([5000, 700, 100]), **ROBAL_R)
    assert (method.margin / 10).tolist() == pytest.approx([0.217361, 0.158377, 0.1], abs=1e-6)


def test_robal_n_subtracts_the_prior_only_where_it_is_evaluated(batch):
    own = {"cosine": 10.0, "cosine_gamma": 1 / 32, "margin": 0.1, "tau": 1.2}
    plain, method = make("at", **own).eval(), make("at", **own, tau_evaluation=0.1).eval()
    z, adjusted = plain.logits(batch.x), method.logits(batch.x)
    expected = (z - 0.1 * (COUNTS / COUNTS.sum()).log()).softmax(1)
    torch.testing.assert_close(adjusted.softmax(1), expected)
    assert (adjusted - adjusted[:, :1] - (z - z[:, :1]))[0].tolist() == pytest.approx([0, 0.120397, 0.299573], abs=1e-5)
    assert torch.equal(seeded(method, "loss", batch), seeded(plain, "loss", batch))


def test_robal_has_the_released_configurations():
    recipe, own = resolve(Experiment(method="robal", dataset="cifar10", profile="paper", imbalance_factor=50.0))
    assert (recipe.backbone, recipe.epochs, recipe.batch_size, recipe.lr) == ("wrn34_10", 80, 64, 0.1)
    assert (recipe.weight_decay, recipe.schedule, recipe.normalize) == (2e-4, "step_robal", False)
    assert {name: own[name] for name in ROBAL_R} == ROBAL_R
    assert (own["epsilon"], own["step_size"], own["attack_steps"], own["regulariser"]) == (0.031, 0.0078, 5, 6.0)
    assert own["tau_evaluation"] == 0.0
    _, own = resolve(Experiment(method="robal", dataset="cifar100", profile="paper", imbalance_factor=10.0))
    hundred = {"cosine_gamma": 1 / 16, "margin": 0.3, "tau_margin": 0.0, "tau": 0.0, "tau_evaluation": 1.7}
    assert {name: own[name] for name in hundred} == hundred


def test_the_regulariser_of_robal_is_six_times_the_divergence_of_bare_cosines(batch):
    """L - CE = 6 mean_b sum_k p log(p / q), p and q the softmax of the cosines of x and x_adv, from NumPy."""
    method = make("robal").eval()  # in evaluation mode the passes do not depend on each other
    x_adv = (batch.x + 0.03).clamp(0, 1)
    z, z_adv = (method.network(x).detach().double().numpy() / 10 for x in (batch.x, x_adv))
    p, q = (np.exp(c) / np.exp(c).sum(1, keepdims=True) for c in (z, z_adv))
    loss, plain = (one.terms(batch, x_adv, one.network) for one in (method, make("robal", regulariser=0.0).eval()))
    assert (loss - plain).item() == pytest.approx(6 * np.mean((p * np.log(p / q)).sum(1)), rel=1e-4)


def test_the_attack_of_robal_starts_above_the_image_and_sees_bare_cosines(batch):
    method, seen = make("robal", attack_steps=1).eval(), []
    method.network.register_forward_hook(lambda _, given, z: seen.append((given[0].detach(), z.detach())))
    method.adversarial(batch)
    start = seen[0][0] - batch.x
    assert 0 <= start.min() < 0.001
    assert 0.030 < start.max() < 0.031
    torch.manual_seed(1)
    other = make("robal", cosine=100.0, attack_steps=1).eval()  # the scale changes nothing in the attack
    torch.testing.assert_close(seeded(other, "adversarial", batch), seeded(method, "adversarial", batch))


def test_the_classifier_of_robal_starts_as_pytorch_draws_it():
    """U(-a, a) with a = 1 / sqrt(D): the released classifier. A row has the length 1 / sqrt(3) about."""
    weight = make("robal", backbone="wrn10_2").network.classifier.weight
    bound = weight.shape[1] ** -0.5
    assert weight.abs().max() < bound
    assert weight.norm(dim=1).mean().item() == pytest.approx(3**-0.5, abs=0.05)


@pytest.mark.parametrize(
    ("name", "own", "message"),
    [
        ("robal", {"regulariser": -1.0}, "regulariser must be at least 0; got -1.0"),
        ("robal", {"cosine": 0.0}, "cosine must be above 0; got 0.0"),
        ("at", {"tau": -1.0}, "tau must be at least 0; got -1.0"),
        ("at", {"cosine": -1.0}, "cosine must be at least 0; got -1.0"),
        ("at", {"margin": 0.1}, "margin=0.1 is one of cosines: give the classifier a scale too, such as cosine=10"),
        ("at", {"margin": -0.1, "cosine": 10.0}, "margin must be at least 0; got -0.1"),
        ("at", {"tau_margin": -0.3, "cosine": 10.0}, "tau_margin must be at least 0; got -0.3"),
        ("at", {"tau_margin": 0.3}, "tau_margin=0.3 is one of cosines"),
        ("at", {"cosine_gamma": 0.1}, "cosine_gamma=0.1 is one of cosines"),
        ("at", {"cosine_gamma": -0.1, "cosine": 10.0}, "cosine_gamma must be at least 0; got -0.1"),
        ("at", {"tau_evaluation": -1.0}, "tau_evaluation must be at least 0; got -1.0"),
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
