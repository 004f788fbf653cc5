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
