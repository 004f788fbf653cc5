"""Attacks against problems whose answer is known."""

import importlib.util
import logging
import sys
import types
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import linprog, minimize
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ltlib import models
from ltlib.attacks import APGD, FAB, PGD, Ball, Square, attacked, fgsm
from ltlib.attacks.apgd import StepSize, check_points
from ltlib.attacks.autoattack import AttackWarning, Official, ensemble, gradient_attacks, in_turn, official
from ltlib.attacks.ball import input_gradient
from ltlib.attacks.fab import to_plane
from ltlib.attacks.losses import best_other, dlr, dlr_targeted, kl_to_clean, margin
from ltlib.attacks.square import _bumps
from ltlib.errors import InputError
from ltlib.experiments.attack import ATTACKS

EPSILON = 0.1
GREY = torch.full((1, 3, 2, 2), 0.5)


class Linear(nn.Module):
    """z = W x + b on flattened images."""

    def __init__(self, classes=2, features=12, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.w, self.b = nn.Parameter(torch.randn(classes, features)), nn.Parameter(torch.randn(classes))

    def forward(self, x):
        return F.linear(x.flatten(1), self.w, self.b)


def inner_images(n=6):
    """Images far enough from 0 and 1 that only the ball limits the attack."""
    torch.manual_seed(1)
    return torch.rand(n, 3, 2, 2) * 0.4 + 0.3


def small_network():
    torch.manual_seed(0)
    return models.make("resnet8", 5, (0.5,) * 3, (0.2,) * 3).eval()


# ---- closed forms


WHITE_BOX = {
    "fgsm": fgsm(EPSILON),
    "pgd": PGD(EPSILON, steps=20, step_size=0.02),
    "pgd margin": PGD(EPSILON, steps=20, step_size=0.02, loss="margin"),
    "apgd": APGD(EPSILON, steps=20),
    "pgd l2": PGD(EPSILON, "l2", steps=40, step_size=0.02),
}


@pytest.mark.parametrize("name", [n for n in WHITE_BOX if n != "apgd"])
def test_optimum_of_a_linear_model(name):
    """The best change is eps * sign (or direction) of the weights' difference and moves the margin by its dual norm."""
    attack, model, x = WHITE_BOX[name], Linear(), inner_images()
    y = model(x).argmax(1)
    x_adv = attack(model, x, y)
    towards = model.w[1 - y] - model.w[y]  # the direction in which the margin grows
    norm = towards.norm(dim=1) if attack.norm == "l2" else towards.abs().sum(1)
    expected = margin(model(x), y) + EPSILON * norm
    torch.testing.assert_close(margin(model(x_adv), y), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_apgd_breaks_a_linear_model_exactly_where_the_ball_reaches_the_boundary(norm):
    """distance = |margin| / dual norm of the weights' difference, here of many images with many distances."""
    model, x = Linear(), inner_images(200)
    y = model(x).argmax(1)
    towards = (model.w[1] - model.w[0]).abs()
    distance = -margin(model(x), y) / (towards.sum() if norm == "linf" else towards.norm())
    epsilon = distance.median().item()
    fooled = model(APGD(epsilon, norm, steps=50)(model, x, y)).argmax(1) != y
    clear = (distance - epsilon).abs() > 0.01 * epsilon
    assert torch.equal(fooled[clear], (distance < epsilon)[clear])


def test_square_finds_the_optimum_of_a_linear_model_without_gradients():
    model, x = Linear(seed=3), inner_images()
    y = model(x).argmax(1)
    shifted = lambda images: model(images) + 100 * F.one_hot(y[: len(images)], 2)  # noqa: E731  never fooled: it goes on
    x_adv = Square(EPSILON, queries=3000)(shifted, x, y)
    best = margin(model(x), y) + EPSILON * (model.w[1] - model.w[0]).abs().sum()
    gained = margin(model(x_adv), y)
    assert (gained <= best + 1e-5).all()
    assert (gained > best - 0.05 * (best - margin(model(x), y))).all()


def test_square_in_l2_comes_near_the_optimum_of_a_linear_model_whose_weights_are_a_bump():
    """The search adds bumps, so that weights of such a shape are what it can follow."""
    row, column = torch.meshgrid(torch.arange(10.0), torch.arange(10.0), indexing="ij")
    bump = (-((row - 3) ** 2 + (column - 6) ** 2) / 6).exp()
    w = torch.stack([bump, -bump, bump]).flatten()

    def model(images):  # class 0 by far, so that it goes on to the end
        z = images.flatten(1) @ w
        return torch.stack([torch.full_like(z, 100), z], 1)

    torch.manual_seed(0)
    x, y = torch.rand(6, 3, 10, 10) * 0.4 + 0.3, torch.zeros(6, dtype=torch.long)
    x_adv = Square(EPSILON, "l2", queries=3000)(model, x, y)
    gained = margin(model(x_adv), y) - margin(model(x), y)
    assert (gained <= EPSILON * w.norm() + 1e-5).all()
    assert (gained > 0.5 * EPSILON * w.norm()).all()  # a random change gains a seventeenth


def test_bumps_of_square():
    """Algorithm 3's eta of three by three: one row above two, of opposite sign, length 1."""
    # distances 1 0 1 above; below 1 1 1 and 1 0 1, where 1/1 + 1/4 is the height of the middle
    expected = torch.tensor([[1 / 4, 5 / 4, 1 / 4], [-1 / 4, -1 / 4, -1 / 4], [-1 / 4, -5 / 4, -1 / 4]])
    torch.testing.assert_close(_bumps(3, torch.device("cpu")), expected / expected.norm())


class Planted(nn.Module):
    """Class 1 exactly where the first pixel of the first channel exceeds 0.55: every image at 0.5 is 0.05 away."""

    def forward(self, x):
        return torch.stack([torch.zeros(len(x)), 50 * (x[:, 0, 0, 0] - 0.55)], dim=1)


@pytest.mark.parametrize(
    "attack",
    [
        fgsm(0.06),
        PGD(0.06, step_size=0.01),
        PGD(0.06, step_size=0.01, loss="margin"),
        APGD(0.06),
        Square(0.06, queries=500),
        PGD(0.06, "l2", step_size=0.01),
        APGD(0.06, "l2"),
        FAB(0.06, steps=20),
        FAB(0.06, "l2", steps=20),
    ],
    ids=repr,
)
def test_planted_adversarial_examples_are_found_and_none_where_none_is(attack):
    x, y = torch.full((20, 3, 8, 8), 0.5), torch.zeros(20, dtype=torch.long)
    model = Planted()
    assert (model(attack(model, x, y)).argmax(1) == 1).all()
    beyond = type(attack)(**(vars(attack) | {"epsilon": 0.04}))
    assert (model(beyond(model, x, y)).argmax(1) == 0).all()


# ---- what every attack must keep


EVERY = [
    *WHITE_BOX.values(),
    PGD(EPSILON, loss="kl", start="gaussian"),
    PGD(EPSILON, restarts=2, steps=3),
    APGD(EPSILON, steps=5, targets=9),
    APGD(EPSILON, "l2", steps=5, loss="dlr", restarts=2),
    Square(EPSILON, queries=20),
    Square(EPSILON, "l2", queries=20),
    FAB(EPSILON, steps=5),
    FAB(EPSILON, "l2", steps=5, targets=2),
    APGD(EPSILON, steps=5, draws=2),
]


@pytest.mark.parametrize("attack", EVERY, ids=repr)
def test_result_lies_in_the_ball_and_is_an_image_and_nothing_else_changes(attack):
    network = small_network()
    torch.manual_seed(2)
    x, y = torch.rand(8, 3, 8, 8), torch.arange(8) % 5
    before, images = {n: t.clone() for n, t in network.state_dict().items()}, x.clone()
    with attacked(network):
        y = network(x).argmax(1)
        x_adv = attack(network, x, y)
    assert (Ball(EPSILON, getattr(attack, "norm", "linf")).size(x_adv - x) <= EPSILON + 1e-6).all()
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    fooled = network(x_adv).argmax(1) != y
    assert (x_adv[fooled] != x[fooled]).flatten(1).any(1).all()
    assert not (isinstance(attack, PGD) and torch.equal(x_adv, x))
    assert not x_adv.requires_grad
    assert torch.equal(x, images)
    assert all(torch.equal(t, before[n]) for n, t in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("attack", EVERY, ids=repr)
def test_same_seed_same_images(attack):
    network = small_network()
    x = torch.rand(6, 3, 8, 8)
    y = network(x).argmax(1)
    first, again = (torch.manual_seed(7) and attack(network, x, y) for _ in range(2))
    assert torch.equal(first, again)


def test_attacked_restores_modes_and_parameters():
    network = small_network().train()
    network.backbone.stem.eval()
    network.classifier.requires_grad_(False)
    modes = [m.training for m in network.modules()]
    learning = [p.requires_grad for p in network.parameters()]

    def attack_that_fails():
        with attacked(network):
            assert not any(m.training for m in network.modules())
            assert not any(p.requires_grad for p in network.parameters())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        attack_that_fails()
    assert [m.training for m in network.modules()] == modes
    assert [p.requires_grad for p in network.parameters()] == learning


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_ball(norm):
    ball = Ball(0.3, norm)
    torch.manual_seed(0)
    x = torch.full((500, 3, 4, 4), 0.5)
    drawn = ball.size(ball.random(x) - x)
    assert (drawn <= 0.3 + 1e-6).all()
    assert drawn.max() > 0.29
    far = torch.randn_like(x)
    projected = ball.project(x + far, x)
    torch.testing.assert_close(ball.size(projected - x), torch.full((500,), 0.3))
    near = x + 0.001 * far
    torch.testing.assert_close(ball.project(near, x), near)
    torch.testing.assert_close(ball.project(projected, x), projected)


# ---- losses


def test_losses_on_a_hand_case():
    z, y = torch.tensor([[3.0, 1.0, 2.0, -1.0]]), torch.tensor([0])
    assert best_other(z, y).item() == 2
    assert margin(z, y).item() == -1
    assert dlr(z, y).item() == pytest.approx(-1 / 2)
    assert dlr_targeted(z, y, torch.tensor([1])).item() == pytest.approx(-2 / (3 - (1 - 1) / 2))


@pytest.mark.parametrize("loss", [dlr, lambda z, y: dlr_targeted(z, y, (y + 1) % 5)])
def test_dlr_does_not_see_shift_and_scale(loss):
    torch.manual_seed(0)
    z, y = torch.randn(9, 5, dtype=torch.float64), torch.arange(9) % 5
    torch.testing.assert_close(loss(10 * z + 3, y), loss(z, y))


def test_kl_with_an_underflowing_target_is_finite_and_agrees_with_the_definition():
    clean = torch.tensor([[200.0, 0.0, -200.0]])
    z = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    value = kl_to_clean(z, clean)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(z.grad).all()
    torch.manual_seed(0)
    z, clean = torch.randn(4, 5), torch.randn(4, 5)
    p, q = clean.softmax(1), z.softmax(1)
    torch.testing.assert_close(kl_to_clean(z, clean), (p * (p / q).log()).sum(1))


def test_clean_prediction_taken_once_gives_the_same_images():
    network = small_network()
    x, y = torch.rand(6, 3, 8, 8), torch.zeros(6, dtype=torch.long)
    attack = PGD(0.031, steps=5, step_size=0.007, loss="kl", start="gaussian")
    torch.manual_seed(3)
    ours = attack(network, x, y)
    torch.manual_seed(3)
    x_adv, ball = x + 0.001 * torch.randn_like(x), Ball(0.031)
    for _ in range(5):
        gradient, _ = input_gradient(lambda v: kl_to_clean(network(v), network(x).detach()), x_adv)
        x_adv = ball.project(x_adv + 0.007 * gradient.sign(), x)
    assert torch.equal(ours, x_adv)


# ---- APGD and Square, step by step


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(100, [22, 41, 57, 70, 80, 87, 93, 99]), (10, [2, 3, 4, 5, 6, 7, 8, 9, 10]), (1, [1])],
)
def test_check_points(steps, expected):
    assert check_points(steps) == expected


def test_step_size_is_halved_when_the_loss_rises_too_rarely_or_the_best_stands_still():
    search = StepSize(torch.zeros(3))
    for value in ([1.0, 1.0, 1.0], [2.0, 0.0, 2.0], [3.0, 1.0, 3.0], [4.0, 0.0, 4.0]):
        search.saw(torch.tensor(value))
    # the first and third rose in 4 of 4 steps, the second in 2 of 4
    assert search.check(torch.tensor([4.0, 1.0, 4.0])).tolist() == [False, True, False]
    for value in ([5.0, 2.0, 1.0], [6.0, 3.0, 2.0], [7.0, 4.0, 3.0], [8.0, 5.0, 3.5]):
        search.saw(torch.tensor(value))
    # the third: 3 rises of 4 are not more than 75 %; and its best stands still besides
    assert search.check(torch.tensor([8.0, 1.0, 4.0])).tolist() == [False, False, True]
    for value in ([9.0, 6.0, 4.0], [10.0, 7.0, 5.0]):
        search.saw(torch.tensor(value))
    # the first rises, but its best is said to stand still; the third was halved last time
    assert search.check(torch.tensor([8.0, 7.0, 4.0])).tolist() == [True, False, False]


def test_squares_shrink_as_published():
    """AutoAttack's 5000 queries end at an eighth of the halvings' list; rescaled, they run through all of it."""
    pixels = 0.8 * 32 * 32
    expected = [round((pixels / 2**i) ** 0.5) for i in range(10)]
    after = (10, 11, 51, 201, 501, 1001, 2001, 4001, 4999)
    assert [Square(0.1).side(tried, 32, 32) for tried in after] == [*expected[:8], expected[7]]
    stretched = Square(0.1, queries=5000, rescale=True)
    after = (0, 6, 26, 101, 251, 501, 1001, 2001, 3001, 4001)
    assert [stretched.side(tried, 32, 32) for tried in after] == expected
    assert stretched.side(4999, 8, 8) == 1
    odd = {query: Square(0.1, "l2", rescale=True).side(query, 32, 32) for query in (1, 6, 26, 101, 1001, 4001)}
    assert list(odd.values()) == [29, 21, 15, 11, 5, 3]


def test_apgd_is_at_least_as_strong_as_pgd_100_on_a_trained_network(trained):
    network, x, y = trained
    pgd = network(PGD(0.02, steps=100, step_size=0.002)(network, x, y)).argmax(1) == y
    apgd = network(APGD(0.02)(network, x, y)).argmax(1) == y
    clean = network(x).argmax(1) == y
    assert clean.float().mean() > 0.8
    assert 0.02 < pgd.float().mean() < clean.float().mean() - 0.2  # neither hopeless nor invincible
    assert apgd.sum() <= pgd.sum()


def test_more_steps_and_restarts_help_the_attacker(trained):
    network, x, y = trained
    right = {}
    for name, attack in {
        "fgsm": fgsm(0.02),
        "5 steps": PGD(0.02, steps=5, step_size=0.01),
        "20 steps": PGD(0.02, steps=20, step_size=0.002),
        "3 restarts": PGD(0.02, steps=20, step_size=0.002, restarts=3),
    }.items():
        torch.manual_seed(0)
        right[name] = int((network(attack(network, x, y)).argmax(1) == y).sum())
    assert right["3 restarts"] <= right["20 steps"] <= right["5 steps"] < right["fgsm"]


# ---- several in turn


def test_attacks_in_turn_leave_what_withstands_all_and_never_touch_the_fooled(trained):
    network, x, y = trained
    seen = {}

    def counting(name, attack):
        def run(logits, images, labels):
            seen[name] = len(images)
            return attack(logits, images, labels)

        return run

    attacks = {name: counting(name, a) for name, a in ensemble(0.02, steps=20, queries=50).items()}
    torch.manual_seed(0)
    x_adv, z_adv, withstood = in_turn(attacks, network, x, y)
    clean = network(x).argmax(1) == y
    assert list(withstood) == ["APGD-CE", "APGD-T", "Square"]
    assert seen["APGD-CE"] == clean.sum()
    assert seen["APGD-T"] == withstood["APGD-CE"].sum()
    assert seen["Square"] == withstood["APGD-T"].sum()
    assert torch.equal(network(x_adv).argmax(1) == y, withstood["Square"])
    assert torch.equal(z_adv.argmax(1) == y, withstood["Square"])
    torch.testing.assert_close(z_adv, network(x_adv), atol=1e-4, rtol=1e-4)
    assert torch.equal(x_adv[~clean], x[~clean])
    # of what withstood all, the worst image that was tried
    held = withstood["Square"]
    worse = F.cross_entropy(network(x_adv[held]), y[held], reduction="none")
    assert (worse >= F.cross_entropy(network(x[held]), y[held], reduction="none") - 1e-4).all()
    assert not torch.equal(x_adv[held], x[held])
    assert withstood["APGD-CE"].sum() < clean.sum()


class Package:
    """Stands for the official package: notes how it is called and warns as it does."""

    def __init__(self, name, calls):
        self.name, self.calls = name, calls

    def AutoAttack(self, model, **options):
        self.calls.update(options)
        attack = types.SimpleNamespace(
            verbose=True,
            attacks_to_run=["apgd-ce", "apgd-t", "fab-t", "square"],
            apgd_targeted=types.SimpleNamespace(n_target_classes=9),
            fab=types.SimpleNamespace(n_target_classes=9),
            logger=logging.getLogger("auto-attack")
            if self.name == "pyautoattack"
            else types.SimpleNamespace(log=print),
        )

        def run_standard_evaluation(images, labels):
            self.calls.update(
                contiguous=images.is_contiguous(),
                verbose=attack.verbose,
                attacks=attack.attacks_to_run,
                targets=(attack.apgd_targeted.n_target_classes, attack.fab.n_target_classes),
            )
            if self.name == "pyautoattack":
                attack.logger.debug("initial accuracy: 50%")
                attack.logger.warning("Square Attack has decreased the robust accuracy")
                return images, labels
            attack.logger.log("initial accuracy: 50%")
            attack.logger.log("Warning: Square Attack has decreased the robust accuracy")
            return images

        attack.run_standard_evaluation = run_standard_evaluation
        return attack


@pytest.fixture(params=["autoattack", "pyautoattack"])
def package_calls(request, monkeypatch):
    """How the official package is called, under both of its names."""
    calls = {}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == request.param)
    monkeypatch.setitem(sys.modules, request.param, Package(request.param, calls))
    return calls


