"""Training on the pretended CUDA device: every method, waits, recorded steps, resume, streams, reduced precision."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch

from ltlib import methods
from ltlib.data.stream import Stream
from ltlib.errors import InputError, TrainingStopped
from ltlib.evaluation.evaluate import predict
from ltlib.training import checkpoint
from ltlib.training.engine import Engine
from tests.pretended_cuda import CUDA, pretend_cuda
from tests.training.small import fit_on, on_pretended, small, values

SOME = ["cross_entropy", "mislas", "trades"]
RESUMED = [
    pytest.param(name, marks=pytest.mark.slow) for name in ("label_over_smooth", "dkl", "weight_balancing", "cmo")
]
slow = pytest.mark.slow


def every_method(quick=SOME):
    return [name if name in quick else pytest.param(name, marks=slow) for name in methods.METHODS]


def recorded(name, **options):
    """The method's state after two epochs, and how often a graph was replayed."""
    with pretend_cuda() as gpu:
        e = fit_on(on_pretended(gpu, name, **options.pop("engine", {})), **options)
        return values(e), gpu.replays


@pytest.mark.parametrize("name", every_method())
def test_an_epoch_waits_for_its_losses_only(name):
    with pretend_cuda() as gpu:
        e = on_pretended(gpu, name, capture=False)
        for stage in range(len(e.stages)):
            e._begin(stage)
            gpu.reset()
            e._train_epoch()
            assert len(gpu.waits) == 1, gpu.waits
            assert "training/engine.py" in gpu.waits[0]
            # the order of the cyclic sampler and the seed of a rank come from the host, before the first step
            assert [draw for draw in gpu.host_draws if "samplers.py" not in draw] == []


@pytest.mark.parametrize("sampler", ["class_balanced", "progressively_balanced", "class_balanced_cyclic"])
@pytest.mark.parametrize("augmentation", ["crop_flip", "resized_crop_flip_jitter"])
def test_no_sampler_or_augmentation_adds_a_wait(sampler, augmentation):
    with pretend_cuda() as gpu:
        e = on_pretended(gpu, small("resampling", sampler=sampler), augmentation=augmentation, capture=False)
        gpu.reset()
        e._train_epoch()
        assert len(gpu.waits) == 1, gpu.waits


def waits_by_epoch(kind, file, **options):
    """Where the host waits in each epoch of a training, evaluation left out, and the engine."""
    with pretend_cuda() as gpu:
        e, each = on_pretended(gpu, kind, **options), []

        def look(record):
            each.append([wait for wait in gpu.waits if "evaluation/" not in wait])
            gpu.reset()

        gpu.reset()
        fit_on(e, file, look)
        return e, each


# In the ramp every step has its own radius; after it the average still follows.
RAMPED = {"ramp": 1.5, "ema": 0.9, "attack_steps": 2}


def gently(name, marks=()):
    return pytest.param(small(name, **RAMPED), id=f"{name} with ramp and average", marks=marks)


@pytest.mark.parametrize("kind", [*every_method(["cross_entropy"]), gently("at"), gently("lbgat", slow)])
def test_an_epoch_waits_twice_besides_evaluation(tmp_path, kind):
    """Once for the losses, once for the checkpoint. The first epoch of a stage also looks at its labels."""
    e, each = waits_by_epoch(kind, tmp_path / "c.pt", epochs=3)
    begins = {sum(stage.epochs for stage in e.stages[:i]) for i in range(len(e.stages))}
    for epoch, waits in enumerate(each):
        assert len(waits) == 2 or epoch in begins, waits
    assert {wait.rpartition(" ")[2].partition(":")[0] for wait in each[1]} == {
        "ltlib/training/engine.py",
        "ltlib/training/checkpoint.py",
    }


class AsksTheAverage(methods.METHODS["at"]):
    """Decides on the host whether the average has begun."""

    def after_step(self):
        if self.averaged == 0:
            pass
        super().after_step()


