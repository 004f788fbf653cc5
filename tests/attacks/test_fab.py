"""FAB against scipy, the exact distance, and the authors' package."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from ltlib.attacks import FAB, Ball
from ltlib.attacks.fab import to_plane
from tests.attacks.problems import EPSILON, Linear, inner_images, small_network


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_projection_onto_a_plane_is_the_smallest_change_that_scipy_finds(norm):
    torch.manual_seed(0)
    x, w = torch.rand(12, 1, 2, 4, dtype=torch.float64), torch.randn(12, 1, 2, 4, dtype=torch.float64)
    w[0, 0, 0, 0] = 0.0
    value = torch.randn(12, dtype=torch.float64)
    change = to_plane(x, w, value, norm)
    for row in range(12):
        ours, a, slack = (t[row].flatten().numpy() for t in (change, w, x))
        v = value[row].item()
        reach = np.where(a * v > 0, slack, 1 - slack) @ np.abs(a)
        if reach < abs(v):  # no image of the box is on the plane: the corner nearest to it
            assert np.allclose(ours @ a + v, np.sign(v) * (abs(v) - reach))
            continue
        assert ours @ a == pytest.approx(-v, abs=1e-9)
        assert (slack + ours >= -1e-12).all()
        assert (slack + ours <= 1 + 1e-12).all()
        if norm == "linf":  # min t with |d| <= t: a linear programme in (d, t)
            limits = [(-r, 1 - r) for r in slack] + [(0, None)]
            both = np.block([[np.eye(8), -np.ones((8, 1))], [-np.eye(8), -np.ones((8, 1))]])
            best = linprog([0] * 8 + [1], both, np.zeros(16), [[*a, 0]], [-v], limits).fun
            assert np.abs(ours).max() == pytest.approx(best, abs=1e-9)
        else:
            best = minimize(
                lambda d: d @ d,
                ours,
                jac=lambda d: 2 * d,
                bounds=[(-r, 1 - r) for r in slack],
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
