"""The learning rates of the official code, epoch by epoch."""

import math

import pytest

from ltlib.training.schedule import SCHEDULES


def rates(name, epochs, base=0.1):
    return [base * SCHEDULES[name](e, epochs) for e in range(epochs)]


def test_mislas_step():
    lr = rates("step", 200)
    assert lr[:6] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1])
    assert lr[159:161] == pytest.approx([0.1, 0.01])
    assert lr[179:181] == pytest.approx([0.01, 0.001])
    assert lr[199] == pytest.approx(0.001)


def test_mislas_stage_two_cosine():
    expected = [0.1, 0.09755, 0.09045, 0.07939, 0.06545, 0.05, 0.03455, 0.02061, 0.00955, 0.00245]
    assert rates("cosine", 10) == pytest.approx(expected, abs=5e-6)


def test_reslt_step():
    lr = rates("step_reslt", 200)
    assert lr[:6] == pytest.approx([0.0467, 0.06, 0.0733, 0.0867, 0.1, 0.1], abs=5e-5)
    assert lr[159:161] == pytest.approx([0.1, 0.01])
    assert lr[179:181] == pytest.approx([0.01, 0.001])


def test_reslt_imagenet_cosine_after_warm_up():
    lr = rates("cosine_warmup", 180)
    assert lr[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert lr[4 + 88] == pytest.approx(0.05)  # half-way between epoch 4 and 180
    assert lr[179] == pytest.approx(0.1 * (1 + math.cos(math.pi * 175 / 176)) / 2)
    # five epochs of warm-up at every length, as --warmup_epochs of the released code
    assert rates("cosine_warmup", 90)[:6] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.09996664])
    assert rates("cosine_warmup", 20)[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])


def test_ldam_step():
    lr = rates("step_ldam", 200)
    assert lr[:6] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1])
    assert lr[159:161] == pytest.approx([0.1, 0.001])
    assert lr[179:181] == pytest.approx([0.001, 0.00001])


def test_lbgat_step():
    lr = rates("step_lbgat", 100)
    assert lr[0] == pytest.approx(0.02)
    assert lr[1] == lr[74] == pytest.approx(0.1)
    assert lr[75] == lr[89] == pytest.approx(0.01)
    assert lr[90] == lr[99] == pytest.approx(0.001)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("epochs", [1, 2, 7, 40])
def test_short_runs_have_positive_rates_up_to_the_base(name, epochs):
    assert all(0 < factor <= 1 for factor in rates(name, epochs, base=1))


@pytest.mark.parametrize("epochs", [76, 100])
def test_trades_decays_at_its_epochs_whatever_the_length(epochs):
    """adjust_learning_rate of train_trades_cifar10.py, epochs counted from 1: at 75, 90 and 100."""
    lr = dict(enumerate(rates("step_trades", epochs), 1))
    assert lr[1] == lr[74] == pytest.approx(0.1)
    assert lr[75] == lr[76] == pytest.approx(0.01)
    if epochs == 100:
        assert lr[89] == pytest.approx(0.01)
        assert lr[90] == lr[99] == pytest.approx(0.001)
        assert lr[100] == pytest.approx(0.0001)


def test_robal_decays_again_in_every_epoch_as_its_code_does():
    """adjust_learning_rate of train.py multiplies the rate of the epoch before: at 60 to 62 by 0.1, at 75 by 0.01."""
    lr = dict(enumerate(rates("step_robal", 80), 1))
    assert [lr[1], lr[59], lr[60], lr[61], lr[62]] == pytest.approx([0.1, 0.1, 1e-2, 1e-3, 1e-4])
    assert lr[75] / lr[74] == pytest.approx(0.01)
    described = dict(enumerate(rates("step_robal_described", 80), 1))
    assert [described[e] for e in (59, 60, 74, 75, 80)] == pytest.approx([0.1, 1e-2, 1e-2, 1e-3, 1e-3])
