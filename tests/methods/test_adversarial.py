"""AT, ALP, TRADES, BGAT and LBGAT: their losses term by term, and what an attack may not touch."""

import pytest
import torch
import torch.nn.functional as F

from ltlib import methods, models
from ltlib.data import datasets
from ltlib.data.loader import Batch
from ltlib.errors import InputError
from ltlib.experiments.execute import execute, load
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.recipe import resolve
from ltlib.methods.method import hyperparameters

COUNTS = torch.tensor([20, 20, 20])
LEARNING = {"lbgat": {"natural": "resnet8"}, "bgat": {"natural": "resnet8", "natural_run": "some"}}
ALL = ["at", "alp", "trades", "lbgat", "bgat"]


def make(name, **own):
    torch.manual_seed(0)
    network = models.make("resnet8", 3, (0.5,) * 3, (0.2,) * 3)
    return methods.make(name, network, COUNTS, **(LEARNING.get(name, {}) | own))


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return Batch(torch.rand(12, 3, 8, 8), torch.arange(12) % 3)


def with_fixed_attack(method, batch):
    """The method in evaluation mode with one adversarial batch for good, so that its terms can be built by hand."""
    method.eval()
    x_adv = method.adversarial(batch)
    method.adversarial = lambda given: x_adv
    return method, x_adv


def test_losses_of_at_alp_and_trades(batch):
    for name, expected in {
        "at": lambda z_adv, z: F.cross_entropy(z_adv, batch.y),
        "alp": lambda z_adv, z: F.cross_entropy(z_adv, batch.y) + 0.7 * (z_adv - z).square().mean(),
        "trades": lambda z_adv, z: (
            F.cross_entropy(z, batch.y) + 4 * (z.softmax(1) * (z.log_softmax(1) - z_adv.log_softmax(1))).sum(1).mean()
        ),
    }.items():
        own = {"alp": {"alpha": 0.7}, "trades": {"trades_beta": 4.0}}.get(name, {})
        method, x_adv = with_fixed_attack(make(name, **own), batch)
        z_adv, z = method.network(x_adv), method.network(batch.x)
        torch.testing.assert_close(method.loss(batch), expected(z_adv, z))


@pytest.mark.parametrize("guidance", ["mse", "kl"])
@pytest.mark.parametrize("companion", ["trades", "alp"])
def test_losses_of_lbgat_and_bgat(batch, guidance, companion):
    for name in ("lbgat", "bgat"):
        own = {"guidance": guidance, "companion": companion, "alpha": 6.0, "label_weight": 0.5}
        method, x_adv = with_fixed_attack(make(name, **own), batch)
        z_adv, z, t = method.network(x_adv), method.network(batch.x), method.natural(batch.x)
        # the mean runs over the batch and the classes
        mse = ((z_adv - t) ** 2).sum() / (12 * 3)
        kl = (t.softmax(1) * (t.log_softmax(1) - z_adv.log_softmax(1))).sum() / 12
        trades = (z.softmax(1) * (z.log_softmax(1) - z_adv.log_softmax(1))).sum() / 12
        expected = mse if guidance == "mse" else kl
        expected = expected + 6 * (trades if companion == "trades" else F.mse_loss(z_adv, z))
        expected = expected + 0.5 * F.cross_entropy(z_adv, batch.y)
        if name == "lbgat":
            expected = expected + F.cross_entropy(t, batch.y)
        torch.testing.assert_close(method.loss(batch), expected)


def test_gradients_flow_into_both_networks_of_lbgat_and_into_one_of_bgat(batch):
    for name, both in (("lbgat", True), ("bgat", False)):
        method, x_adv = with_fixed_attack(make(name), batch)
        guide = method.guide(method.network(x_adv), method.natural(batch.x))
        guide.backward()
        assert all(p.grad is not None for p in method.network.parameters())
        assert all((p.grad is not None) is both for p in method.natural.parameters())
        (stage,) = method.stages(1, "constant")
        method.begin(stage)
        (group,) = method.param_groups(stage)
        learning = {id(p) for p in group["params"]}
        assert all(id(p) in learning for p in method.network.parameters())
        assert all((id(p) in learning) is both for p in method.natural.parameters())


@pytest.mark.parametrize(("name", "passes"), [("at", 1), ("alp", 2), ("trades", 3), ("lbgat", 2), ("bgat", 2)])
def test_batchnorm_sees_the_training_passes_and_nothing_of_the_attack(batch, name, passes):
    """Two passes of R even where LBGAT's alpha is 0; T sees the clean batch, but not when it is frozen."""
    method = make(name).train()
    before = [m.training for m in method.network.modules()]
    method.loss(batch)
    assert method.network.backbone.stem[1].num_batches_tracked == passes
    assert [m.training for m in method.network.modules()] == before
    assert all(p.requires_grad for p in method.network.parameters())
    if name in ("lbgat", "bgat"):
        assert method.natural.training is (name == "lbgat")
        assert method.natural.backbone.stem[1].num_batches_tracked == (name == "lbgat")


