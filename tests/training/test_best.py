"""The epoch that is reported: the best on held-out images, also after a kill, and without a trace in the training."""

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from ltlib.training import engine as training
from ltlib.training.engine import Engine
from tests.training.small import small
from tests.training.test_engine import OPTIONS, Stop, TwoStages, engine, fit, same

BEST = replace(OPTIONS, epochs=5, keep="best_on_validation")


def measured(kind="cross_entropy", options=BEST, seed=0) -> Engine:
    """An engine with other held-out images than test images."""
    made = engine(small(kind) if isinstance(kind, str) else kind, options, seed=seed, test_per_class=12)
    x, y = made.evaluate["test"]
    return Engine(made.method, made.train, options, {"test": (x[::2], y[::2]), "validation": (x[1::2], y[1::2])})


def scripted(monkeypatch, scores):
    """Make the held-out accuracies these, one per epoch; the test set is measured first."""
    values = itertools.chain.from_iterable((0.0, score) for score in scores)
    monkeypatch.setattr(training, "accuracy", lambda logits, labels: next(values))


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([0.1, 0.5, 0.3, 0.5, 0.2], 2), ([0.0] * 5, 1), ([0.1, 0.2, 0.3, 0.4, 0.5], 5)],
)
def test_the_first_of_the_best_epochs_is_reported(monkeypatch, tmp_path, scores, expected):
    scripted(monkeypatch, scores)
    e, kept = measured(), {}
    fit(e, tmp_path / "c.pt", lambda r: kept.update({r["epoch"]: {n: t.clone() for n, t in weights(e).items()}}))
    assert e.take_reported() == expected
    assert same(dict(weights(e)), kept[expected])
    assert expected == 5 or not same(kept[expected], kept[5])


def weights(e: Engine) -> dict[str, torch.Tensor]:
    return dict(e.method.state_dict())


def test_only_epochs_that_are_measured_can_be_reported(monkeypatch, tmp_path):
    scripted(monkeypatch, [0.5, 0.4, 0.3])  # of epochs 2, 4 and 5
    assert fit(measured(options=replace(BEST, evaluate_every=2)), tmp_path / "c.pt").take_reported() == 2


def test_of_two_stages_the_best_epoch_of_the_last_is_reported(monkeypatch, tmp_path):
    scripted(monkeypatch, [0.9, 0.8, 0.7, 0.1, 0.2])  # three epochs of the first stage, two of the second
    e = fit(measured(TwoStages, replace(BEST, epochs=3)), tmp_path / "c.pt")
    assert e.take_reported() == 5


@pytest.mark.parametrize("stop_after", [1, 2, 3, 4])
def test_the_best_weights_survive_a_kill_bit_for_bit(monkeypatch, tmp_path, stop_after):
    scores = [0.1, 0.5, 0.3, 0.4, 0.2]
    scripted(monkeypatch, scores)
    whole = fit(measured(), tmp_path / "whole.pt")

    def stop(record):
        if record["epoch"] == stop_after:
            raise Stop

    scripted(monkeypatch, scores)
    with pytest.raises(Stop):
        fit(measured(), tmp_path / "part.pt", stop)
    scripted(monkeypatch, scores[stop_after:])
    resumed = fit(measured(seed=99), tmp_path / "part.pt")
    assert same(resumed.state_dict(), whole.state_dict())
    assert (resumed.take_reported(), whole.take_reported()) == (2, 2)
    assert same(weights(resumed), weights(whole))


def test_robust_methods_are_measured_under_pgd_20_and_train_as_without_it(tmp_path):
    options = replace(BEST, epochs=2)
    e = measured("trades", options)
    found = []
    fit(e, tmp_path / "best.pt", lambda record: found.append(by_hand(e)))
    assert [record["validation_robust_accuracy"] for record in e.history] == pytest.approx(found, abs=1e-6)
    plain = fit(measured("trades", replace(options, keep="last")), tmp_path / "last.pt")
    assert "validation_robust_accuracy" not in plain.history[0]
    assert same(e.method.state_dict(), plain.method.state_dict())
    assert same(e.state_dict()["generators"], plain.state_dict()["generators"])
    assert e.best.score == max(record["validation_robust_accuracy"] for record in e.history)


def by_hand(e: Engine) -> float:
    """Twenty steps of 0.007 along the sign of the gradient of the cross-entropy, within 0.031 of the image."""
    pixels, y = e.evaluate["validation"]
    x = pixels.float() / 255
    x_adv = x.clone()
    e.method.eval()
    for _ in range(20):
        x_adv.requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(e.method.network(x_adv), y), x_adv)
        x_adv = torch.min(torch.max(x_adv.detach() + 0.007 * gradient.sign(), x - 0.031), x + 0.031).clamp(0, 1)
    with torch.no_grad():
        right = (e.method.network(x_adv).argmax(1) == y).float().mean().item()
    e.method.train()
    return right
