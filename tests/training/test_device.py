import os
import platform
import re
import subprocess
import sys

import joblib
import pytest
import torch

from ltlib.errors import InputError
from ltlib.experiments import execute
from ltlib.experiments.experiment import Experiment
from ltlib.training import device

CPU = torch.device("cpu")


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_automatic_precision_takes_what_the_hardware_has(monkeypatch, native, expected):
    monkeypatch.setattr(device, "has_bfloat16", lambda d: native)
    assert device.resolve_precision("auto", CPU) == expected
    assert device.resolve_precision("float32", CPU) == "float32"


def test_unknown_precision_is_refused():
    with pytest.raises(InputError, match="precision 'fp16'"):
        device.resolve_precision("fp16", CPU)


@pytest.mark.parametrize(
    ("kind", "native", "expected", "why"),
    [
        ("cuda", True, "bfloat16", "computes in bfloat16"),
        ("cuda", False, "float16", "float16 with a loss scale"),
        ("mps", False, "float32", "Apple GPUs"),
    ],
)
def test_every_kind_of_device_gets_the_precision_that_its_reason_names(monkeypatch, kind, native, expected, why):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native)
    assert device.resolve_precision("auto", torch.device(kind)) == expected
    assert why in device.why_precision(torch.device(kind))


@pytest.mark.parametrize(
    ("kind", "precision", "sentence"),
    [
        ("cuda", "bfloat16", "not in the hardware of this cuda device: take float16"),
        ("mps", "bfloat16", "not in the hardware of this mps device: take float32"),
        ("mps", "float16", "precision=float16 is for CUDA GPUs; this is a mps device"),
        ("cpu", "float16", "precision=float16 is for CUDA GPUs; this is a cpu device"),
    ],
)
def test_a_precision_that_the_device_does_not_have_is_refused(monkeypatch, kind, precision, sentence):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    with pytest.raises(InputError, match=sentence):
        device.resolve_precision(precision, torch.device(kind))


@pytest.mark.parametrize(
    ("has", "environment", "expected"),
    [
        ((), {}, "cpu"),
        (("mps",), {}, "mps"),
        (("cuda", "mps"), {}, "cuda"),
        (("cuda", "mps"), {"LTLIB_DEVICE": "cpu"}, "cpu"),
        (("cuda", "mps"), {"LTLIB_DEVICE": "mps"}, "mps"),
        (("mps",), {"WORLD_SIZE": "2"}, "cpu"),  # gloo knows no Apple GPUs
    ],
)
def test_the_device_is_the_fastest_there_is_or_the_one_asked_for(monkeypatch, has, environment, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in has)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in has)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert device.choose_device().type == expected


@pytest.mark.parametrize(("asked", "sentence"), [("gpu", "LTLIB_DEVICE 'gpu' is not known"), ("mps", "does not have")])
def test_a_device_that_is_not_there_is_refused(monkeypatch, asked, sentence):
    monkeypatch.setenv("LTLIB_DEVICE", asked)
    with pytest.raises(InputError, match=sentence):
        device.choose_device()


@pytest.mark.parametrize(
    ("error", "needed"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has"),
            "asked for 2.50 GiB more",
        ),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes"),
            "for 4096 bytes",
        ),
        (MemoryError(), ": choose a smaller batch_size"),
    ],
)
def test_running_out_of_memory_is_a_sentence(error, needed):
    with (
        pytest.raises(InputError, match=f"Memory ran out in training with batch_size=64.*{needed}"),
        device.memory_explained(64),
    ):
        raise error


def test_other_errors_are_left_alone():
    with pytest.raises(RuntimeError, match=r"^shapes differ$"), device.memory_explained(64):
        raise RuntimeError("shapes differ")


