"""The seven steps, the most informative first. Each takes what it measures on and a report that it adds to."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ltlib.attacks import PGD
from ltlib.attacks.apgd import APGD
from ltlib.data.augment import to_float
from ltlib.data.stream import Stream
from ltlib.evaluation.evaluate import predict
from ltlib.evaluation.precision import full_float32
from ltlib.training.device import reproducible
from ltlib.training.engine import Engine
from tests.gpu_battery.report import Report
from tests.gpu_battery.work import SMALL, Size, engine, images, same, seconds, state, wait

BENCHMARK_NEEDS = ("torchvision", "PIL", "matplotlib", "joblib")  # all else is torch and NumPy


@dataclass(frozen=True)
class Machine:
    """What is measured: a device, a way to bring tensors and modules there, and sizes.

    Attributes:
        real: not pretended: has a profiler, a count of its memory, and processes of its own.
    """

    device: torch.device
    move: Callable
    size: Size
    real: bool

    def engine(self, name: str, size: Size | None = None, **options: object) -> Engine:
        return engine(name, size or self.size, self.device, self.move, **options)

    def trained(self, name: str, file: Path, stop_at: int = 0, size: Size = SMALL, **options: object) -> Engine:
        """After its whole training, or resumed from ``file``; with ``stop_at`` interrupted after so many epochs."""

        def on_epoch(record: dict) -> None:
            if record["epoch"] == stop_at:
                raise InterruptedError

        e = self.engine(name, size, **options)
        with reproducible(1, self.device, e.options.deterministic):
            e.resume(file, {})
            try:
                e.fit(file, {}, on_epoch)
            except InterruptedError:
                if not stop_at:
                    raise
        return e


def correctness(report: Report, m: Machine) -> None:
    """1. Recorded equals eager, resumed equals uninterrupted, nothing waits, float32 is float32."""
    with tempfile.TemporaryDirectory() as folder:
        files = (Path(folder) / f"{n}.pt" for n in range(100))
        for name, own in (("cross_entropy", {}), ("mislas", {"stage2_epochs": 2}), ("trades", {"attack_steps": 2})):
            eager = state(m.trained(name, next(files), own=own, capture=False).method)
            fast = m.trained(name, next(files), own=own)
            if m.device.type == "cuda":
                report.add(f"{name}: the step was recorded", fast.recorded.graph is not None, "True")
                report.add(f"{name}: recorded equals eager bit for bit", same(state(fast.method), eager), "True")
            part = next(files)
            m.trained(name, part, stop_at=1, own=own)
            resumed = state(m.trained(name, part, own=own).method)
            report.add(f"{name}: resumed equals uninterrupted bit for bit", same(resumed, state(fast.method)), "True")
    if m.real and m.device.type == "cuda":
        report.add("a step never waits for the host", _never_waits(m), "True")
    x, w = torch.randn(8, 64, 16, 16), torch.randn(64, 64, 3, 3)
    exact = nn.functional.conv2d(x.double(), w.double(), padding=1)
    with full_float32():
        found = nn.functional.conv2d(m.move(x), m.move(w), padding=1).cpu()
    error = float((found - exact).abs().max() / exact.abs().max())
    report.add("largest relative error of a float32 convolution", error, "below 1e-5 (TF32: about 1e-3)")
    if m.real and importlib.util.find_spec("pytest"):
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "gpu", "tests/training"]
        if not importlib.util.find_spec("xdist"):
            command = [part for part in command if part not in ("-n", "0")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=max(report.left(), 1))
        report.add(
            "pytest -m gpu tests/training", (done.stdout.strip().splitlines() or ["no output"])[-1], "all passed"
        )


def _never_waits(m: Machine) -> bool:
    e = m.engine("cross_entropy", SMALL, capture=False)
    batches = list(e.loader.epoch(0))
    e._step(batches[0])
    wait(m.device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches:
            e._step(batch)
    except RuntimeError:
        return False
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return True


def mislas(report: Report, m: Machine) -> None:
    """2. The whole training of MiSLAS, and what each switch is worth."""
    first, second = m.size.whole
    epoch = _epoch_of_stage1(report, m, "captured", "below 0.28 on an H100")
    estimate = (first + second) * epoch
    if estimate * 1.5 > report.left():
        report.add("MiSLAS, whole run: seconds", f"left out, about {estimate:.0f} s", "60 on an H100")
    else:
        with tempfile.TemporaryDirectory() as folder:
            size, own = replace(m.size, epochs=first), {"stage2_epochs": second}
            whole = seconds(lambda: m.trained("mislas", Path(folder) / "c.pt", size=size, own=own), m.device)
        report.add("MiSLAS, whole run: seconds", whole, "60 on an H100")
    _epoch_of_stage1(report, m, "capture=false", capture=False)
    _epoch_of_stage1(report, m, "deterministic=false", deterministic=False)
    if m.real and m.size != SMALL:  # to compile takes minutes on a CPU
        _epoch_of_stage1(report, m, "compile=true", compile=True)


def _epoch_of_stage1(report: Report, m: Machine, label: str, target: str = "", **options: object) -> float:
    """The median epoch of a short training, without its first one."""
    with tempfile.TemporaryDirectory() as folder:
        e = m.trained("mislas", Path(folder) / "c.pt", size=m.size, own={"stage2_epochs": 1}, **options)
    times = sorted(record["seconds"] for record in e.history[1:] if record["stage"] == "representation")
    report.add(f"MiSLAS, {label}: seconds per epoch of stage 1", times[len(times) // 2], target)
    return times[len(times) // 2]


def profile(report: Report, m: Machine) -> None:
    """3. Kernels of a step, how busy the device is, and the time between epochs."""
    e = m.engine("mislas")
    with reproducible(1, m.device), tempfile.TemporaryDirectory() as folder:
        e._train_epoch()
        training = seconds(e._train_epoch, m.device)
        file = Path(folder) / "c.pt"
        ends: list[float] = []
        began = seconds(lambda: _three_epochs(m, file, ends), m.device)
        report.add("seconds per epoch outside its steps", max(began / 3 - min(ends), 0.0), "below 0.005")
        if m.device.type == "cuda" and m.real:
            _kernels(report, m, e)
    report.add("seconds per epoch, steps only", training)


def _three_epochs(m: Machine, file: Path, ends: list[float]) -> None:
    size = replace(m.size, epochs=3)
    e = m.engine("cross_entropy", size)
    e.fit(file, {}, lambda record: ends.append(record["seconds"]))


def _kernels(report: Report, m: Machine, e: Engine) -> None:
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    for label, capture in (("eager", False), ("captured", True)):
        e.capture = capture
        e._train_epoch()
        batches = [batch for batch, _ in zip(e.loader.epoch(0), range(30), strict=False)]
        full = [batch for batch in batches if len(batch.y) == e.options.batch_size]
        with profiler(activities=[ProfilerActivity.CUDA]) as seen:
            took = seconds(lambda full=full: [e.take_step(batch, e.options.batch_size) for batch in full], m.device)
        kernels = [event for event in seen.events() if event.device_type == torch.autograd.DeviceType.CUDA]
        busy = sum(event.time_range.elapsed_us() for event in kernels) / 1e6
        report.add(f"{label}: kernels per step", len(kernels) / len(full))
        report.add(f"{label}: share of the time that kernels run", busy / took, "above 0.8" if capture else "")


def lbgat(report: Report, m: Machine) -> None:
    """4. One step of LBGAT with WRN-34-10, deterministic or not, and its memory."""
    size = replace(m.size, batch=m.size.robust_batch)
    natural = "resnet18_lbgat" if m.real and m.device.type == "cuda" else "resnet8"
    for deterministic in (True, False):
        e = m.engine("lbgat", size, backbone=size.robust, own={"natural": natural, "alpha": 6.0})
        if m.device.type == "cuda" and m.real:
            torch.cuda.reset_peak_memory_stats(m.device)
        with reproducible(1, m.device, deterministic):
            torch.backends.cudnn.benchmark = not deterministic
            e.method.train()
            batch = next(e.loader.epoch(0))
            for _ in range(5 if m.real else 2):
                e.take_step(batch, size.batch)
            times = sorted(seconds(lambda e=e, batch=batch: e.take_step(batch, size.batch), m.device) for _ in range(5))
            torch.backends.cudnn.benchmark = False
        label = "deterministic" if deterministic else "deterministic=false"
        report.add(f"LBGAT {size.robust}, {label}: seconds per step", times[2], "0.18 to 0.22 on an H100")
        if m.device.type == "cuda" and m.real:
            gigabytes = torch.cuda.max_memory_allocated(m.device) / 2**30
            report.add(f"LBGAT {size.robust}, {label}: peak memory in GiB", gigabytes)


def benchmark(report: Report, m: Machine) -> None:
    """5. The benchmark by itself, in a process that ends when the time is over."""
    if not m.real:
        report.add("python -m tests.benchmarks", "left out: the device is pretended")
        return
    if missing := [name for name in BENCHMARK_NEEDS if not importlib.util.find_spec(name)]:
        report.add("python -m tests.benchmarks", f"left out: it needs {', '.join(missing)}")
        return
    rounds = ["--rounds", "3", "--batches", "10"] if m.size != SMALL else ["--rounds", "1", "--batches", "1"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks", *rounds],
            capture_output=True,
            text=True,
            timeout=max(1.0, min(report.left(), 30.0 if m.size == SMALL else 480.0)),
        )
        output = done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        output = (error.stdout or b"").decode() + "\nended: no time was left"
    for line in output.strip().splitlines()[-14:]:
        report.add("benchmark", line)


def tf32(report: Report, m: Machine) -> None:
    """6. One set of weights, with TF32 and without: clean and under PGD-20."""
    e, x, y = _network_to_attack(m)
    logits: dict[bool, Tensor] = {}
    for allowed in (False, True):
        label = "on" if allowed else "off"
        with nullcontext() if allowed else full_float32():
            if allowed:
                torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
            with torch.no_grad():
                logits[allowed] = e.method.logits(x)
            torch.manual_seed(0)
            x_adv = PGD()(e.method.logits, x, y)
            with torch.no_grad():
                right = (e.method.logits(x_adv).argmax(1) == y).float().mean()
        clean = (logits[allowed].argmax(1) == y).float().mean()
        report.add(f"TF32 {label}: clean accuracy", float(clean.cpu()))
        report.add(f"TF32 {label}: accuracy under PGD-20", float(right.cpu()), "equal for both")
    torch.backends.cuda.matmul.allow_tf32 = False
    report.add("largest change of a logit by TF32", float((logits[True] - logits[False]).abs().max().cpu()))


def streamed(report: Report, m: Machine) -> None:
    """7. A recorded step on images that come from the disk, and APGD."""
    resting = m.engine("cross_entropy")
    with tempfile.TemporaryDirectory() as folder, reproducible(1, m.device):
        file = Path(folder) / "pixels.npy"
        np.save(file, images(m.size.images)[0].numpy())
        stream = Stream(np.load(file, mmap_mode="r"), m.device)
        e = Engine(m.engine("cross_entropy").method, (stream, resting.train[1]), resting.options, {})
        for what, training in (("resting", resting), ("streamed", e)):
            training._train_epoch()
            report.add(f"{what} images: seconds per epoch", seconds(training._train_epoch, m.device))
            if m.device.type == "cuda":
                report.add(f"{what} images: the step was recorded", training.recorded.graph is not None, "True")
    trained, x, y = _network_to_attack(m)
    with full_float32():
        torch.manual_seed(0)
        steps = 100 if m.size != SMALL else 5
        took = seconds(lambda: APGD(steps=steps)(trained.method.logits, x, y), m.device)
    report.add(f"APGD, {steps} steps, {len(x)} images: seconds", took)


def _network_to_attack(m: Machine) -> tuple[Engine, Tensor, Tensor]:
    """A trained network in evaluation mode, and images of another seed with its labels."""
    size = replace(m.size, epochs=m.size.learning)
    with tempfile.TemporaryDirectory() as folder:
        e = m.trained("cross_entropy", Path(folder) / "c.pt", size=size)
    pixels, labels = images(m.size.images, seed=1)
    chosen = torch.linspace(0, len(labels) - 1, min(m.size.attacked, len(labels))).long()
    predict(e.method, m.move(pixels[chosen]))
    e.method.eval().requires_grad_(False)
    return e, to_float(m.move(pixels[chosen])).contiguous(), m.move(labels[chosen])


STEPS: dict[str, Callable[[Report, Machine], None]] = {
    "1 correctness": correctness,
    "2 MiSLAS": mislas,
    "3 profile": profile,
    "4 LBGAT": lbgat,
    "5 benchmark": benchmark,
    "6 TF32": tf32,
    "7 stream and APGD": streamed,
}
