"""Operations counted by the library against those counted by hand."""

import pytest

from ltlib.errors import InputError
from ltlib.models.cost import cost


def test_resnet32_by_hand():
    def convolution(channels_in, channels, side):
        return 9 * channels_in * channels * side * side

    stem = convolution(3, 16, 32)
    first = 10 * convolution(16, 16, 32)
    second = convolution(16, 32, 16) + 9 * convolution(32, 32, 16)
    third = convolution(32, 64, 8) + 9 * convolution(64, 64, 8)
    multiply_adds = stem + first + second + third + 64 * 100
    counted = cost("resnet32", 100, 32)
    assert counted.forward == 2 * multiply_adds
    assert round(counted.forward / 2e6) == 69  # the figure of the literature
    # backward, every weight and every input has a gradient, but for the images
    assert counted.training == 2 * (3 * multiply_adds - stem)
    assert counted.parameters == counted.trained == 470_004


@pytest.mark.parametrize(
    ("name", "giga_multiply_adds"),
    # GFLOPS in torchvision's table of weights, which counts a multiply-add as one
    [("resnet50", 4.09), ("resnet101", 7.80), ("resnet152", 11.51), ("resnext50", 4.23)],
)
def test_large_networks_have_the_operations_of_torchvisions_table(name, giga_multiply_adds):
    counted = cost(name, 1000, 224)
    assert counted.forward / 2e9 == pytest.approx(giga_multiply_adds, abs=0.006)
    stem = 2 * 3 * 64 * 49 * 112 * 112
    assert counted.training == 3 * counted.forward - stem  # also with groups


def test_wide_network_of_the_adversarial_tables():
    assert cost("wrn34_10", 10, 32).forward / 2e9 == pytest.approx(6.7, abs=0.05)
    assert cost("resnet18_lbgat", 10, 32).forward / 2e9 == pytest.approx(1.76, abs=0.006)
    assert cost("resnet18", 10, 32).forward / 2e9 == pytest.approx(0.56, abs=0.006)


def test_a_frozen_network_goes_forward_and_its_block_back():
    whole, frozen = cost("resnet152", 365, 224), cost("resnet152", 365, 224, frozen=True)
    block = 2 * 49 * (2048 * 512 + 9 * 512 * 512 + 512 * 2048)
    assert frozen.forward == whole.forward  # the new block takes the place of the last
    # backward, the block's first convolution has no need of a gradient for its input
    backward = 2 * (block + 2 * 2048 * 365) - 2 * 49 * 2048 * 512
    assert frozen.training == frozen.forward + backward
    assert frozen.trained == 4_462_592 + 2049 * 365 < frozen.parameters / 10


def test_unknown_backbone_is_refused():
    with pytest.raises(InputError, match="Did you mean 'resnet50'"):
        cost("resnet-50", 10, 224)