@pytest.mark.parametrize("attack", ["cross_entropy", "kl"])
def test_training_attack_raises_its_own_loss_within_the_ball(batch, attack):
    method = make("at", attack=attack, epsilon=0.05, step_size=0.01).train()
    with torch.no_grad():  # statistics that belong to these images
        for _ in range(20):
            method.network(batch.x)
    x_adv = method.adversarial(batch)
    assert (x_adv - batch.x).abs().max() <= 0.05 + 1e-6
    network = method.network.eval()
    z, z_adv = network(batch.x), network(x_adv)
    if attack == "cross_entropy":
        assert F.cross_entropy(z_adv, batch.y) > F.cross_entropy(z, batch.y) + 0.01
    kl = F.kl_div(z_adv.log_softmax(1), z.log_softmax(1), log_target=True, reduction="batchmean")
    assert kl > 1e-4


def test_labels_play_no_part_in_the_attack_on_the_kl(batch):
    method, other = make("trades"), Batch(batch.x, batch.y.roll(1))
    images = []
    for given in (batch, other):
        torch.manual_seed(3)
        images.append(method.adversarial(given))
    assert torch.equal(*images)
    method = make("at")
    images = []
    for given in (batch, other):
        torch.manual_seed(3)
        images.append(method.adversarial(given))
    assert not torch.equal(*images)


def test_published_recipes():
    for name, schedule in (("at", "step_trades"), ("trades", "step_trades"), ("lbgat", "step_lbgat")):
        recipe, own = resolve(Experiment(method=name, dataset="cifar100", profile="paper", imbalance_factor=1.0))
        epochs = 76 if name == "trades" else 100  # the default of the released scripts
        assert (recipe.backbone, recipe.epochs, recipe.batch_size, recipe.lr) == ("wrn34_10", epochs, 128, 0.1)
        assert (recipe.weight_decay, recipe.nesterov, recipe.schedule) == (2e-4, False, schedule)
        assert not recipe.normalize
        assert (own["epsilon"], own["step_size"], own["attack_steps"]) == (0.031, 0.007, 10)
    assert (own["natural"], own["alpha"], own["attack"], own["guidance"]) == ("resnet18_lbgat", 0.0, "kl", "mse")
    assert hyperparameters(methods.METHODS["trades"])["trades_beta"] == 6.0
    assert hyperparameters(methods.METHODS["trades"])["attack"] == "kl"


def test_without_normalisation_the_network_sees_the_images_as_they_are():
    run = execute(Experiment(method="cross_entropy", profile="smoke", overrides="normalize=false, epochs=1"))
    normalize = load(run).network.normalize
    x = torch.rand(2, 3, 4, 4)
    assert torch.equal(normalize(x), x)


def smoke(method, overrides="", **fields):
    return execute(Experiment(method=method, profile="smoke", overrides=overrides, **fields))


def test_bgat_is_guided_by_the_network_of_a_run():
    natural = smoke("cross_entropy", "epochs=1, backbone=resnet14")
    run = smoke("bgat", f"epochs=1, attack_steps=1, natural_run={natural.id[:18]}")
    assert run.info["hyperparameters"]["natural_run"] == natural.id
    assert run.info["hyperparameters"]["natural"] == "resnet14"
    taught, teacher = load(run), load(natural)
    for name, tensor in teacher.network.state_dict().items():
        assert torch.equal(taught.natural.state_dict()[name], tensor)
    images = torch.rand(3, 3, 16, 16)
    assert torch.equal(taught.logits(images), taught.network(images))


def test_bad_natural_runs_are_refused():
    natural = smoke("cross_entropy", "epochs=1")
    for overrides, fields, message in (
        ("", {}, "name its run with overrides natural_run=ID"),
        ("natural_run=nothing", {}, "No run is called 'nothing'"),
        (f"natural_run={natural.id}", {"imbalance_factor": 10.0}, "was trained on other images"),
    ):
        with pytest.raises(InputError, match=message):
            smoke("bgat", overrides, **fields)
    natural.update(recipe=natural.info["recipe"] | {"backbone": "resnet14"})
    with pytest.raises(InputError, match="do not fit this network: train the run again"):
        smoke("bgat", f"natural_run={natural.id}")
    with pytest.raises(InputError, match="do not fit this network: train the run again"):
        load(natural)
    natural.update(state="failed")
    with pytest.raises(InputError, match="is failed: finish it first"):
        smoke("bgat", f"natural_run={natural.id}")


@pytest.mark.parametrize(
    ("name", "own", "message"),
    [
        ("at", {"attack": "ce"}, "attack 'ce' is not known"),
        ("at", {"epsilon": -1.0}, "epsilon must be a finite number, at least 0"),
        ("at", {"attack_steps": 0}, "steps and restarts must be at least 1"),
        ("at", {"ema": 1.0}, "ema must be at least 0 and below 1; got 1.0"),
        ("at", {"ramp": -1.0}, "ramp must be at least 0; got -1.0"),
        ("at", {"awp": -1.0}, "awp must be at least 0; got -1.0"),
        ("alp", {"alpha": -1.0}, "alpha must be at least 0; got -1.0"),
        ("trades", {"trades_beta": -1.0}, "trades_beta must be at least 0"),
        ("lbgat", {"companion": "at"}, "companion 'at' is not known"),
        ("lbgat", {"guidance": "kd"}, "guidance 'kd' is not known"),
        ("lbgat", {"natural": "resnet9"}, "backbone 'resnet9' is not known"),
        ("lbgat", {"label_weight": -0.1}, "label_weight must be at least 0"),
    ],
)
def test_hyperparameters_are_checked(name, own, message):
    with pytest.raises(InputError, match=message):
        make(name, **own)


