"""The losses that attacks ascend, by hand and by definition."""

import pytest
import torch

from ltlib.attacks.losses import best_other, dlr, dlr_targeted, kl_to_clean, margin


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
