"""Sharpness-aware minimisation as an option of the engine."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from ltlib import models
from ltlib.data.loader import Batch
from ltlib.errors import InputError
from ltlib.evaluation.sharpness import uphill
from ltlib.experiments.costs import price
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.recipe import resolve
from ltlib.methods.baselines import CrossEntropy
from tests.methods.authors import STEPS, filled, images
from tests.pretended_cuda import pretend_cuda
from tests.training.small import fit_on, on_pretended, values
from tests.training.test_engine import OPTIONS, Stop, engine, fit, same

SAM = replace(OPTIONS, epochs=2, sam_radius=0.1)


def test_a_step_equals_the_textbook():
    """g at w + rho g(w) / |g(w)|, then SGD with momentum and decay from w."""
    e = engine(CrossEntropy, SAM)
    torch.manual_seed(3)
    batch = next(e.loader.epoch(0))
    twin = engine(CrossEntropy, SAM).method
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, weight_decay=2e-4)
    for _ in range(2):
        gradients = torch.autograd.grad(F.cross_entropy(twin.network(batch.x), batch.y), list(twin.parameters()))
        length = torch.cat([g.flatten() for g in gradients]).norm()
        before = [p.detach().clone() for p in twin.parameters()]
        with torch.no_grad():
            for p, g in zip(twin.parameters(), gradients, strict=True):
                p += 0.1 * g / length
        optimizer.zero_grad()
        F.cross_entropy(twin.network(batch.x), batch.y).backward()
        with torch.no_grad():
            for p, kept in zip(twin.parameters(), before, strict=True):
                p.copy_(kept)
        optimizer.step()
        e._step(batch)
    for ours, theirs in zip(e.method.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_six_steps_are_those_of_the_released_code(monkeypatch):
    """The optimiser ``SAM`` of Rangwani et al., commit ab8be5c, on the weights and images of ``authors.py``."""
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self)
    counts = torch.tensor([50.0, 20, 8, 3, 3, 3, 3, 3, 2, 1], dtype=torch.double)
    method = filled(CrossEntropy(models.make("resnet8", 10, (0.0,) * 3, (1.0,) * 3), counts)).train()
    batch, weights = Batch(images(6, 16), torch.tensor([0, 1, 2, 3, 4, 9])), list(method.parameters())
    optimizer = torch.optim.SGD(weights, lr=0.05, momentum=0.9, weight_decay=2e-4)
    found = []
    for _ in range(STEPS):
        loss = method.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        with uphill(weights, 0.1):
            optimizer.zero_grad()
            method.loss(batch).backward()
        optimizer.step()
        found.append(loss.item())
    losses = [
        2.27927188923923,
        2.05908040444945,
        1.84435835718269,
        1.66682487788718,
        1.53479576344564,
        1.43764384704981,
    ]
    assert found == pytest.approx(losses, abs=1e-10)
    state = {n: t for n, t in method.state_dict().items() if t.is_floating_point() and "normalize" not in n}
    assert sum(t.abs().sum().item() for t in state.values()) == pytest.approx(6495.582083214859, rel=1e-11)


def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path):
    whole = fit(engine(options=SAM), tmp_path / "whole.pt")

    def stop(record):
        if record["epoch"] == 1:
            raise Stop

    with pytest.raises(Stop):
        fit(engine(options=SAM), tmp_path / "part.pt", stop)
    resumed = fit(engine(options=SAM, seed=99), tmp_path / "part.pt")
    assert same(resumed.state_dict(), whole.state_dict())
    plain = fit(engine(options=replace(SAM, sam_radius=0.0)), tmp_path / "plain.pt")
    assert not same(plain.state_dict()["method"], whole.state_dict()["method"])


@pytest.mark.parametrize("name", ["cross_entropy", "mixup"])
def test_a_recorded_step_gives_what_the_eager_one_gives(tmp_path, name):
    found = []
    for capture in (False, True):
        with pretend_cuda() as gpu:
            e = fit_on(on_pretended(gpu, name, sam_radius=0.1, capture=capture), tmp_path / f"{capture}.pt")
            found.append(values(e))
            assert (gpu.replays > 0) == capture
            gpu.reset()
            e._begin(0)
            gpu.reset()
            e._train_epoch()
            assert len(gpu.waits) == 1
    assert all(torch.equal(found[1][n], expected) for n, expected in found[0].items())


def test_the_scale_of_float16_does_not_change_the_direction():
    """It cancels in g / |g|: with another scale, a power of 2, float32 takes the same step."""
    found = []
    for scale in (1.0, 1024.0):
        e = engine(CrossEntropy, SAM)
        e.guard.scaled = lambda loss, scale=scale: loss * scale
        torch.manual_seed(3)
        batch, at = next(e.loader.epoch(0)), []
        plain = e.method.loss

        def loss(batch, at=at, plain=plain, method=e.method):
            at.append(method.network.classifier.weight.detach().clone())
            return plain(batch)

        e.loss = loss
        e._step(batch)
        found.append(at[1])
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=0)


def test_it_costs_twice_and_has_a_range():
    plain, sam = (
        price(Experiment("cross_entropy", "cifar10", profile="paper", overrides=f"sam_radius={r}")) for r in (0, 0.5)
    )
    assert sam.operations == 2 * plain.operations
    with pytest.raises(InputError, match="sam_radius must be at least 0; got -1.0"):
        resolve(Experiment(overrides="sam_radius=-1"))
