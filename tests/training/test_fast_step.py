"""The step that a GPU can run without waiting: nothing is read back inside an epoch, and no number changes by it."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ltlib import methods
from ltlib.errors import InputError, TrainingStopped
from ltlib.methods.baselines import CrossEntropy
from ltlib.methods.method import hyperparameters
from ltlib.training.engine import Engine, _check_capture
from tests.training.test_engine import OPTIONS, engine, fit, same, spoil_images, spoil_loss

ENGINE = partial(engine, CrossEntropy)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
# Reading a value, or a size that depends on values: for each of these a GPU must have finished all that came before.
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal", "is_nonzero", "bincount"}
WAITS |= {"lift_fresh", "lift_fresh_copy"}  # a number that the host sends: torch.tensor(...) inside a step


class Waits(TorchDispatchMode):
    """Collects the operations for which the host would wait for a GPU."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        indices = torch.utils._pytree.tree_leaves(args[1:]) if name.startswith("index") else []
        by_mask = any(isinstance(index, torch.Tensor) and index.dtype == torch.bool for index in indices)
        if name in WAITS or by_mask:
            self.found.append(name)
        return function(*args, **(kwargs or {}))


def small(name, **settings):
    """The method called ``name``, with what makes its step cheap."""
    cheap = {"natural": "resnet8", "attack_steps": 1} | settings
    known = hyperparameters(methods.METHODS[name])
    return partial(methods.METHODS[name], **{n: v for n, v in cheap.items() if n in known})


def as_on_a_gpu(e):
    """The engine that looks at the losses once an epoch only, and steps by the fused kernel."""
    e.look_at_each_step = False
    e._begin(0)
    return e


def waits_of_an_epoch(e):
    """What is read back between the first step and the last, while the method looks at the losses only at the end."""
    as_on_a_gpu(e)
    found = []
    for stage in range(len(e.stages)):
        e._begin(stage)
        e.method.train()
        batches = list(e.loader.epoch(0))
        with Waits() as waits:
            for batch in batches:
                e._step(batch)
        found += waits.found
    return found


@pytest.mark.parametrize("name", methods.METHODS)
def test_no_method_reads_anything_back_inside_an_epoch(name):
    assert waits_of_an_epoch(engine(small(name, natural_run="any"))) == []


@pytest.mark.parametrize("setting", ["ramp", "ema"])
def test_settings_that_make_a_gpu_wait_say_so(setting):
    kind = small("at", **{setting: 0.9})
    assert waits_of_an_epoch(engine(kind))
    assert engine(kind).method.decided_by_host == setting


@pytest.mark.parametrize("augmentation", ["crop_flip", "resized_crop_flip_jitter"])
@pytest.mark.parametrize("sampler", ["instance_balanced", "class_balanced"])
def test_batches_are_drawn_without_waiting(augmentation, sampler):
    e = engine(partial(methods.METHODS["resampling"], sampler=sampler), replace(OPTIONS, augmentation=augmentation))
    stream = e.loader.epoch(0)
    next(stream)  # an epoch's order is drawn before its first batch, and may read the counts
    with Waits() as waits:
        assert len(list(stream)) == len(e.loader) - 1
    assert waits.found == []


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

        def step(batch, share):
            taken.append(batch)
            if len(taken) == 2:
                spoil_loss(e)
            return plain(batch, share)

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


def test_capture_needs_a_gpu_and_a_step_that_stays_the_same(monkeypatch):
    with pytest.raises(InputError, match="needs a GPU"):
        engine(CrossEntropy, replace(OPTIONS, capture=True))
    ramped = engine(small("at", ramp=2.0)).method
    with pytest.raises(InputError, match="switch ramp off"):
        _check_capture(ramped, torch.device("cuda"))


def on_gpu(kind, options, seed=0):
    e, device = engine(kind, options, seed=seed), torch.device("cuda", 0)
    train, test = (tuple(t.to(device) for t in pair) for pair in (e.train, e.evaluate["test"]))
    return Engine(e.method.to(device), train, options, {"test": test})


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("name", [name for name in methods.METHODS if name != "bgat"])
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
    options = replace(OPTIONS, epochs=4)
    plain = fit(on_gpu(small(name), replace(options)), tmp_path / "a.pt")
    fast = fit(on_gpu(small(name), replace(options, capture=True)), tmp_path / "b.pt")
    for ours, expected in zip(fast.history, plain.history, strict=True):
        assert ours["loss"] == pytest.approx(expected["loss"], rel=1e-3)