class AsksTheRamp(methods.METHODS["at"]):
    """Keeps the progress of the ramp on the device."""

    def ramp_is_over(self, progress):
        return bool(torch.full((), progress, device=self.counts.device) >= self.ramp)


@pytest.mark.parametrize("kind", [AsksTheAverage, AsksTheRamp])
def test_a_ramp_or_an_average_that_waits_is_found(tmp_path, kind):
    _, each = waits_by_epoch(partial(kind, **RAMPED), tmp_path / "c.pt", epochs=2, capture=False)
    assert all(len(waits) >= 2 + 5 for waits in each), "once for each of five steps"


def test_a_step_with_an_average_after_its_ramp_is_recorded_and_equals_the_eager_one(tmp_path):
    kind = small("at", **RAMPED | {"ramp": 0.5})
    eager, _ = recorded(kind, file=tmp_path / "eager.pt", engine={"capture": False})
    fast, replays = recorded(kind, file=tmp_path / "fast.pt")
    assert replays > 0
    assert all(torch.equal(fast[n], expected) for n, expected in eager.items())


@pytest.mark.parametrize("name", every_method(["cross_entropy", "mislas"]))
def test_a_recorded_step_gives_what_the_eager_one_gives_bit_for_bit(tmp_path, name):
    eager, never = recorded(name, file=tmp_path / "eager.pt", engine={"capture": False})
    fast, replays = recorded(name, file=tmp_path / "fast.pt")
    assert never == 0
    assert replays > 0
    for n, expected in eager.items():
        assert torch.equal(fast[n], expected), n


def test_only_full_batches_are_recorded(tmp_path):
    """An epoch of 13, 13, 13, 13, 8 images: after three steps to warm up, one step of the first epoch is replayed."""
    with pretend_cuda() as gpu:
        e = fit_on(on_pretended(gpu, "cross_entropy"), tmp_path / "c.pt")
        assert e.recorded.batch.y.shape == (13,)
        assert gpu.replays == 1 + 4
    with pretend_cuda() as gpu:  # three full batches and the small one: the fourth step must not be the one recorded
        e = fit_on(on_pretended(gpu, "cross_entropy", batch_size=17), tmp_path / "d.pt")
        assert e.recorded.batch.y.shape == (17,)
        assert gpu.replays == 3


class Waits(methods.METHODS["cross_entropy"]):
    """Reads its loss in every step."""

    def loss(self, batch):
        loss = super().loss(batch)
        return loss * (1.0 if float(loss) > 0 else 2.0)


def test_a_step_that_cannot_be_recorded_is_taken_as_it_comes(tmp_path):
    with pretend_cuda() as gpu:
        e = on_pretended(gpu, Waits)
        with pytest.warns(UserWarning, match="could not be recorded as a CUDA graph .operation not permitted"):
            fast = values(fit_on(e, tmp_path / "a.pt"))
        assert gpu.replays == 0
    with pretend_cuda() as gpu:
        plain = values(fit_on(on_pretended(gpu, Waits, capture=False), tmp_path / "b.pt"))
    assert all(torch.equal(fast[n], expected) for n, expected in plain.items())


class Phases(methods.METHODS["cross_entropy"]):
    """Another loss from the second epoch on, and no recording during the third."""

    def phase(self, progress):
        return None if 2 <= progress < 3 else progress >= 1

    def loss(self, batch):
        return super().loss(batch) * (2.0 if batch.progress >= 1 else 1.0)


def test_each_phase_has_a_graph_of_its_own(tmp_path):
    fast, replays = recorded(Phases, file=tmp_path / "a.pt", engine={"epochs": 4})
    plain, _ = recorded(Phases, file=tmp_path / "b.pt", engine={"epochs": 4, "capture": False})
    assert replays == 1 + 1 + 4
    assert all(torch.equal(fast[n], expected) for n, expected in plain.items())


