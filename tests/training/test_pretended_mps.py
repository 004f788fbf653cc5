"""Training on a pretended Apple GPU: no float64 on the device, nothing that its kernels refuse, resume."""

import pytest
import torch

from ltlib import methods, models
from ltlib.attacks import APGD, FAB, PGD, Square, attacked
from ltlib.data.augment import AUGMENTATIONS, cutmix, mixup
from ltlib.data.samplers import SAMPLERS
from ltlib.data.samplers import make as make_sampler
from ltlib.evaluation.evaluate import predict
from tests.pretended_cuda import MPS, pretend_mps
from tests.training.small import fit_on, on_pretended, small, values

slow = pytest.mark.slow
QUICK = ("cross_entropy", "mislas")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=slow) for n in methods.METHODS])
def test_every_method_trains_and_resumes_on_an_apple_gpu(tmp_path, name):
    def stop(record):
        if record["epoch"] == 1:
            raise InterruptedError

    found = []
    for file, halts in (("whole", False), ("part", True), ("part", False)):
        with pretend_mps() as gpu:
            e = on_pretended(gpu, name)
            assert next(e.method.parameters()).device == MPS
            if halts:
                with pytest.raises(InterruptedError):
                    fit_on(e, tmp_path / f"{file}.pt", stop, MPS)
            else:
                found.append(values(fit_on(e, tmp_path / f"{file}.pt", device=MPS)))
                assert not predict(e.method, e.evaluate["test"][0]).is_mps
    assert all(torch.equal(found[1][n], t) for n, t in found[0].items())


@pytest.mark.parametrize("augmentation", [n for n in AUGMENTATIONS if n != "none"])
def test_no_augmentation_needs_float64(augmentation):
    with pretend_mps() as gpu:
        e = on_pretended(gpu, small("cross_entropy"), augmentation=augmentation)
        e._train_epoch()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_sampler_needs_float64_and_each_draws_what_the_host_draws(sampler):
    labels = torch.tensor([0] * 12 + [1] * 5 + [2] * 2)
    torch.manual_seed(0)
    expected = make_sampler(sampler, labels, 3).draw(1)
    with pretend_mps() as gpu:
        torch.manual_seed(0)
        found = make_sampler(sampler, gpu.tensor(labels), 3).draw(1)
        assert found.device == MPS
        if sampler != "instance_balanced":  # has whole numbers only, so the device draws
            assert torch.equal(found.cpu(), expected)


@pytest.mark.parametrize("mixing", [mixup, cutmix])
def test_a_weight_of_mixing_is_drawn_without_kernels_that_are_missing(mixing):
    torch.manual_seed(0)
    with pretend_mps() as gpu:
        x, y = gpu.tensor(torch.rand(4, 3, 32, 32)), gpu.tensor(torch.arange(4))
        drawn = [mixing(x, y, 1.0) for _ in range(3)]  # of CutMix the share of pixels, a multiple of 1/1024
        assert all(mixed.x.device == mixed.lam.device == MPS for mixed in drawn)
        assert len({float(mixed.lam.cpu()) for mixed in drawn}) == 3


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("kind", [APGD, FAB, PGD, Square])
def test_no_attack_needs_float64(kind, norm):
    torch.manual_seed(0)
    network = models.make("resnet8", 4, (0.5,) * 3, (0.25,) * 3).eval()
    steps = {"queries" if kind is Square else "steps": 3}
    with pretend_mps() as gpu:
        x, on_device = gpu.tensor(torch.rand(4, 3, 8, 8)), gpu.move(network)
        with attacked(on_device):
            y = on_device(x).argmax(1)
            assert kind(0.03, norm, **steps)(on_device, x, y).device == MPS


class Doubles(methods.METHODS["cross_entropy"]):
    """Averages its loss in float64."""

    def loss(self, batch):
        return super().loss(batch).double().float()


def doubles(e):
    e._train_epoch()


def fused(e):
    e.look_at_each_step = False
    e._begin(0)
    e._train_epoch()


def draws_beta(e):
    alpha = torch.ones((), device=MPS)
    torch.distributions.Beta(alpha, alpha, validate_args=False).sample()


@pytest.mark.parametrize(
    ("kind", "fault", "error"),
    [
        (Doubles, doubles, "doesn't support float64"),
        (small("cross_entropy"), fused, "found_inf are not supported on MPS"),
        (small("cross_entropy"), draws_beta, "_sample_dirichlet' is not currently implemented"),
    ],
    ids=["float64", "a fused step that can be left out", "Beta"],
)
def test_a_planted_fault_is_found(kind, fault, error):
    with pretend_mps() as gpu:
        e = on_pretended(gpu, kind)
        with pytest.raises((TypeError, RuntimeError, NotImplementedError), match=error):
            fault(e)
