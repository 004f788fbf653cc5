"""Several attacks in turn, and the official package."""

import importlib.util
import logging
import sys
import types

import pytest
import torch
import torch.nn.functional as F

from ltlib.attacks.autoattack import AttackWarning, Official, ensemble, in_turn, official
from ltlib.errors import InputError
from tests.attacks.problems import EPSILON, GREY, Linear, Planted


def test_attacks_in_turn_leave_what_withstands_all_and_never_touch_the_fooled(trained):
    network, x, y = trained
    seen = {}

    def counting(name, attack):
        def run(logits, images, labels):
            seen[name] = len(images)
            return attack(logits, images, labels)

        return run

    attacks = {name: counting(name, a) for name, a in ensemble(0.02, steps=20, queries=50).items()}
    torch.manual_seed(0)
    x_adv, z_adv, withstood = in_turn(attacks, network, x, y)
    clean = network(x).argmax(1) == y
    assert list(withstood) == ["APGD-CE", "APGD-T", "Square"]
    assert seen["APGD-CE"] == clean.sum()
    assert seen["APGD-T"] == withstood["APGD-CE"].sum()
    assert seen["Square"] == withstood["APGD-T"].sum()
    assert torch.equal(network(x_adv).argmax(1) == y, withstood["Square"])
    assert torch.equal(z_adv.argmax(1) == y, withstood["Square"])
    torch.testing.assert_close(z_adv, network(x_adv), atol=1e-4, rtol=1e-4)
    assert torch.equal(x_adv[~clean], x[~clean])
    # of what withstood all, the worst image that was tried
    held = withstood["Square"]
    worse = F.cross_entropy(network(x_adv[held]), y[held], reduction="none")
    assert (worse >= F.cross_entropy(network(x[held]), y[held], reduction="none") - 1e-4).all()
    assert not torch.equal(x_adv[held], x[held])
    assert withstood["APGD-CE"].sum() < clean.sum()


class Package:
    """Stands for the official package: notes how it is called and warns as it does."""

    def __init__(self, name, calls):
        self.name, self.calls = name, calls

    def AutoAttack(self, model, **options):
        self.calls.update(options)
        attack = types.SimpleNamespace(
            verbose=True,
            attacks_to_run=["apgd-ce", "apgd-t", "fab-t", "square"],
            apgd_targeted=types.SimpleNamespace(n_target_classes=9),
            fab=types.SimpleNamespace(n_target_classes=9),
            logger=logging.getLogger("auto-attack")
            if self.name == "pyautoattack"
            else types.SimpleNamespace(log=print),
        )

        def run_standard_evaluation(images, labels):
            self.calls.update(
                contiguous=images.is_contiguous(),
                verbose=attack.verbose,
                attacks=attack.attacks_to_run,
                targets=(attack.apgd_targeted.n_target_classes, attack.fab.n_target_classes),
            )
            if self.name == "pyautoattack":
                attack.logger.debug("initial accuracy: 50%")
                attack.logger.warning("Square Attack has decreased the robust accuracy")
                return images, labels
            attack.logger.log("initial accuracy: 50%")
            attack.logger.log("Warning: Square Attack has decreased the robust accuracy")
            return images

        attack.run_standard_evaluation = run_standard_evaluation
        return attack


@pytest.fixture(params=["autoattack", "pyautoattack"])
def package_calls(request, monkeypatch):
    """How the official package is called, under both of its names."""
    calls = {}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == request.param)
    monkeypatch.setitem(sys.modules, request.param, Package(request.param, calls))
    return calls


def test_official_package_is_called_as_published_and_its_warnings_are_heard(package_calls):
    x, y = torch.rand(2, 3, 2, 2).to(memory_format=torch.channels_last), torch.tensor([0, 1])
    with pytest.warns(AttackWarning, match="Square Attack has decreased") as heard:
        found = Official(EPSILON, "l2")(Linear(12), x, y)
    assert len(heard) == 1
    assert torch.equal(found, x)
    assert package_calls == {
        "norm": "L2",
        "eps": EPSILON,
        "seed": 0,
        "device": x.device,
        "contiguous": True,
        "verbose": False,
        "attacks": ["apgd-ce", "apgd-t", "fab-t", "square"],
        "targets": (9, 9),
    }


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 9, 10])
@pytest.mark.filterwarnings("ignore::ltlib.attacks.autoattack.AttackWarning")
def test_official_package_with_few_classes_has_as_many_targets_as_there_are(package_calls, classes):
    ((name, attack),) = official(EPSILON, "linf", classes).items()
    attack(Linear(classes), torch.rand(2, 3, 2, 2), torch.tensor([0, 1]))
    assert package_calls["targets"] == (min(9, classes - 1),) * 2
    targeted_dlr = classes >= 4  # its denominator holds the fourth largest logit
    assert ("apgd-t" in package_calls["attacks"]) == targeted_dlr
    assert name == ("AutoAttack" if targeted_dlr else "AutoAttack without APGD-T")


def test_official_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install pyautoattack"):
        Official(EPSILON)(Planted(), GREY, torch.tensor([0]))