def test_official_package_is_called_as_published_and_its_warnings_are_heard(package_calls):
    x, y = torch.rand(2, 3, 2, 2).to(memory_format=torch.channels_last), torch.tensor([0, 1])
    with pytest.warns(AttackWarning, match="Square Attack has decreased") as heard:
        found = Official(EPSILON, "l2")(Linear(12), x, y)
    assert len(heard) == 1
    assert torch.equal(found, x)
    assert package_calls == {
        "norm": "L2",
        "eps": EPSILON,
        "seed": 0,
        "device": x.device,
        "contiguous": True,
        "verbose": False,
        "attacks": ["apgd-ce", "apgd-t", "fab-t", "square"],
        "targets": (9, 9),
    }


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 9, 10])
@pytest.mark.filterwarnings("ignore::ltlib.attacks.autoattack.AttackWarning")
def test_official_package_with_few_classes_has_as_many_targets_as_there_are(package_calls, classes):
    ((name, attack),) = official(EPSILON, "linf", classes).items()
    attack(Linear(classes), torch.rand(2, 3, 2, 2), torch.tensor([0, 1]))
    assert package_calls["targets"] == (min(9, classes - 1),) * 2
    targeted_dlr = classes >= 4  # its denominator holds the fourth largest logit
    assert ("apgd-t" in package_calls["attacks"]) == targeted_dlr
    assert name == ("AutoAttack" if targeted_dlr else "AutoAttack without APGD-T")


