"""The report on robust accuracy: the number, all that supports it, and that nothing is lost on the way."""

import json
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from ltlib.attacks import APGD, PGD, Square, fgsm
from ltlib.attacks.autoattack import AttackWarning
from ltlib.errors import InputError
from ltlib.evaluation import robust
from ltlib.evaluation.robust import as_lines, robust_report, withstood
from ltlib.methods.baselines import CrossEntropy

EPSILON = 0.01


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
        "draws": 1,
    }
    assert report["clean_accuracy"] > report["after"]["APGD-CE"] >= report["robust_accuracy"] > 0
    assert report["robust_accuracy"] == report["after"]["PGD margin"] == pytest.approx(np.mean(report["by_class"]))
    assert report["reliable"]
    assert len(report["checks"]) == 16
    assert "reliable" in as_lines(report)[1]


def test_a_failed_check_makes_the_number_unreliable(method):
    honest, images, labels = method
    masked = CrossEntropy(honest.network, honest.counts)
    masked.logits = lambda x: honest.network((16 * x).round() / 16)
    report = robust_report(masked, images, labels, {"FGSM": fgsm(EPSILON)}, probe_images=25)
    assert not report["reliable"]
    assert "NOT RELIABLE" in as_lines(report)[1]
    assert any(line.startswith("  FAILED gradients are finite") for line in as_lines(report))


@dataclass(frozen=True)
class Worried:
    """An attack that gives the image back and warns twice, as the official package may."""

    epsilon: float = EPSILON
    norm: str = "linf"

    def __call__(self, logits, x, y):
        for _ in range(2):
            warnings.warn("it seems to be a dynamic defense!", AttackWarning, stacklevel=1)
        return x


def test_warnings_of_an_attack_reach_the_report_also_after_a_resume(method, tmp_path, monkeypatch):
    monkeypatch.setattr(robust, "sanity", lambda *given, **options: [])
    for _ in range(2):
        report = robust_report(*method, {"worried": Worried()}, chunk=50, folder=tmp_path / "r")
        (check,) = [check for check in report["checks"] if check["name"] == "the attacks give no warning"]
        assert (check["passed"], check["measured"]) == (False, "it seems to be a dynamic defense!")
        assert not report["reliable"]
    with pytest.warns(DeprecationWarning, match="another"), robust.heard() as said:
        warnings.warn("another", DeprecationWarning, stacklevel=1)
    assert said == []


class Blind(Square):
    """Stands for Square and breaks a given number of images, by giving back an image of another class."""

    broken = 3

    def __call__(self, logits, x, y):
        assert y[-1] not in y[: self.broken]
        return torch.cat([x[-1:].expand(self.broken, -1, -1, -1), x[self.broken :]])


@pytest.mark.parametrize(("broken", "passes"), [(0, True), (1, True), (3, False)])
def test_a_drop_at_square_is_named(method, monkeypatch, broken, passes):
    """AutoAttack warns from 0.2 %; of a hundred images one may fall by chance."""
    monkeypatch.setattr(robust, "sanity", lambda *given, **options: [])
    monkeypatch.setattr(Blind, "broken", broken)
    report = robust_report(*method, {"FGSM": fgsm(EPSILON), "Square": Blind(EPSILON)})
    (check,) = [check for check in report["checks"] if check["name"] == "accuracy does not drop at Square"]
    assert report["after"]["FGSM"] - report["after"]["Square"] == pytest.approx(broken / 100)
    assert check["passed"] == passes


def test_the_checks_are_about_the_images_that_the_reported_attack_left(method, monkeypatch):
    seen = {}
    monkeypatch.setattr(robust, "sanity", lambda logits, x, y, attacks, **options: seen.update(options, x=x, y=y) or [])
    right = withstood(*method, ATTACKS)
    robust_report(*method, ATTACKS, probe_images=25)
    chosen = torch.linspace(0, 99, 25).long()
    assert seen["held"].tolist() == right["PGD margin"][chosen].tolist()
    assert torch.equal(seen["y"], method[2][chosen])


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
    assert lines[:2] == [f"out of memory: continuing with {n} images at once" for n in (40, 20)]


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
