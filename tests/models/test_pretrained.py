"""ImageNet weights: taken from torch's cache, and a sentence where they cannot be had. Nothing is downloaded."""

import hashlib
import pickle
import re
import urllib.error

import pytest
import torch
from torchvision.models.resnet import BasicBlock, ResNet

from ltlib import models
from ltlib.errors import InputError
from ltlib.models import pretrained
from ltlib.models.pretrained import PRETRAINED, address, load_pretrained, read


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of torch."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def stored(hub, monkeypatch):
    """Weights of a ResNet-10 in that cache, as torchvision would have put them there: (network, file)."""
    torch.manual_seed(0)
    network = ResNet(BasicBlock, [1, 1, 1, 1])
    hub.mkdir(parents=True)
    torch.save(network.state_dict(), hub / "new.pth")
    file = hub / f"resnet10-{hashlib.sha256((hub / 'new.pth').read_bytes()).hexdigest()[:8]}.pth"
    (hub / "new.pth").rename(file)
    monkeypatch.setattr(pretrained, "address", lambda name: f"https://example.org/models/{file.name}")
    return network, file


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_, **__):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "urlopen", refuse)


def test_the_backbone_gets_the_weights_and_the_classifier_does_not(stored, offline):
    theirs, _ = stored
    ours = models.make("resnet10", 1000, (0.0,) * 3, (1.0,) * 3)
    classifier = ours.classifier.weight.clone()
    load_pretrained(ours, "resnet10")
    theirs.fc = torch.nn.Identity()
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(ours.backbone.eval()(x), theirs.eval()(x))
    assert torch.equal(ours.classifier.weight, classifier)


def test_the_new_last_block_of_a_frozen_backbone_gets_no_weights(stored, offline):
    theirs, _ = stored
    ours = models.make("resnet10", 1000, (0.0,) * 3, (1.0,) * 3, frozen=True)
    before = {name: tensor.clone() for name, tensor in ours.backbone.block.state_dict().items()}
    load_pretrained(ours, "resnet10")
    theirs.layer4, theirs.fc = torch.nn.Identity(), torch.nn.Identity()
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(ours.backbone.frozen.eval()(x), theirs.eval()(x))
    assert all(torch.equal(tensor, before[name]) for name, tensor in ours.backbone.block.state_dict().items())


def test_the_weights_are_the_first_ones_of_torchvision():
    assert address("resnet152").endswith("resnet152-394f9c45.pth")
    assert address("resnet50").endswith("resnet50-0676ba61.pth")
    # the hash that every download and every file in the cache is held against
    assert all(re.search(r"-[0-9a-f]{8}\.pth$", address(name)) for name in PRETRAINED)
    assert set(PRETRAINED) <= set(models.BACKBONES)


def test_without_a_network_one_sentence_says_what_to_do(hub, offline):
    with pytest.raises(InputError) as caught:
        read("https://example.org/models/resnet50-0676ba61.pth")
    message = str(caught.value)
    assert "could not be downloaded (<urlopen error Name or service not known>)" in message
    assert str(hub / "resnet50-0676ba61.pth") in message
    assert "pretrained=false" in message
    assert "\n" not in message
    assert not any(hub.iterdir())


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_a_damaged_file_is_named(stored, offline, damage):
    _, file = stored
    good = file.read_bytes()
    middle = len(good) // 2
    file.write_bytes(
        {
            "cut": good[:middle],
            "flip": good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :],
            "empty": b"",
            "text": b"<html>Please log in</html>",
        }[damage]
    )
    with pytest.raises(InputError, match=re.escape(f"{file} are damaged") + ".*delete the file"):
        read(f"https://example.org/models/{file.name}")


def test_a_file_that_holds_code_is_not_run(hub):
    hub.mkdir(parents=True)
    torch.save(ResNet(BasicBlock, [1, 1, 1, 1]), hub / "new.pth")  # a pickled module
    file = hub / f"resnet10-{hashlib.sha256((hub / 'new.pth').read_bytes()).hexdigest()[:8]}.pth"
    (hub / "new.pth").rename(file)
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        read(f"https://example.org/models/{file.name}")
