"""APGD step by step, and against PGD."""

import pytest
import torch

from ltlib.attacks import APGD, PGD
from ltlib.attacks.apgd import StepSize, check_points
from ltlib.attacks.losses import margin
from tests.attacks.problems import Linear, inner_images


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
    # the third: 3 rises of 4 are not more than 75 %; and its best does not rise either
    assert search.check(torch.tensor([8.0, 1.0, 4.0])).tolist() == [False, False, True]
    for value in ([9.0, 6.0, 4.0], [10.0, 7.0, 5.0]):
        search.saw(torch.tensor(value))
    # the first rises, but its best is said not to rise; the third was halved last time
    assert search.check(torch.tensor([8.0, 7.0, 4.0])).tolist() == [True, False, False]


def test_apgd_is_at_least_as_strong_as_pgd_100_on_a_trained_network(trained):
    network, x, y = trained
    pgd = network(PGD(0.02, steps=100, step_size=0.002)(network, x, y)).argmax(1) == y
    apgd = network(APGD(0.02)(network, x, y)).argmax(1) == y
    clean = network(x).argmax(1) == y
    assert clean.float().mean() > 0.8
    assert 0.02 < pgd.float().mean() < clean.float().mean() - 0.2  # neither hopeless nor invincible
    assert apgd.sum() <= pgd.sum()
