"""What learns of a pretrained backbone, and that the network sees what frozen features are made of."""

import numpy as np
import pytest
import torch

from ltlib import models
from ltlib.errors import InputError
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.recipe import resolve
from ltlib.models import pretrained
from ltlib.models.backbone import TRAINABLE
from ltlib.models.cost import cost
from ltlib.models.efficientnet_lite import MEAN, STD, EfficientNetLite0
from ltlib.models.features import Extractor, frozen_input


def made(trainable="everything", side=0):
    torch.manual_seed(0)
    return models.make("efficientnet_lite0", 3, (0.1,) * 3, (0.2,) * 3, trainable=trainable, side=side)


def moved(trainable):
    """The kinds of tensors that one step of training in training mode changes."""
    network = made(trainable).train()
    before = {name: t.clone() for name, t in network.state_dict().items()}
    learns = [p for p in network.parameters() if p.requires_grad]
    z = network(torch.rand(4, 3, 32, 32))
    torch.autograd.backward(z.square().sum(), inputs=learns)
    torch.optim.SGD(learns, lr=0.1).step()
    changed = {name for name, t in network.state_dict().items() if not torch.equal(t, before[name])}
    convolutions = {name for name, p in network.named_parameters() if p.ndim == 4}
    kinds = {
        "convolutions": changed & convolutions,
        "statistics": {name for name in changed if "running" in name},
        "classifier": {name for name in changed if name.startswith("classifier")},
    }
    rest = changed - set().union(*kinds.values()) - {name for name in changed if name.endswith("num_batches_tracked")}
    return {kind for kind, names in (kinds | {"scales and shifts": rest}).items() if names}


EXPECTED = {
    "everything": {"convolutions", "scales and shifts", "statistics", "classifier"},
    "weights": {"convolutions", "scales and shifts", "classifier"},
    "norm": {"scales and shifts", "classifier"},
    "classifier": {"classifier"},
}


@pytest.mark.parametrize("trainable", TRAINABLE)
def test_one_step_changes_what_the_word_says(trainable):
    assert moved(trainable) == EXPECTED[trainable]


@pytest.mark.parametrize("trainable", TRAINABLE)
def test_a_method_that_thaws_the_network_thaws_no_more_than_that(trainable):
    network = made(trainable)
    learns = {name for name, p in network.named_parameters() if p.requires_grad}
    network.requires_grad_(False)
    assert not any(p.requires_grad for p in network.parameters())
    network.requires_grad_(True)
    assert {name for name, p in network.named_parameters() if p.requires_grad} == learns


def test_the_network_sees_images_as_frozen_features_do():
    """Resized and normalised by the statistics of the backbone, not by those of the data."""
    network = made(side=48).eval()
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    expected = frozen_input(pixels, Extractor("", network.backbone, MEAN, STD, 224, ""), 48)
    torch.testing.assert_close(network.normalize(pixels / 255), expected)
    assert network.normalize.mean.flatten().tolist() == pytest.approx(MEAN)


def test_fewer_weights_learn_and_the_step_costs_less():
    trained = [cost("efficientnet_lite0", 3, 32, trainable=word).trained for word in TRAINABLE]
    training = [cost("efficientnet_lite0", 3, 32, trainable=word).training for word in TRAINABLE]
    assert trained[0] == trained[1] > trained[2] > trained[3] == 1280 * 3 + 3
    assert training[0] == training[1] > training[2] > training[3]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("trainable=norm", "use it with pretrained=true and without frozen=true"),
        ("trainable=norm, pretrained=true, frozen=true, backbone=resnet50", "without frozen=true"),
        ("trainable=nothing", "trainable 'nothing' is not known"),
        ("network_side=64, features=efficientnet_lite0", "features are none: leave it out"),
    ],
)
def test_words_that_do_not_fit_are_refused(overrides, message):
    with pytest.raises(InputError, match=message):
        resolve(Experiment("lift_head", "cifar10", profile="paper", overrides=overrides))


def test_an_experiment_fine_tunes_and_its_run_can_be_loaded(tmp_path, image_folder, monkeypatch):
    theirs = made().eval()
    monkeypatch.setattr(pretrained, "imagenet_network", lambda: theirs)
    words = "backbone=efficientnet_lite0, pretrained=true, trainable=classifier, network_side=48, epochs=1"
    given = {"profile": "smoke", "data_dir": str(image_folder()), "overrides": words}
    run = execute(Experiment("lift_head", "folder", 2.0, **given), tmp_path, quiet=True)
    from ltlib.experiments.execute import load

    network = load(run).network
    assert isinstance(network.backbone, EfficientNetLite0)
    assert network.normalize.side == 48
    for name, tensor in theirs.backbone.state_dict().items():
        assert torch.equal(network.backbone.state_dict()[name], tensor), name
    assert np.isfinite(run.info["metrics"]["accuracy"])