@pytest.mark.parametrize("capture", [False, True])
@pytest.mark.parametrize("name", ["mislas", pytest.param("mixup", marks=slow), *RESUMED])
def test_resume_on_the_device_is_bitwise(tmp_path, name, capture):
    def stop(record):
        if record["epoch"] == 1:
            raise InterruptedError

    whole, _ = recorded(name, file=tmp_path / "whole.pt", engine={"capture": capture})
    with pytest.raises(InterruptedError):
        recorded(name, file=tmp_path / "part.pt", on_epoch=stop, engine={"capture": capture})
    torch.manual_seed(99)
    resumed, _ = recorded(name, file=tmp_path / "part.pt", engine={"capture": capture, "seed": 9})
    for n, expected in whole.items():
        assert torch.equal(resumed[n], expected), n


def test_a_checkpoint_keeps_the_layout_of_every_tensor(tmp_path):
    """The fused kernel wants parameter, gradient and momentum with equal strides."""
    with pretend_cuda() as gpu:
        e = on_pretended(gpu, "cross_entropy")
        for p in e.method.parameters():
            p.data = p.data.to(memory_format=torch.channels_last) if p.dim() == 4 else p.data
        fit_on(e, tmp_path / "c.pt")
        state = e.state_dict()
        host = checkpoint.on_host(state)
    for n, t in state["method"].items():
        assert torch.equal(host["method"][n], t.value), n
        assert host["method"][n].stride() == t.value.stride(), n
    momenta = [s["momentum_buffer"] for s in state["optimizer"]["state"].values()]
    copies = [s["momentum_buffer"] for s in host["optimizer"]["state"].values()]
    assert all(torch.equal(a, b.value) and a.stride() == b.stride() for a, b in zip(copies, momenta, strict=True))


def test_streamed_images_train_the_same_and_can_be_recorded(tmp_path):
    """A thread pins memory while the step is recorded, and the order comes over once per epoch."""
    found = []
    for streamed in (False, True):
        with pretend_cuda() as gpu:
            e = on_pretended(gpu, "cross_entropy")
            images, labels = e.train
            if streamed:
                file = tmp_path / "pixels.npy"
                np.save(file, images.value.numpy())
                pixels = np.load(file, mmap_mode="r")
                e = Engine(e.method, (Stream(pixels, CUDA), labels), e.options, e.evaluate)
            found.append(values(fit_on(e, tmp_path / f"{streamed}.pt")))
            assert gpu.replays == 5
            e._begin(0)
            gpu.reset()
            e._train_epoch()
            assert len(gpu.waits) == 1 + streamed, gpu.waits
    assert all(torch.equal(found[1][n], expected) for n, expected in found[0].items())


class ReadsAhead(methods.METHODS["cross_entropy"]):
    """Another thread pins memory in the middle of each step."""

    def loss(self, batch):
        with ThreadPoolExecutor(1) as thread:
            thread.submit(torch.zeros(1).pin_memory).result()
        return super().loss(batch)


def test_a_thread_may_pin_memory_while_a_step_is_recorded(tmp_path):
    _, replays = recorded(ReadsAhead, file=tmp_path / "c.pt")
    assert replays == 5


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_float32_is_never_tf32(tmp_path, precision):
    """Neither in training nor in the evaluation, which is float32 always."""
    with pretend_cuda() as gpu:
        torch.backends.cudnn.allow_tf32 = True
        e = fit_on(on_pretended(gpu, "cross_entropy", precision=precision), tmp_path / "c.pt")
        predict(e.method, e.evaluate["test"][0])
        assert gpu.tf32 == []
        assert torch.backends.cudnn.allow_tf32


def test_an_engine_is_freed_without_the_garbage_collector(tmp_path):
    """Its data and graphs take memory of the GPU, which the next run needs."""
    gc.disable()
    try:
        with pretend_cuda() as gpu:
            e = fit_on(on_pretended(gpu, "cross_entropy"), tmp_path / "c.pt")
            left = weakref.ref(e)
            del e
            assert left() is None
    finally:
        gc.enable()


