import pytest
import torch

from ltlib import models
from ltlib.errors import InputError
from ltlib.models.resnet import Block

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


@pytest.mark.parametrize(("classes", "parameters"), [(10, 464_154), (100, 470_004)])
def test_resnet32_has_the_parameters_of_the_papers(classes, parameters):
    network = models.make("resnet32", classes, MEAN, STD)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize(("name", "convolutions"), [("resnet8", 7), ("resnet20", 19), ("resnet56", 55)])
def test_depth_counts_convolutions_and_the_classifier(name, convolutions):
    network = models.make(name, 10, MEAN, STD)
    assert sum(isinstance(m, torch.nn.Conv2d) for m in network.modules()) == convolutions


@pytest.mark.parametrize("size", [8, 16, 32])
def test_shapes(size):
    network = models.make("resnet8", 7, MEAN, STD)
    x = torch.rand(2, 3, size, size)
    assert network.features(x).shape == (2, 64)
    assert network(x).shape == (2, 7)


def test_shortcut_takes_every_second_pixel_and_pads_channels_on_both_sides():
    x = torch.rand(1, 4, 6, 6)
    shortcut = Block(4, 8, stride=2).shortcut(x)
    assert torch.equal(shortcut[:, 2:6], x[:, :, ::2, ::2])
    assert shortcut[:, :2].abs().sum() == shortcut[:, 6:].abs().sum() == 0


def test_normalisation_lives_inside():
    network = models.make("resnet8", 10, MEAN, STD).eval()
    x = torch.rand(2, 3, 16, 16)
    plain = models.make("resnet8", 10, (0, 0, 0), (1, 1, 1)).eval()
    plain.backbone, plain.classifier = network.backbone, network.classifier
    torch.testing.assert_close(
        network(x), plain((x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1))
    )


def test_weights_are_kaiming_normal():
    torch.manual_seed(0)
    network = models.make("resnet32", 1000, MEAN, STD)
    weight = network.backbone.stage3[1].conv1.weight  # 64 x 64 x 3 x 3
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert network.classifier.weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.02)


def test_unknown_backbone_is_refused():
    with pytest.raises(InputError, match="Did you mean 'resnet32'"):
        models.make("resnet-32", 10, MEAN, STD)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("wrn34_10", 46_160_474),
        ("wrn34_20", 184_531_674),
        ("wrn28_10", 36_479_194),
        ("resnet18", 11_173_962),
        ("resnet18_lbgat", 11_173_962),
        ("resnet34", 21_282_122),
    ],
)
def test_networks_of_the_adversarial_papers_have_their_parameters(name, parameters):
    with torch.device("meta"):
        backbone = models.BACKBONES[name]()
        network = torch.nn.Sequential(backbone, torch.nn.Linear(backbone.features, 10))
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "side", "features"),
    [("wrn10_2", 8, 128), ("resnet18", 4, 512), ("resnet18_lbgat", 8, 512), ("resnet8", 8, 64)],
)
def test_maps_are_pooled_into_features(name, side, features):
    network = models.make(name, 7, MEAN, STD).eval()
    x = torch.rand(2, 3, 32, 32)
    maps = network.maps(x)
    assert maps.shape == (2, features, side, side)
    torch.testing.assert_close(maps.mean((2, 3)), network.features(x))


@pytest.mark.parametrize(
    ("name", "convolution", "classifier", "bias"),
    [
        # standard deviations of the networks that the released TRADES and LBGAT code makes, 10 classes
        ("wrn34_10", 0.0373, 0.0226, 0.0),
        ("resnet18_lbgat", 0.0240, 0.0256, 0.0256),
    ],
)
def test_adversarial_networks_start_as_their_code_starts_them(name, convolution, classifier, bias):
    torch.manual_seed(0)
    network = models.make(name, 10, MEAN, STD)
    stage = network.backbone.stages
    inner = stage[0].conv2 if name == "wrn34_10" else stage[0].conv1
    assert inner.weight.std().item() == pytest.approx(convolution, rel=0.03)
    assert network.classifier.weight.std().item() == pytest.approx(classifier, rel=0.03)
    assert network.classifier.bias.std().item() == pytest.approx(bias, rel=0.5)


def test_a_classifier_can_start_as_pytorch_starts_it_while_the_backbone_does_not():
    torch.manual_seed(0)
    network = models.make("resnet32", 1000, MEAN, STD, classifier_init="pytorch")
    assert network.classifier.weight.std().item() == pytest.approx(0.0722, rel=0.01)
    assert network.classifier.bias.abs().max() > 0
    conv = network.backbone.stage3[2].conv1.weight
    assert conv.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    with pytest.raises(InputError, match="classifier_init 'torch' is not known"):
        models.make("resnet32", 10, MEAN, STD, classifier_init="torch")


def test_wide_networks_start_with_the_variance_of_the_trades_code():
    torch.manual_seed(0)
    stem = models.make("wrn10_2", 10, MEAN, STD).backbone.stages[1].conv1  # 32 -> 64 channels, 3x3
    assert stem.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.03)
