import pytest
import torch

from ltlib.errors import InputError
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


def test_a_run_begun_on_a_cpu_cannot_silently_go_on_on_a_gpu():
    with pytest.raises(InputError, match="begun on a CPU"):
        device.set_generator_states(device.generator_states(CPU), torch.device("cuda"))


@pytest.mark.parametrize(("torchs", "allowed", "expected"), [(64, 2, 2), (2, 64, 2)])
def test_threads_keep_to_the_cores_that_a_container_may_use(monkeypatch, torchs, allowed, expected):
    chosen = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: torchs)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr(device.joblib, "cpu_count", lambda only_physical_cores: allowed)
    device.use_available_cores()
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    device.use_available_cores()
    assert chosen == [expected]


@pytest.mark.parametrize(
    ("amx", "avx512", "chosen", "why"),
    [(True, True, "bfloat16", "AMX"), (False, True, "bfloat16", "AVX512-BF16"), (False, False, "float32", "neither")],
)
def test_the_reason_given_is_that_of_the_choice(monkeypatch, amx, avx512, chosen, why):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    assert device.resolve_precision("auto", CPU) == chosen
    assert why in device.why_precision(CPU)
