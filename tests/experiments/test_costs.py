from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ltlib import methods, models
from ltlib.data.loader import Batch
from ltlib.errors import InputError
from ltlib.experiments import costs
from ltlib.experiments.costs import price
from ltlib.experiments.experiment import Experiment
from ltlib.methods.method import hyperparameters
from ltlib.models.cost import cost


def test_two_stages_count_their_own_images_and_passes():
    """papers.md 1.2: 98 batches of 128 in each of the ten epochs of stage 2, whose features are frozen."""
    found = price(Experiment("mislas", "cifar10", profile="paper"))
    one = cost("resnet32", 10, 32)
    first, second = 200 * 12_406, 10 * 98 * 128
    assert found.images == first + second
    assert found.operations == first * one.training + second * one.forward
    assert found.storage == (12_406 + 10_000) * 3 * 32 * 32


@pytest.mark.parametrize(
    ("method", "epochs", "passes", "natural"),
    [
        ("at", 100, 20 + 3, 0),
        ("at_bsl", 100, 20 + 3, 0),
        ("trades", 76, 20 + 1 + 6 + 1, 0),  # the clean images once more for BatchNorm
        ("alp", 100, 20 + 6, 0),
        ("robal", 80, 10 + 6 + 2, 0),  # each batch once more for BatchNorm
        ("lbgat", 100, 20 + 1 + 3 + 1, 1),  # alpha is 0: the clean images forward only
    ],
)
def test_adversarial_training_counts_the_passes_of_its_attack(method, epochs, passes, natural):
    """As in the benchmark: forward and backward by the image in each of ten steps, then what is learnt."""
    found = price(Experiment(method, "cifar10", 1.0, profile="paper"))
    robust = cost("resnet18" if method == "at_bsl" else "wrn34_10", 10, 32).forward
    clean = cost("resnet18_lbgat", 10, 32).training
    assert found.operations == pytest.approx(epochs * 50_000 * (passes * robust + natural * clean))


class Convolutions(TorchDispatchMode):
    """Counts forward passes, and backward passes by images and by weights, of the convolutions behind the first."""

    def __init__(self):
        super().__init__()
        self.units = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name == "convolution" and args[1].shape[1] != 3:
            self.units += 1
        if name == "convolution_backward" and args[2].shape[1] != 3:
            self.units += sum(args[-1][:2])  # whether the gradient of the images is wanted, and that of the weights
        return function(*args, **(kwargs or {}))


SMALL = {"natural": "resnet8", "natural_run": "any", "attack_steps": 3}


@pytest.mark.parametrize("awp", [0.0, 0.01])
@pytest.mark.parametrize(
    ("name", "alpha"),
    [
        ("at", 0),
        ("at_bsl", 0),
        ("alp", 1),
        ("trades", 0),
        ("robal", 0),
        ("lbgat", 0),
        ("lbgat", 6),
        ("bgat", 0),
        ("bgat", 6),
    ],
)
def test_the_passes_that_a_method_names_are_those_of_its_step(name, alpha, awp):
    """One real step of networks with six convolutions behind the first."""
    known = hyperparameters(methods.METHODS[name])
    own = {key: value for key, value in (SMALL | {"alpha": alpha}).items() if key in known}
    method = methods.make(name, models.make("resnet8", 10, (0.0,) * 3, (1.0,) * 3), torch.ones(10), awp=awp, **own)
    (stage,) = method.stages(1, "constant")
    method.begin(stage)
    with Convolutions() as counted:
        method.train().loss(Batch(torch.rand(4, 3, 8, 8), torch.arange(4))).backward()
    assert counted.units / 6 == sum(p.forward + 3 * p.training for p in method.passes(stage).values())


def test_a_new_adversarial_method_is_priced_by_what_it_says(monkeypatch):
    class Three(methods.METHODS["at"]):
        learning_passes = 3

    monkeypatch.setitem(methods.METHODS, "at", Three)
    found = price(Experiment("at", "cifar10", 1.0, profile="paper"))
    assert found.operations == pytest.approx(100 * 50_000 * (20 + 9) * cost("wrn34_10", 10, 32).forward)


def test_every_table_of_the_papers_has_a_price():
    prices = {name: price(experiment) for name, experiment in costs.PAPERS.items()}
    imagenet = prices["MiSLAS, ImageNet-LT, ResNet-50"]
    assert imagenet.images == 180 * 115_846 + 10 * 454 * 256
    stored = 115_846 * 512 * 512 + 50_000 * 256 * 256  # whole training images, the middle of test images
    assert imagenet.storage == 3 * stored
    assert imagenet.hours(1e15) == pytest.approx(8 * imagenet.hours(1e15, devices=8))
    # A frozen backbone is never learnt through: cheaper than its forward and backward pass.
    places = prices["MiSLAS, Places-LT, frozen ResNet-152"]
    assert places.operations < 1.5 * places.images * cost("resnet152", 365, 224).forward


def test_data_of_unknown_size_have_no_price():
    with pytest.raises(InputError, match="What folder costs depends"):
        price(Experiment(dataset="folder"))


def test_the_bill_adds_up_runs_and_leaves_out_those_of_unknown_size():
    whole = Experiment("mixup", "cifar10", profile="paper")
    images = 200 * 12406  # epochs by images of the published CIFAR-10-LT
    operations = images * cost("resnet32", 10, 32).training
    line = costs.bill([whole, replace(whole, seed=1), Experiment("mixup", "glyphs")])
    assert line == (
        f"to train: 3 runs; {2 * images / 1e6:.1f} million images, {2 * operations / 1e15:.2f}e15 operations, "
        f"{2 * operations / 1e12 / 3600:.1f} hours at 1e12 operations a second (without 1 of unknown size)"
    )
