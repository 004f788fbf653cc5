"""The pretended device sees faults that a CPU hides: each is planted in a method, and its epoch must go red."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ltlib.data.loader import Batch
from ltlib.methods.baselines import CrossEntropy
from tests.pretended_cuda import pretend_cuda
from tests.training.small import on_pretended


def reads_a_value(method, batch):
    return batch.x * (1.0 if float(batch.x[0, 0, 0, 0]) >= 0 else 2.0)


def decides_by_a_tensor(method, batch):
    return batch.x if batch.y.sum() >= 0 else -batch.x


def goes_over_the_host(method, batch):
    return batch.x.cpu().to(batch.x.device)


def lists_the_labels(method, batch):
    return batch.x if len(batch.y.tolist()) else -batch.x


def selects_by_a_mask(method, batch):
    return torch.where(batch.y[batch.y >= 0].sum() >= 0, batch.x, -batch.x)


def counts_the_labels(method, batch):
    return batch.x * torch.bincount(batch.y, minlength=3).sum().clamp(1, 1)


def sends_a_tensor(method, batch):
    return batch.x * torch.tensor([1.0, 1.0, 1.0], device=batch.x.device)[:, None, None]


def moves_a_constant(method, batch):
    return batch.x * torch.ones(3, 1, 1).to(batch.x.device)


def indexes_by_the_host(method, batch):
    return batch.x[torch.arange(len(batch.x))]


def mixes_devices(method, batch):
    return batch.x * torch.ones(3, 1, 1)


def draws_by_numpy(method, batch):
    return batch.x * (1 + 0 * np.random.default_rng(0).uniform())


def draws_by_the_old_numpy(method, batch):
    return batch.x * (1 + 0 * np.random.beta(1.0, 1.0))  # noqa: NPY002


def draws_on_the_host(method, batch):
    return batch.x * (1 + 0 * torch.rand(()))


def sums_in_any_order(method, batch):
    return batch.x * (1 + 0 * batch.x.flatten().cumsum(0)[0])


def pools_in_any_order(method, batch):
    return batch.x + 0 * F.adaptive_avg_pool2d((batch.x * method.network.classifier.weight.sum()), 3).sum()


SEEN_AS = {
    reads_a_value: "_local_scalar_dense at tests/training/test_planted_faults.py",
    decides_by_a_tensor: "_local_scalar_dense|is_nonzero",
    goes_over_the_host: "device to host at tests/training",
    lists_the_labels: "device to host at tests/training",
    selects_by_a_mask: "index by a mask at tests/training",
    counts_the_labels: "bincount at tests/training",
    sends_a_tensor: "host to device at tests/training",
    moves_a_constant: "host to device at tests/training",
    indexes_by_the_host: "index with indices on the host at tests/training",
    mixes_devices: "at least two devices, cuda:0 and cpu",
    draws_by_numpy: "numpy.random.default_rng",
    draws_by_the_old_numpy: "numpy.random.beta",
    draws_on_the_host: "rand at tests/training",
    sums_in_any_order: "cumsum_cuda does not have a deterministic implementation",
    pools_in_any_order: "_adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation",
}


def findings(fault=None) -> list[str]:
    """What an epoch with a planted fault shows that one without does not."""

    class Planted(CrossEntropy):
        def loss(self, batch):
            x = fault(self, batch) if fault else batch.x
            return super().loss(Batch(x, batch.y))

    with pretend_cuda() as gpu:
        e = on_pretended(gpu, Planted, capture=False)
        gpu.reset()
        torch.use_deterministic_algorithms(True)
        try:
            e._train_epoch()
        except RuntimeError as error:
            return [str(error)]
        finally:
            torch.use_deterministic_algorithms(False)
        return [line for line in gpu.waits + gpu.host_draws if "ltlib/training/engine.py" not in line]


def test_without_a_fault_nothing_is_found():
    assert findings() == []


@pytest.mark.parametrize("fault", SEEN_AS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_found(fault):
    found = findings(fault)
    assert any(part in line for line in found for part in SEEN_AS[fault].split("|")), found


def test_a_fault_breaks_the_recording_of_a_step():
    class Planted(CrossEntropy):
        def loss(self, batch):
            return super().loss(Batch(goes_over_the_host(self, batch), batch.y))

    with pretend_cuda() as gpu:
        e = on_pretended(gpu, Planted)
        with pytest.warns(UserWarning, match="operation not permitted when stream is capturing: device to host"):
            e._train_epoch()
