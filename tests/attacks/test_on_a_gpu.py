"""Attacks on the pretended CUDA device: no mixed devices, only kernels that are deterministic, and rarely a wait."""

import pytest
import torch

from ltlib import models
from ltlib.attacks import APGD, FAB, PGD, Square, attacked
from tests.pretended_cuda import pretend_cuda


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("kind", [APGD, FAB, PGD, Square])
def test_attacks_run_on_a_gpu_with_a_wait_in_ten_steps_at_most(kind, norm):
    steps = {"queries" if kind is Square else "steps": 10}
    torch.manual_seed(0)
    network = models.make("resnet8", 4, (0.5,) * 3, (0.25,) * 3).eval()
    x, y = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])
    y = network(x).argmax(1)
    attack = kind(1e-6, norm, **steps, **({"targets": 1} if kind is FAB else {}))
    with pretend_cuda() as gpu, torch.autocast("cuda", torch.bfloat16, enabled=False):
        on_device = gpu.move(network)
        x, y = gpu.tensor(x), gpu.tensor(y)
        with attacked(on_device):
            gpu.reset()
            found = attack(on_device, x, y)
        assert found.is_cuda
        # one look at which images are right before the steps, and one in ten steps
        assert len(gpu.waits) <= 2, gpu.waits
