"""The networks of the large data sets against torchvision, and one that stays frozen."""

import subprocess
import sys
from functools import partial

import pytest
import torch
from torchvision import models as tv
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from ltlib import methods, models
from ltlib.data.loader import Batch
from ltlib.errors import InputError
from ltlib.methods.method import Stage

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
PLAIN = (0.0,) * 3, (1.0,) * 3
ORACLE = {
    "resnet10": partial(ResNet, BasicBlock, [1, 1, 1, 1]),
    "resnet50": tv.resnet50,
    "resnet101": tv.resnet101,
    "resnet152": tv.resnet152,
    "resnext50": tv.resnext50_32x4d,
    "resnext101": partial(ResNet, Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=4),  # not one of its names
}


@pytest.mark.parametrize("name", ORACLE)
def test_parameters_are_those_of_torchvision(name):
    with torch.device("meta"):
        ours, theirs = models.make(name, 1000, MEAN, STD), ORACLE[name]()
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("resnet50", 25_557_032), ("resnet101", 44_549_160), ("resnet152", 60_192_808), ("resnext50", 25_028_904)],
)
def test_parameters_are_those_of_the_documentation(name, parameters):
    with torch.device("meta"):
        network = models.make(name, 1000, MEAN, STD)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("name", ["resnet10", "resnet50", "resnext50"])
def test_logits_are_those_of_torchvision_with_the_same_weights(name):
    torch.manual_seed(0)
    theirs = ORACLE[name]()
    ours = models.make(name, 1000, *PLAIN)
    ours.backbone.layers.load_state_dict({k: w for k, w in theirs.state_dict().items() if not k.startswith("fc.")})
    ours.classifier.load_state_dict(theirs.fc.state_dict())
    x = torch.rand(2, 3, 64, 64)
    for module in (ours, theirs):  # statistics of the batch first, then those that it left behind
        module.train()
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize(("name", "features"), [("resnet10", 512), ("resnext101", 2048)])
@pytest.mark.parametrize("frozen", [False, True])
def test_maps_and_features(name, features, frozen):
    with torch.device("meta"):
        network = models.make(name, 7, MEAN, STD, frozen)
        x = torch.empty(2, 3, 224, 224)
        assert network.maps(x).shape == (2, features, 7, 7)
        assert network.features(x).shape == (2, features)
        assert network(x).shape == (2, 7)


@pytest.mark.parametrize("frozen", [False, True])
def test_features_are_the_mean_of_maps(frozen):
    network = models.make("resnet10", 7, MEAN, STD, frozen).eval()
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(network.features(x), network.maps(x).mean((2, 3)))


def test_weights_start_as_in_torchvision_and_the_classifier_as_in_torch():
    torch.manual_seed(0)
    network = models.make("resnet10", 1000, MEAN, STD)
    weight = network.backbone.layers.layer4[0].conv2.weight  # 512 x 512 x 3 x 3, fan out
    assert weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    assert network.classifier.weight.abs().max().item() == pytest.approx(512**-0.5, rel=0.01)  # uniform


