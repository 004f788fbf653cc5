"""What ``doctor`` says of GPUs that this machine does not have."""

import pytest
import torch

from ltlib import doctor
from tests.pretended_cuda import pretend_cuda


def test_an_old_gpu_is_explained():
    with pretend_cuda(bfloat16=False, name="Tesla T4", free=3 * 2**30):
        text = "\n".join(doctor.examine())
    assert "device Tesla T4" in text
    assert "the paper profile trains in float16: the GPU has no bfloat16" in text
    assert "GPU memory: 3.0 of 6.0 GiB free; compute capability 7.5" in text
    assert "TF32 is off" in text
    assert "!! less than 2 GiB" not in text


def test_little_memory_is_a_warning():
    with pretend_cuda(free=2**30):
        assert any(line.startswith("!! less than 2 GiB of GPU memory") for line in doctor.examine())


def test_an_apple_gpu_is_said_to_be_untried(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    text = "\n".join(doctor.examine())
    assert "the paper profile trains in float32: on Apple GPUs" in text
    assert "has never been run on one" in text


@pytest.mark.parametrize("value", ["gpu", "cuda"])
def test_a_device_that_is_not_there_does_not_stop_the_doctor(monkeypatch, value):
    monkeypatch.setenv("LTLIB_DEVICE", value)
    lines = doctor.examine()
    assert any(line.startswith("!! LTLIB_DEVICE") for line in lines)
    assert any(line.startswith("data found") for line in lines)


def test_a_driver_that_fails_is_a_line(monkeypatch):
    def fails():
        raise RuntimeError("CUDA driver initialization failed\nmore")

    monkeypatch.setattr(torch.cuda, "is_available", fails)
    assert any("the GPU does not answer (CUDA driver initialization failed)" in line for line in doctor.examine())
