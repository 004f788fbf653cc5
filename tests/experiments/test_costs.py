import pytest

from ltlib.errors import InputError
from ltlib.experiments import costs
from ltlib.experiments.costs import price
from ltlib.experiments.experiment import Experiment
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
    ("method", "passes", "natural"),
    [("at", 20 + 3, 0), ("at_bsl", 20 + 3, 0), ("trades", 20 + 1 + 6, 0), ("alp", 20 + 6, 0), ("lbgat", 27, 1)],
)
def test_adversarial_training_counts_the_passes_of_its_attack(method, passes, natural):
    """As in the benchmark: forward and backward by the image in each of ten steps, then what is learnt."""
    found = price(Experiment(method, "cifar10", 1.0, profile="paper"))
    robust, clean = cost("wrn34_10", 10, 32).forward, cost("resnet18_lbgat", 10, 32).training
    assert found.operations == pytest.approx(100 * 50_000 * (passes * robust + natural * clean))


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