def test_every_target_is_tried():
    """Class 1 is the most likely other class and cannot be reached. Class 2 can, in a brighter image."""

    def logits(images):
        mean = images.mean((1, 2, 3)) - 0.5
        return torch.stack([1 + 0 * mean, 0.9 + 0 * mean, 50 * mean, 0 * mean - 5], 1)

    x, y = torch.full((2, 3, 4, 4), 0.5), torch.zeros(2, dtype=torch.long)
    for make in (partial(APGD, 0.05, steps=20), partial(FAB, 0.05, steps=20)):
        torch.manual_seed(0)
        assert (logits(make(targets=1)(logits, x, y)).argmax(1) == 0).all()
        for targets in (2, 9):
            assert (logits(make(targets=targets)(logits, x, y)).argmax(1) == 2).all()


def test_each_attack_of_the_command_line_has_the_settings_of_its_paper():
    """Those of AutoAttack: 100 steps of APGD, 9 targets, FAB with 100 steps, 5000 queries of an unscaled Square, and 20
    draws against random networks."""
    parts = {name: attack for key in ATTACKS for name, attack in ATTACKS[key](0.1, "l2", 10).items()}
    assert list(ATTACKS["ensemble"](0.1, "l2", 10)) == ["APGD-CE", "APGD-T", "Square"]
    assert parts == {
        "PGD-20": PGD(0.1, "l2", steps=20, step_size=0.01, loss="cross_entropy", start="uniform", restarts=1, draws=1),
        "CW-20": PGD(0.1, "l2", steps=20, step_size=0.01, loss="margin", start="uniform", restarts=1, draws=1),
        "APGD-CE": APGD(0.1, "l2", steps=100, loss="cross_entropy", restarts=1, targets=0, draws=1),
        "APGD-T": APGD(0.1, "l2", steps=100, restarts=1, targets=9, draws=1),
        "FAB-T": FAB(0.1, "l2", steps=100, targets=9),
        "Square": Square(0.1, "l2", queries=5000, p_init=0.8, rescale=False),
        "APGD-CE EOT-20": APGD(0.1, "l2", steps=100, loss="cross_entropy", restarts=1, targets=0, draws=20),
        "APGD-DLR EOT-20": APGD(0.1, "l2", steps=100, loss="dlr", restarts=1, targets=0, draws=20),
        "AutoAttack": Official(0.1, "l2"),
    }


