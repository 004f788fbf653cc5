"""The ball: what it holds, and where it projects to."""

import pytest
import torch

from ltlib.attacks import Ball


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


def test_bounds_that_are_computed_once_project_as_two_clamps_do():
    """Bit for bit: first to the cube around the image, then to [0, 1]."""
    torch.manual_seed(0)
    x, far = torch.rand(20, 3, 8, 8), torch.randn(20, 3, 8, 8)
    x[:4] = x[:4].round()
    for epsilon in (0.0, 0.031, 8 / 255, 1.0):
        found = Ball(epsilon).around(x)(far)
        assert torch.equal(found, far.clamp(x - epsilon, x + epsilon).clamp(0, 1))