@pytest.mark.parametrize(("precision", "dtype"), [("bfloat16", torch.bfloat16), ("float32", torch.float32)])
def test_autocast_sets_the_precision_of_products(precision, dtype):
    with device.autocast(precision, CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_reproducible_seeds_and_gives_back():
    before = torch.get_rng_state()
    with device.reproducible(3, CPU):
        first = torch.rand(4)
        assert torch.are_deterministic_algorithms_enabled()
    with device.reproducible(3, CPU, deterministic=False):
        assert torch.equal(torch.rand(4), first)
        assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("began", "now", "sentence"),
    [
        (
            "cpu",
            "cuda",
            "started on a CPU and cannot be resumed on a CUDA GPU.*on a CPU with LTLIB_DEVICE=cpu",
        ),
        ("cuda", "cpu", "started on a CUDA GPU and cannot be resumed on a CPU.*resume it on a CUDA GPU"),
        ("cuda", "mps", "started on a CUDA GPU and cannot be resumed on an Apple GPU"),
        ("mps", "cpu", "started on an Apple GPU and cannot be resumed on a CPU"),
    ],
)
def test_a_run_is_resumed_on_its_kind_of_device_only(began, now, sentence):
    states = device.generator_states(CPU)
    states |= {began: states["cpu"]} if began != "cpu" else {}
    with pytest.raises(InputError, match=sentence):
        device.set_generator_states(states, torch.device(now))
    device.set_generator_states(device.generator_states(CPU), CPU)


@pytest.mark.parametrize(("torchs", "allowed", "expected"), [(64, 2, 2), (2, 64, 2)])
def test_threads_keep_to_the_cores_that_a_container_may_use(monkeypatch, torchs, allowed, expected):
    chosen = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: torchs)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr(joblib, "cpu_count", lambda only_physical_cores: allowed)
    device.use_available_cores()
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    device.use_available_cores()
    assert chosen == [expected]


def python(code: str, **variables: str) -> subprocess.CompletedProcess:
    """A new Python that has none of the variables that these tests are about, but the ones given."""
    ours = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "GLIBC_TUNABLES", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")
    environment = {name: value for name, value in os.environ.items() if name not in ours} | variables
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP comes with the torch of Linux only")
@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, "'1000'"), ({"OMP_WAIT_POLICY": "passive"}, "'0'")],
)
def test_threads_that_wait_soon_leave_the_core_to_others(variables, expected):
    told = python("import ltlib, torch", OMP_DISPLAY_ENV="verbose", **variables).stderr
    assert re.findall(r"GOMP_SPINCOUNT = (\S+)", told) == [expected]


FAULTS = """
import resource, torch
from ltlib.training import device
if {keeps}: device.keep_freed_memory()
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def ten():
    for _ in range(10): torch.ones(2**24)  # 64 MiB, 16,384 pages
ten()
before = faults()
ten()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is one of GNU's malloc")
def test_freed_memory_is_not_asked_for_again():
    gives_back, keeps = (int(python(FAULTS.format(keeps=keeps)).stdout) for keeps in (False, True))
    assert gives_back > 5 * keeps  # pages are 4 KiB here, and can be 2 MiB elsewhere


def test_what_the_user_has_set_for_malloc_is_left(monkeypatch):
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "65536")
    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: pytest.fail("malloc was set"))
    device.keep_freed_memory()


def test_training_on_a_cpu_keeps_the_memory_that_it_frees(monkeypatch, tmp_path):
    called = []
    monkeypatch.setattr(execute, "keep_freed_memory", lambda: called.append(True))
    execute.execute(Experiment(profile="smoke"), runs_dir=tmp_path, quiet=True)
    assert called == [True] * (device.choose_device().type == "cpu")


@pytest.mark.parametrize(
    ("amx", "avx512", "chosen", "why"),
    [(True, True, "bfloat16", "AMX"), (False, True, "bfloat16", "AVX512-BF16"), (False, False, "float32", "neither")],
)
def test_the_reason_given_is_that_of_the_choice(monkeypatch, amx, avx512, chosen, why):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    assert device.resolve_precision("auto", CPU) == chosen
    assert why in device.why_precision(CPU)
