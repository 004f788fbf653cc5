"""Square attack: its schedule, its bumps, its queries."""

import pytest
import torch
import torch.nn.functional as F

from ltlib.attacks import Square
from ltlib.attacks.losses import margin
from ltlib.attacks.square import _bumps
from tests.attacks.problems import EPSILON, Linear, inner_images


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
    """The search adds bumps, and so it can follow weights of that shape."""
    row, column = torch.meshgrid(torch.arange(10.0), torch.arange(10.0), indexing="ij")
    bump = (-((row - 3) ** 2 + (column - 6) ** 2) / 6).exp()
    w = torch.stack([bump, -bump, bump]).flatten()

    def model(images):  # class 0 by far: it goes on to the end
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