def test_official_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install pyautoattack"):
        Official(EPSILON)(Planted(), GREY, torch.tensor([0]))


@pytest.mark.parametrize("classes", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "make",
    [gradient_attacks, partial(ensemble, queries=20), ATTACKS["fab"], ATTACKS["eot"]],
    ids=["apgd", "ensemble", "fab", "eot"],
)
def test_few_classes_go_through_the_attacks(make, classes):
    """The linear model's largest radius at which an image is right is known, so the number is, too."""
    model, x = Linear(classes), inner_images(40)
    y = model(x).argmax(1)
    towards = (model.w[:, None] - model.w[y]).abs().sum(-1)  # (K, n), the dual norm for each other class
    gaps = model(x).gather(1, y[:, None]) - model(x)
    distance = (gaps.T / towards.clamp(min=1e-12)).scatter(0, y[None], torch.inf).amin(0)
    epsilon = distance.median().item()
    _, _, withstood = in_turn(make(epsilon, "linf", classes), model, x, y)
    clear = (distance - epsilon).abs() > 0.01 * epsilon
    assert torch.equal(list(withstood.values())[-1][clear], (distance > epsilon)[clear])
    assert "APGD-T" in withstood or classes < 4 or make in (ATTACKS["fab"], ATTACKS["eot"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PGD(-0.1), "epsilon must be a finite number, at least 0; got -0.1"),
        (lambda: APGD(float("nan")), "at least 0; got nan"),
        (lambda: Square(float("inf"), "l2"), "at least 0; got inf"),
        (lambda: PGD(8), "at most 1; got 8. Did you mean 8/255?"),
        (lambda: fgsm(1.5), "at most 1; got 1.5. Did you mean 1.5/255?"),
        (lambda: PGD(norm="l1"), "norm 'l1' is not known"),
        (lambda: PGD(loss="ce"), "loss 'ce' is not known"),
        (lambda: PGD(loss="kl", start="clean"), "no gradient at the clean image"),
        (lambda: PGD(steps=0), "steps and restarts must be at least 1; got 0 and 1"),
        (lambda: PGD(step_size=0), "step_size must be above 0"),
        (lambda: PGD(draws=0), "draws must be at least 1; got 0"),
        (lambda: APGD(draws=-2), "draws must be at least 1; got -2"),
        (lambda: FAB(steps=0), "steps and targets must be at least 1; got 0 and 9"),
        (lambda: APGD(targets=-1), "targets at least 0"),
        (lambda: Square(p_init=0), r"p_init in \(0, 1\]"),
        (lambda: APGD(loss="dlr")(Planted(), GREY, torch.tensor([0])), "at least 3 classes"),
        (lambda: APGD(targets=1)(Planted(), GREY, torch.tensor([0])), "at least 4 classes"),
    ],
)
def test_settings_are_checked(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_square_leaves_out_what_is_fooled_at_every_tenth_query(norm):
    x, y = torch.full((4, 3, 8, 8), 0.5), torch.zeros(4, dtype=torch.long)
    asked = []

    def model(images):  # the first image can be fooled by any change, the others by none
        asked.append(len(images))
        changed = (images != 0.5).flatten(1).any(1)
        easy = torch.arange(len(images)) == 0 if len(images) == 4 else torch.zeros(len(images), dtype=torch.bool)
        return torch.stack([1.0 - 2 * (changed & easy).float(), torch.zeros(len(images))], 1)

    x_adv = Square(0.1, norm, queries=23)(model, x, y)
    assert asked == [4, 4] + [3] * 22
    assert (x_adv[0] != x[0]).any()


def test_square_changes_no_image_after_it_is_fooled():
    """Between two looks a fooled image is asked about again, and stays what it was when it was fooled."""
    x, y = torch.full((2, 3, 8, 8), 0.5), torch.zeros(2, dtype=torch.long)
    fooled = []

    def model(images):  # fooled by the third query, and every later one would be kept for its larger margin
        call = len(fooled)
        fooled.append(images.clone())
        return torch.stack([torch.tensor([1.0, 1.0]), torch.tensor([0.0, 0.0]) + call - 2.5], 1)

    x_adv = Square(0.1, queries=9)(model, x, y)
    assert len(fooled) == 10
    assert torch.equal(x_adv, fooled[4])  # the first call looks at the clean images, the last three lose


# ---- FAB


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_projection_onto_a_plane_is_the_smallest_change_that_scipy_finds(norm):
    torch.manual_seed(0)
    x, w = torch.rand(12, 1, 2, 4, dtype=torch.float64), torch.randn(12, 1, 2, 4, dtype=torch.float64)
    w[0, 0, 0, 0] = 0.0
    value = torch.randn(12, dtype=torch.float64)
    change = to_plane(x, w, value, norm)
    for row in range(12):
        ours, a, room = (t[row].flatten().numpy() for t in (change, w, x))
        v = value[row].item()
        reach = np.where(a * v > 0, room, 1 - room) @ np.abs(a)
        if reach < abs(v):  # no image of the box is on the plane: the corner nearest to it
            assert np.allclose(ours @ a + v, np.sign(v) * (abs(v) - reach))
            continue
        assert ours @ a == pytest.approx(-v, abs=1e-9)
        assert (room + ours >= -1e-12).all()
        assert (room + ours <= 1 + 1e-12).all()
        if norm == "linf":  # min t with |d| <= t: a linear programme in (d, t)
            limits = [(-r, 1 - r) for r in room] + [(0, None)]
            both = np.block([[np.eye(8), -np.ones((8, 1))], [-np.eye(8), -np.ones((8, 1))]])
            best = linprog([0] * 8 + [1], both, np.zeros(16), [[*a, 0]], [-v], limits).fun
            assert np.abs(ours).max() == pytest.approx(best, abs=1e-9)
        else:
            best = minimize(
                lambda d: d @ d,
                ours,
                jac=lambda d: 2 * d,
                bounds=[(-r, 1 - r) for r in room],
                constraints={
                    "type": "eq",
                    "fun": lambda d, a=a, v=v: a @ d + v,
                    "jac": lambda d, a=a: a,
                },
                method="SLSQP",
                options={"ftol": 1e-14},
            )
            assert ours @ ours == pytest.approx(best.fun, rel=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fab_finds_the_distance_to_the_boundary_of_a_linear_model(norm):
    model, x = Linear(classes=4), inner_images(50)
    y = model(x).argmax(1)
    target = model(x).topk(2, dim=1).indices[:, 1]
    towards = model.w[target] - model.w[y]
    size = towards.norm(dim=1) if norm == "l2" else towards.abs().sum(1)
    z = model(x)
    distance = (z.amax(1) - z.gather(1, target[:, None]).squeeze(1)) / size
    image, found = FAB(EPSILON, norm, steps=30).nearest(model, x, y, target)
    near = distance < 0.25  # the box does not come in between
    assert near.sum() > 20
    assert (found[near] <= 1.06 * distance[near]).all()  # a step goes 5 % beyond the boundary
    assert (model(image).argmax(1) != y)[near].all()
    torch.testing.assert_close(Ball(1.0, norm).size(image - x)[near], found[near])


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        ("linf", [[0.523125, 0.426875, 0.226875, 0.526875], [0.718928, 0.681072, 0.581072, 0.090997]]),
        ("l2", [[0.563608, 0.418394, 0.321767, 0.659005], [0.824558, 0.781294, 0.765112, 0.194846]]),
    ],
)
def test_fab_ends_where_the_authors_package_ends_on_a_curved_boundary(norm, expected):
    """The numbers are those of pyautoattack 0.2.0 after six steps."""

    def curved(images):
        v = images.flatten(1)
        z = 4 * v[:, 0] ** 2 + torch.sin(5 * v[:, 1]) - 2 * v[:, 2] * v[:, 3] - 1.7
        return torch.stack([torch.zeros(len(v)), z], 1)

    x = torch.tensor([[0.35, 0.6, 0.4, 0.7], [0.5, 0.9, 0.8, 0.3]]).view(2, 1, 2, 2)
    image, _ = FAB(EPSILON, norm, steps=6).nearest(curved, x, torch.tensor([0, 0]), torch.tensor([1, 1]))
    torch.testing.assert_close(image.flatten(1), torch.tensor(expected), atol=2e-6, rtol=0)