def test_a_gpu_without_bfloat16_trains_in_float16_with_a_scale(tmp_path):
    with pretend_cuda(bfloat16=False) as gpu:
        e = fit_on(on_pretended(gpu, "cross_entropy", precision="auto", epochs=3), tmp_path / "c.pt")
        assert e.precision == "float16"
        assert e.history[-1]["loss"] < e.history[0]["loss"]
        assert float(e.guard.scale.value.value) == 2.0**16
        assert int(e.guard.scale.good_steps.value) == 15
        with pytest.raises(InputError, match="precision=bfloat16 is not in the hardware of this cuda device"):
            on_pretended(gpu, "cross_entropy", precision="bfloat16")


class Overflows(methods.METHODS["cross_entropy"]):
    """A gradient that float16 holds at a scale of 2^13 and not above."""

    def loss(self, batch):
        extra = self.network.classifier.bias.to(torch.float16) * 5.0
        return super().loss(batch) + extra.sum() - extra.detach().sum()


def test_an_overflow_in_float16_leaves_the_step_out_and_does_not_halt(tmp_path):
    """5 x 2^16, 2^15 and 2^14 are above 65504: three steps are left out and the fourth is taken."""
    with pretend_cuda(bfloat16=False) as gpu:
        e = on_pretended(gpu, Overflows, precision="float16", capture=False)
        e.method.train()
        weight, scales, skipped = e.method.network.classifier.weight, [], []
        for batch in list(e.loader.epoch(0))[:4]:
            before = weight.value.clone()
            e.take_step(batch, 13)
            scales.append(float(e.guard.scale.value.value))
            skipped.append(torch.equal(weight.value, before))
        assert skipped == [True, True, True, False]
        assert scales == [2.0**15, 2.0**14, 2.0**13, 2.0**13]
        assert float(e.guard.halt.value) == 0


@pytest.mark.parametrize("capture", [False, True])
def test_a_loss_that_is_not_finite_halts_in_float16_too(tmp_path, capture):
    class Spoiled(methods.METHODS["cross_entropy"]):
        def loss(self, batch):
            return super().loss(batch) / (batch.x.sum() < 0)  # inf

    with pretend_cuda(bfloat16=False) as gpu:
        e = on_pretended(gpu, Spoiled, precision="float16", capture=capture)
        before = values(e)
        with pytest.raises(TrainingStopped, match="step 1: the loss is not finite"):
            fit_on(e, tmp_path / "c.pt")
        after = values(e)
        assert all(torch.equal(after[n], t) for n, t in before.items() if "weight" in n)


def test_float16_resumes_with_its_scale(tmp_path):
    def stop(record):
        if record["epoch"] == 1:
            raise InterruptedError

    found = []
    for name, halts in (("whole", False), ("part", True), ("part", False)):
        with pretend_cuda(bfloat16=False) as gpu:
            e = on_pretended(gpu, Overflows, precision="float16")
            if halts:
                with pytest.raises(InterruptedError):
                    fit_on(e, tmp_path / f"{name}.pt", stop)
            else:
                found.append(values(fit_on(e, tmp_path / f"{name}.pt")))
    assert all(torch.equal(found[1][n], t) for n, t in found[0].items())


def test_a_checkpoint_of_a_gpu_is_not_continued_on_a_cpu(tmp_path):
    from tests.training.test_engine import engine

    with pretend_cuda() as gpu:
        e = fit_on(on_pretended(gpu, "cross_entropy", precision="float32"), tmp_path / "c.pt")
        options = e.options
    host = engine(partial(methods.METHODS["cross_entropy"]), options)
    with pytest.raises(InputError, match="started on a CUDA GPU and cannot be resumed on a CPU"):
        host.resume(tmp_path / "c.pt", {})
