"""Sharpness and curvature of the loss of each class, against losses whose Hessian is known."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ltlib import methods, models
from ltlib.errors import InputError
from ltlib.evaluation.sharpness import class_curvature, class_sharpness, uphill

COUNTS = torch.tensor([6, 4, 2])


class Bilinear(methods.Method):
    """Logits of three classes that are products of two weights, so the loss has a saddle where both are 0."""

    def __init__(self, a, b):
        super().__init__(models.make("resnet8", 3, (0.5,) * 3, (0.2,) * 3).requires_grad_(False), COUNTS)
        self.a, self.b = (torch.nn.Parameter(torch.tensor(v)) for v in (a, b))

    def logits(self, x):
        return torch.zeros(len(x), 3) + torch.stack([self.a * self.b, torch.zeros(()), torch.zeros(())])


def data():
    torch.manual_seed(2)
    labels = torch.arange(3).repeat_interleave(COUNTS)
    return torch.randint(0, 256, (12, 3, 8, 8), dtype=torch.uint8), labels


def small():
    torch.manual_seed(0)
    return methods.make("cross_entropy", models.make("resnet8", 3, (0.5,) * 3, (0.2,) * 3), COUNTS)


def test_uphill_moves_by_the_radius_along_the_gradient_and_back():
    a, b = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([3.0], requires_grad=True)
    (a.sum() * 2 + b.sum() * 1).backward()
    before = a.detach().clone(), b.detach().clone()
    with uphill([a, b], 0.3):
        torch.testing.assert_close(a.detach(), before[0] + 0.3 * torch.tensor([2.0, 2.0]) / 3)
        torch.testing.assert_close(b.detach(), before[1] + 0.3 * torch.tensor([1.0]) / 3)
    assert torch.equal(a, before[0])
    assert torch.equal(b, before[1])


def test_weights_come_back_after_an_error_too():
    a = torch.tensor([1.0, 2.0], requires_grad=True)
    a.sum().backward()
    with pytest.raises(RuntimeError, match="stop"), uphill([a], 0.3):
        raise RuntimeError("stop")
    assert a.tolist() == [1.0, 2.0]


def test_curvature_at_a_saddle_point():
    """d2L/da db = dL/dz_0 = p_0 - [y = 0] = -2/3 or 1/3, and the rest of the Hessian is 0 at a = b = 0.

    So the eigenvalues are +-2/3 for class 0 and +-1/3 for the others.
    """
    low, high = class_curvature(Bilinear(0.0, 0.0), *data(), steps=2)
    assert low == pytest.approx([-2 / 3, -1 / 3, -1 / 3], abs=1e-5)
    assert high == pytest.approx([2 / 3, 1 / 3, 1 / 3], abs=1e-5)


def test_curvature_equals_the_whole_hessian():
    """Over the classifier of a small network, whose Hessian can be written down: (diag(p) - p p^T) x (f f^T)."""
    method = small()
    method.network.backbone.requires_grad_(False)
    images, labels = data()
    low, high = class_curvature(method, images, labels, steps=60)
    method.eval()
    for c in range(3):
        x = images[labels == c] / 255
        f = torch.cat([method.network.features(x), torch.ones(len(x), 1)], dim=1).double()
        p = method.network(x).double().softmax(1)
        hessian = sum(
            torch.kron(torch.diag(q) - q[:, None] * q, g[:, None] * g) for q, g in zip(p, f, strict=True)
        ) / len(x)
        values = torch.linalg.eigvalsh(hessian)
        assert high[c] == pytest.approx(values[-1].item(), rel=1e-3)
        assert low[c] == pytest.approx(0, abs=1e-3 * high[c])


def test_sharpness_by_hand_and_the_method_is_left_as_it_was():
    method = small().train()
    images, labels = data()
    before = {n: t.clone() for n, t in method.state_dict().items()}
    found = class_sharpness(method, images, labels, radius=0.1)
    assert method.training
    assert all(torch.equal(t, before[n]) for n, t in method.state_dict().items())
    assert all(p.grad is None for p in method.parameters())
    method.eval()
    for c in range(3):
        x, y = images[labels == c] / 255, labels[labels == c]
        loss = F.cross_entropy(method.logits(x), y)
        gradients = torch.autograd.grad(loss, list(method.parameters()))
        length = torch.cat([g.flatten() for g in gradients]).norm()
        with torch.no_grad():
            for p, g in zip(method.parameters(), gradients, strict=True):
                p += 0.1 * g / length
            moved = F.cross_entropy(method.logits(x), y)
            for (n, _), p in zip(method.named_parameters(), method.parameters(), strict=True):
                p.copy_(before[n])
        assert found[c] == pytest.approx((moved - loss).item(), abs=2e-6)
        assert np.isfinite(found[c])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x, y: class_sharpness(m, x, y, radius=0.0), "radius must be above 0; got 0.0"),
        (lambda m, x, y: class_curvature(m, x, y, steps=1), "steps must be at least 2; got 1"),
        (lambda m, x, y: class_sharpness(m, x[y != 1], y[y != 1]), "class 1 has no image"),
    ],
)
def test_what_is_not_allowed_is_said(call, message):
    with pytest.raises(InputError, match=message):
        call(small(), *data())