@pytest.mark.parametrize(("norm", "theirs"), [("linf", "Linf"), ("l2", "L2")])
def test_fab_agrees_with_the_authors_package(norm, theirs):
    package = pytest.importorskip("pyautoattack.fab_pt", reason="the official package is not installed")
    network = small_network().requires_grad_(False)
    torch.manual_seed(1)
    x = torch.rand(12, 3, 8, 8) * 0.6 + 0.2
    z = network(x)
    y = z.argmax(1)
    official_attack = package.FABAttack_PT(
        network, norm=theirs, n_restarts=1, n_iter=20, eps=10.0, targeted=True, n_target_classes=1, device="cpu"
    )
    expected = official_attack.perturb(x, y)
    image, distance = FAB(EPSILON, norm, steps=20).nearest(network, x, y, z.topk(2, dim=1).indices[:, 1])
    # the steps are the same up to rounding, which sends the path of an image now and then around another kink
    same = (image - expected).abs().amax((1, 2, 3)) < 1e-5
    assert same.sum() >= 11
    torch.testing.assert_close(
        distance, Ball(10.0 if norm == "l2" else 1.0, norm).size(expected - x), rtol=0.02, atol=0
    )


# ---- random networks


def test_draws_average_the_gradient_of_a_random_network():
    """The gradient of |noise| + x is 1 in expectation, and one draw is far from it."""
    torch.manual_seed(0)
    x = torch.full((1, 1, 30, 30), 0.5)
    loss = lambda images: (images * torch.randn_like(images) * 3 + images).flatten(1).sum(1)  # noqa: E731
    errors = [(input_gradient(loss, x, draws)[0] - 1).std().item() for draws in (1, 100)]
    assert errors[0] == pytest.approx(3, rel=0.1)
    assert errors[1] == pytest.approx(0.3, rel=0.1)
    value = input_gradient(lambda images: images.flatten(1).sum(1), x, 7)[1]
    torch.testing.assert_close(value, torch.tensor([450.0]))


def test_expectation_breaks_a_network_that_one_draw_does_not(trained):
    network, x, y = trained
    x, y = x[::4], y[::4]

    def random(images):  # most of the gradient of one pass is that of the noise
        return network((images + 0.1 * torch.randn_like(images)).clamp(0, 1))

    left = {}
    for draws in (1, 16):
        torch.manual_seed(0)
        x_adv = PGD(0.02, steps=8, step_size=0.005, draws=draws)(random, x, y)
        left[draws] = sum((random(x_adv).argmax(1) == y).float().mean().item() for _ in range(10)) / 10
    assert left[16] < left[1] - 0.1


# ---- no wait for the host


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


def test_bounds_that_are_computed_once_project_as_two_clamps_do():
    """Bit for bit: first to the cube around the image, then to [0, 1]."""
    torch.manual_seed(0)
    x, far = torch.rand(20, 3, 8, 8), torch.randn(20, 3, 8, 8)
    x[:4] = x[:4].round()
    for epsilon in (0.0, 0.031, 8 / 255, 1.0):
        found = Ball(epsilon).around(x)(far)
        assert torch.equal(found, far.clamp(x - epsilon, x + epsilon).clamp(0, 1))


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