def test_torchvision_is_imported_only_for_its_own_networks():
    code = (
        "import sys; from ltlib import models, methods; from ltlib.experiments import execute; "
        "models.make('resnet32', 10, (0, 0, 0), (1, 1, 1)); assert 'torchvision' not in sys.modules; "
        "models.make('resnet10', 10, (0, 0, 0), (1, 1, 1)); assert 'torchvision' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_preact_resnet18_has_the_parameters_of_robustbench():
    with torch.device("meta"):
        network = models.make("preact_resnet18", 10, MEAN, STD)
    # 11,171,146 of the usual network and gamma, beta of the last BatchNorm
    assert sum(p.numel() for p in network.parameters()) == 11_171_146 + 2 * 512


# ---- a frozen backbone with a new last block


def frozen_network():
    torch.manual_seed(0)
    return models.make("resnet10", 4, MEAN, STD, frozen=True)


def test_only_the_block_and_the_classifier_learn():
    with torch.device("meta"):
        network = models.make("resnet152", 365, MEAN, STD, frozen=True)
    learning = sum(p.numel() for p in network.parameters() if p.requires_grad)
    # 1x1, 3x3, 1x1 convolutions of 2048 -> 512 -> 512 -> 2048, three BatchNorms, and 365 rows with a bias
    block = 2048 * 512 + 9 * 512 * 512 + 512 * 2048 + 2 * (512 + 512 + 2048)
    assert learning == block + 2049 * 365 == 5_210_477
    # what the authors' resnet152_fe, Bottleneck and Classifier have together
    assert sum(p.numel() for p in network.parameters()) == 58_891_693
    kept = [part for part in network.backbone.frozen.layers.modules() if isinstance(part, Bottleneck)]
    assert len(kept) == 3 + 8 + 36 + 2


@pytest.mark.parametrize("method", ["cross_entropy", "mislas", "reslt", "trades"])
def test_training_leaves_a_frozen_backbone_untouched(method):
    network = frozen_network()
    own = {"transform": "convolution"} if method == "reslt" else {}
    trained = methods.make(method, network, torch.tensor([30, 20, 10, 5]), **own)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    batch = Batch(torch.rand(6, 3, 32, 32), torch.tensor([0, 1, 2, 3, 0, 1]))
    stage = trained.stages(1, "constant")[0]
    trained.begin(stage)
    optimizer = torch.optim.SGD(trained.param_groups(stage), lr=0.1, weight_decay=0.1)
    for _ in range(2):
        trained.train()
        optimizer.zero_grad()
        trained.loss(batch).backward()
        optimizer.step()
    changed = {name.split(".")[1] for name, tensor in network.state_dict().items() if not tensor.equal(before[name])}
    assert changed == {"block", "weight", "bias"}  # backbone.block.*, classifier.weight and .bias


def test_second_stage_shifts_the_statistics_of_the_block_alone():
    network = frozen_network()
    mislas = methods.make("mislas", network, torch.tensor([30, 20, 10, 5]), shift_bn=True)
    mislas.begin(Stage("classifier", 1, "class_balanced_cyclic", "cosine"))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    mislas.train()
    mislas.loss(Batch(torch.rand(6, 3, 32, 32), torch.tensor([0, 1, 2, 3, 0, 1]))).backward()
    changed = [name for name, tensor in network.state_dict().items() if not tensor.equal(before[name])]
    assert changed
    assert all(name.startswith("backbone.block.") for name in changed)
    assert {name.split(".")[-1] for name in changed} == {"running_mean", "running_var", "num_batches_tracked"}
    assert not any(p.grad is not None for p in network.backbone.parameters())


def test_an_attack_sees_through_a_frozen_backbone():
    network = frozen_network().eval()
    x = torch.rand(2, 3, 32, 32, requires_grad=True)
    network(x).sum().backward()
    assert x.grad.abs().sum() > 0


def test_a_network_that_is_not_frozen_thaws_and_freezes_whole():
    network = models.make("resnet8", 4, MEAN, STD)
    assert not any(p.requires_grad for p in network.requires_grad_(False).parameters())
    assert all(p.requires_grad for p in network.requires_grad_(True).parameters())


def test_the_new_block_starts_as_pytorch_starts_a_bottleneck_of_its_own():
    torch.manual_seed(0)
    block = models.make("resnet50", 4, MEAN, STD, frozen=True).backbone.block
    # uniform on +-1 / sqrt(fan_in), and not torchvision's normal on fan_out
    assert block.conv2.weight.abs().max().item() == pytest.approx((512 * 9) ** -0.5, rel=1e-3)
    assert block.conv2.weight.std().item() == pytest.approx((3 * 512 * 9) ** -0.5, rel=0.01)


def test_only_networks_for_large_images_can_be_frozen():
    with pytest.raises(InputError, match="frozen=true needs a ResNet or ResNeXt for large images"):
        models.make("resnet8", 4, MEAN, STD, frozen=True)
