"""All attacks against problems whose answer is known, and what each of them must keep."""

from functools import partial

import pytest
import torch

from ltlib.attacks import APGD, FAB, PGD, Ball, Square, attacked, fgsm
from ltlib.attacks.autoattack import Official, ensemble, gradient_attacks, in_turn
from ltlib.attacks.ball import input_gradient
from ltlib.attacks.losses import kl_to_clean, margin
from ltlib.errors import InputError
from ltlib.experiments.attack import ATTACKS
from tests.attacks.problems import EPSILON, GREY, Linear, Planted, inner_images, small_network

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