def test_evaluation_uses_the_moving_average(batch):
    """After steps w_1, w_2, w_3 the average is d (d w_1 + (1 - d) w_2) + (1 - d) w_3, for BatchNorm too."""
    method = make("at", ema=0.75, attack_steps=1)
    seen = []
    for step in range(3):
        with torch.no_grad():
            for p in method.network.parameters():
                p.add_(step + 1.0)
        method.train().loss(batch)
        method.after_step()
        seen.append({n: t.clone() for n, t in method.network.state_dict().items()})
    method.eval()
    for name, average in method.average.state_dict().items():
        if average.is_floating_point():
            expected = 0.75 * (0.75 * seen[0][name] + 0.25 * seen[1][name]) + 0.25 * seen[2][name]
            torch.testing.assert_close(average, expected)
    assert torch.equal(method.logits(batch.x), method.average(batch.x))
    assert not torch.allclose(method.logits(batch.x), method.network(batch.x))
    (group,) = method.param_groups(method.stages(1, "constant")[0])
    assert len(group["params"]) == len(list(method.network.parameters()))


@pytest.mark.parametrize("name", ALL)
def test_weight_perturbation_has_its_length_and_raises_the_loss(batch, name):
    method = make(name, awp=0.01, attack_steps=1).train()
    x_adv = method.adversarial(batch)
    before = {n: b.clone() for n, b in method.named_buffers()}
    moved = method.worst_weights(batch, x_adv)
    assert all(torch.equal(b, before[n]) for n, b in method.named_buffers())
    plain = dict(method.network.named_parameters())
    assert set(moved) == {n for n, w in plain.items() if w.ndim > 1}
    for n, w in moved.items():
        torch.testing.assert_close((w - plain[n]).norm(), 0.01 * plain[n].norm())

    def loss(weights):
        return method.terms(batch, x_adv, lambda x: torch.func.functional_call(method.network, weights, (x,)))

    assert loss(moved) > loss({}) + 1e-3


def test_gradient_at_the_perturbed_weights_goes_to_the_weights(batch):
    method, x_adv = with_fixed_attack(make("at", awp=0.05), batch)
    moved = method.worst_weights(batch, x_adv)
    method.loss(batch).backward()
    other = make("at").eval()
    other.network.load_state_dict(method.network.state_dict() | {n: w.detach() for n, w in moved.items()})
    F.cross_entropy(other.network(x_adv), batch.y).backward()
    for (name, p), q in zip(method.network.named_parameters(), other.network.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, msg=name)


def test_a_run_keeps_its_average():
    """100 images are one step an epoch."""
    run = smoke(
        "trades", "epochs=3, attack_steps=1, ema=0.9, awp=0.005, n_max=10, test_per_class=2", imbalance_factor=1.0
    )
    method = load(run).eval()
    assert method.averaged == 3
    pixels = datasets.load("glyphs", n_max=10, test_per_class=2).test.pixels
    logits = method.average(torch.from_numpy(pixels) / 255)
    torch.testing.assert_close(logits, torch.from_numpy(run.predictions()["logits"]), rtol=1e-3, atol=1e-3)


def test_the_ramp_grows_with_the_progress_and_ends(batch):
    """60 training images and batches of 12: two epochs are ten batches."""
    method = make("at", ramp=2.0, epsilon=0.04, step_size=0.02, attack_steps=1).train()
    radii = []
    for step in range(11):
        now = batch._replace(progress=step / 5)
        radii.append((method.adversarial(now) - batch.x).abs().max().item())
        assert method.phase(now.progress) == (None if step < 10 else ())
    expected = [0.04 * min((12 * i + 1) / 120, 1) for i in range(11)]
    assert radii == pytest.approx(expected, rel=0.05)


def test_adversarial_training_in_small_has_a_recipe_of_its_own():
    for method, lr in (("at", 0.05), ("trades", 0.05), ("lbgat", 0.02), ("bgat", 0.02)):
        recipe, own = resolve(Experiment(method=method, profile="lesson", overrides="epochs=7"))
        assert (recipe.backbone, recipe.batch_size, recipe.lr, recipe.epochs) == ("wrn10_2", 32, lr, 7)
        assert (own["ramp"], own["attack_steps"]) == (10.0, 3)
        recipe, own = resolve(Experiment(method=method, profile="paper"))
        assert (recipe.backbone, recipe.lr, own["ramp"], own["attack_steps"]) == ("wrn34_10", 0.1, 0.0, 10)
        recipe, own = resolve(Experiment(method=method, profile="smoke"))
        assert (recipe.backbone, recipe.epochs, own["attack_steps"]) == ("resnet8", 2, 1)
