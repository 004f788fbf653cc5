"""The step that a GPU runs, on this processor: late looks, compiled networks; and on a real GPU where there is one."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from ltlib import methods
from ltlib.errors import TrainingStopped
from ltlib.methods.baselines import CrossEntropy
from ltlib.training.engine import Engine
from tests.training.small import small
from tests.training.test_engine import OPTIONS, engine, fit, same, spoil_images, spoil_loss

ENGINE = partial(engine, CrossEntropy)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def as_on_a_gpu(e):
    """The engine that looks at the losses once an epoch only, and steps by the fused kernel."""
    e.look_at_each_step = False
    e._begin(0)
    return e


def test_looking_late_changes_nothing_but_the_last_digits(tmp_path):
    """The fused kernel rounds once where the plain loop rounds twice, and nothing else differs."""
    late, plain = (fit(e, tmp_path / f"{n}.pt") for n, e in enumerate((as_on_a_gpu(ENGINE()), ENGINE())))
    assert [r["loss"] for r in late.history] == pytest.approx([r["loss"] for r in plain.history], rel=1e-4)
    assert late.fused
    assert not plain.fused


@pytest.mark.parametrize("spoil", [spoil_images, spoil_loss])
def test_a_bad_step_that_is_seen_late_has_changed_no_weight(tmp_path, spoil):
    """The second step is bad, and looked at after the fourth: the weights are those after the first."""
    once = as_on_a_gpu(ENGINE())
    torch.manual_seed(7)
    once._step(next(once.loader.epoch(0)))

    e = as_on_a_gpu(ENGINE())
    if spoil is spoil_loss:
        plain, taken = e._step, []

        def step(batch, images):
            taken.append(batch)
            if len(taken) == 2:
                spoil_loss(e)
            return plain(batch)

        e.take_step = step
    else:
        spoil_images(e)
    torch.manual_seed(7)
    with pytest.raises(TrainingStopped, match="epoch 1, step 2: .* is not finite"):
        e.fit(tmp_path / "c.pt", {}, lambda record: None)
    for ours, expected in zip(e.method.parameters(), once.method.parameters(), strict=True):
        assert torch.equal(ours, expected)


def test_compiled_training_equals_eager_training(tmp_path):
    """Fused kernels add in another order: float32 agrees to the last digits, after two epochs of four steps."""
    options = replace(OPTIONS, epochs=2)
    plain = fit(engine(CrossEntropy, options), tmp_path / "a.pt")
    fast = fit(engine(CrossEntropy, replace(options, compile=True)), tmp_path / "b.pt")
    assert [("compile_seconds" in r) for r in fast.history] == [True, False]
    for ours, expected in zip(fast.method.state_dict().values(), plain.method.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    assert not same(fast.method.state_dict(), plain.method.state_dict()), "nothing was compiled"


def on_gpu(kind, options, seed=0):
    e, device = engine(kind, options, seed=seed), torch.device("cuda", 0)
    train, test = (tuple(t.to(device) for t in pair) for pair in (e.train, e.evaluate["test"]))
    return Engine(e.method.to(device), train, options, {"test": test})


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize(
    "name", [name for name in methods.METHODS if "natural_run" not in methods.METHODS[name].sources]
)
def test_a_gpu_epoch_never_waits_for_the_host(name):
    e = on_gpu(small(name), OPTIONS)
    batches = list(e.loader.epoch(0))
    e._step(batches[0])
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches:
            e._step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("name", ["cross_entropy", "mixup", "mislas", "reslt", "trades", "lbgat"])
def test_a_captured_step_gives_what_the_eager_one_gives(tmp_path, name):
    options = replace(OPTIONS, epochs=4, batch_size=13)  # the last batch has 8 images
    plain = fit(on_gpu(small(name), replace(options, capture=False)), tmp_path / "a.pt")
    fast = fit(on_gpu(small(name), options), tmp_path / "b.pt")
    assert fast.recorded.graph is not None
    for ours, expected in zip(fast.history, plain.history, strict=True):
        assert ours["loss"] == pytest.approx(expected["loss"], rel=1e-3)
