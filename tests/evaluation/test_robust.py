"""The report on robust accuracy: honest networks pass, every masked one is named."""

import json

import numpy as np
import pytest
import torch

from ltlib.attacks import APGD, PGD, fgsm
from ltlib.errors import InputError
from ltlib.evaluation.robust import as_lines, robust_report, withstood
from ltlib.evaluation.sanity import sanity
from ltlib.methods.baselines import CrossEntropy

EPSILON = 0.01


class Rounded(torch.autograd.Function):
    """A layer whose backward pass is zero."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return torch.zeros_like(gradient)


DEFENCES = {
    "quantised input": lambda network, x: network((x * 16).round() / 16),
    "layer without gradient": lambda network, x: network(Rounded.apply(x)),
    "softmax output": lambda network, x: network(x).softmax(1),
    "random layer": lambda network, x: network((x + 0.05 * torch.randn_like(x)).clamp(0, 1)),
    "extreme temperature": lambda network, x: 1e4 * network(x),
}
CAUGHT_BY = {
    "quantised input": "gradients are finite and not zero",
    "layer without gradient": "gradients are finite and not zero",
    "softmax output": "the outputs are logits",
    "random layer": "two passes give the same logits",
    "extreme temperature": "gradients are finite and not zero",
}


def failed(logits, x, y, **options):
    torch.manual_seed(0)
    return {check.name for check in sanity(logits, x, y, EPSILON, **options) if not check.passed}


def test_an_honest_network_passes_every_check(trained):
    network, x, y = trained
    assert failed(network, x, y, surrogate=lambda images: network(images.flip(3))) == set()
    assert failed(network, x, y, norm="l2") == set()


@pytest.mark.parametrize("defence", DEFENCES)
def test_every_obfuscated_defence_is_flagged(trained, defence):
    network, x, y = trained
    found = failed(lambda images: DEFENCES[defence](network, images), x[::4], y[::4])
    assert CAUGHT_BY[defence] in found


def test_checks_notice_attacks_that_stand_still(trained):
    """Without any gradient neither size nor steps help, and whoever does not need gradients wins."""
    network, x, y = trained

    def masked(images):
        return network(images.detach()) + 0 * images.sum((1, 2, 3))[:, None]

    found = failed(masked, x[::4], y[::4], surrogate=network)
    expected = {
        "gradients are finite and not zero",
        "an attack without gradients is not stronger",
        "another model's adversarial images are not stronger",
    }
    assert found - {"chance at epsilon 0.5"} == expected  # which noise alone may reach or not


def test_checks_notice_a_number_that_hangs_on_the_scale_of_the_logits(trained):
    network, x, y = trained
    assert "the scale of the logits hides nothing" in failed(lambda images: 200 * network(images), x[::4], y[::4])


def test_checks_notice_a_network_that_knows_the_answers(trained):
    _, x, y = trained

    def oracle(images):
        return torch.nn.functional.one_hot(y[::4]).float()[: len(images)] + 0.001 * images.mean((2, 3))[:, :1]

    assert "chance at epsilon 0.5" in failed(oracle, x[::4], y[::4])


@pytest.fixture
def method(trained):
    network, x, y = trained
    return CrossEntropy(network, torch.tensor([150] * 4)), (x * 255).round().to(torch.uint8), y


ATTACKS = {"APGD-CE": APGD(EPSILON, steps=10), "PGD margin": PGD(EPSILON, loss="margin")}


def test_report_holds_the_number_and_all_that_stands_behind_it(method):
    report = robust_report(*method, ATTACKS, probe_images=50)
    assert json.loads(json.dumps(report)) == report
    assert (report["epsilon"], report["norm"], report["images"], report["probe_images"]) == (EPSILON, "linf", 100, 50)
    assert report["attacks"]["APGD-CE"]["steps"] == 10
    assert report["attacks"]["PGD margin"] == {
        "kind": "PGD",
        "epsilon": EPSILON,
        "norm": "linf",
        "steps": 20,
        "step_size": 0.003,
        "loss": "margin",
        "start": "uniform",
        "restarts": 1,
    }
    assert report["clean_accuracy"] > report["after"]["APGD-CE"] >= report["robust_accuracy"] > 0
    assert report["robust_accuracy"] == report["after"]["PGD margin"] == pytest.approx(np.mean(report["by_class"]))
    assert report["reliable"]
    assert len(report["checks"]) == 12
    assert "reliable" in as_lines(report)[1]


def test_a_scale_that_only_misleads_cross_entropy_spoils_no_number_of_other_attacks(trained):
    """The margin does not care how large the logits are; a report of both attacks is right, of the first alone not."""
    network, x, y = trained

    class Loud(CrossEntropy):
        def logits(self, images):
            return 200 * self.network(images)

    loud = Loud(network, torch.tensor([150] * 4))
    images = (x * 255).round().to(torch.uint8)
    attacks = {"PGD": PGD(EPSILON), "PGD margin": PGD(EPSILON, loss="margin")}
    found = {}
    for names in (("PGD",), ("PGD", "PGD margin")):
        report = robust_report(loud, images, y, {name: attacks[name] for name in names}, probe_images=50)
        found[names[-1]] = {check["name"]: check["passed"] for check in report["checks"]}
    assert not found["PGD"]["the scale of the logits hides nothing"]
    assert found["PGD margin"]["the scale of the logits hides nothing"]


def test_a_failed_check_makes_the_number_unreliable(method):
    honest, images, labels = method
    masked = CrossEntropy(honest.network, honest.counts)
    masked.logits = lambda x: 1e4 * honest.network(x)
    report = robust_report(masked, images, labels, {"FGSM": fgsm(EPSILON)}, probe_images=25)
    assert not report["reliable"]
    assert "NOT RELIABLE" in as_lines(report)[1]
    assert any(line.startswith("  FAILED gradients") for line in as_lines(report))


def test_a_killed_evaluation_goes_on_where_it_was_and_ends_the_same(method, tmp_path):
    attack = PGD(EPSILON)
    whole = withstood(*method, {"PGD": attack}, chunk=30)
    calls = []

    class Killed(PGD):
        def __call__(self, logits, x, y):
            calls.append(len(x))
            if len(calls) == 3:
                raise KeyboardInterrupt
            return super().__call__(logits, x, y)

    with pytest.raises(KeyboardInterrupt):
        withstood(*method, {"PGD": Killed(EPSILON)}, chunk=30, folder=tmp_path / "r")
    calls.clear()
    calls.extend([0] * 5)  # past the kill
    with pytest.raises(InputError, match="holds another robust evaluation"):
        withstood(*method, {"PGD": PGD(2 * EPSILON)}, folder=tmp_path / "r")
    resumed = withstood(*method, {"PGD": Killed(EPSILON)}, chunk=30, folder=tmp_path / "r")
    assert len(calls) == 5 + 2  # two of four chunks were there
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)
    again = withstood(*method, {"PGD": Killed(EPSILON)}, chunk=30, folder=tmp_path / "r")
    assert len(calls) == 7
    assert np.array_equal(again["PGD"], whole["PGD"])


def test_chunks_are_halved_when_memory_runs_out(method):
    sizes, lines = [], []

    class Hungry(PGD):
        def __call__(self, logits, x, y):
            if len(x) > 20:
                raise torch.OutOfMemoryError
            sizes.append(len(x))
            return super().__call__(logits, x, y)

    right = withstood(*method, {"PGD": Hungry(EPSILON, steps=1)}, chunk=80, say=lines.append)
    assert len(right["PGD"]) == 100
    assert max(sizes) <= 20
    assert lines[:2] == [f"out of memory: going on with {n} images at once" for n in (40, 20)]


def test_the_method_is_left_as_it_was(method):
    method[0].train()
    before = torch.get_rng_state()
    withstood(*method, {"FGSM": fgsm(EPSILON)})
    assert method[0].training
    assert torch.equal(torch.get_rng_state(), before)
    method[0].eval()


def test_attacks_of_one_report_share_one_ball(method):
    with pytest.raises(InputError, match="need one epsilon and norm"):
        robust_report(*method, {"a": PGD(0.01), "b": PGD(0.02)})
