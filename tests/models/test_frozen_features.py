"""Features of a frozen network: computed once, kept whole, and refused in one sentence where they cannot be had."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torchvision import models as tv

from ltlib.data.images import Images
from ltlib.errors import InputError
from ltlib.models import features
from ltlib.models.features import Extractor, extract, extractor


class Colours(nn.Module):
    """The mean of each channel; keeps the shapes that it sees."""

    seen: list[tuple]

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(tuple(x.shape))
        return x.mean((2, 3))


@pytest.fixture
def images(monkeypatch):
    monkeypatch.setattr(features, "CHUNK", 4)
    pixels = np.random.default_rng(0).integers(0, 256, (10, 3, 8, 8), dtype=np.uint8)
    return Images(pixels, np.arange(10) % 2)


SHAPES = {side: [(4, 3, side or 16, side or 16)] * 2 + [(2, 3, side or 16, side or 16)] for side in (0, 12)}


def frozen(sha256="a"):
    return Extractor("colours", Colours(), (0.5, 0.4, 0.3), (0.2, 0.2, 0.5), 16, sha256)


def test_features_are_what_the_network_makes_of_resized_normalised_images(images):
    network = frozen()
    found = extract(images, network)
    x = torch.from_numpy(images.pixels).float() / 255
    x = F.interpolate(x, (16, 16), mode="bicubic", antialias=True).clamp(0, 1).mean((2, 3))
    expected = (x - torch.tensor(network.mean)) / torch.tensor(network.std)
    np.testing.assert_allclose(found.pixels[:, :, 0, 0], expected, atol=2e-3)
    assert found.is_features
    assert np.array_equal(found.labels, images.labels)
    assert network.network.seen == [(4, 3, 16, 16), (4, 3, 16, 16), (2, 3, 16, 16)]


def test_they_are_computed_once_for_the_same_images_weights_and_side(images):
    first = extract(images, frozen())
    again = frozen()
    assert np.array_equal(extract(images, again).pixels, first.pixels)
    assert again.network.seen == []
    for other, side in ((frozen("b"), 0), (frozen(), 12)):
        extract(images, other, side)
        assert other.network.seen == SHAPES[side]
    changed = images.pixels.copy()
    changed[9, 0, 0, 0] ^= 1
    third = frozen()
    extract(Images(changed, images.labels), third)
    assert third.network.seen == SHAPES[0]


def test_a_stopped_extraction_continues_after_the_last_whole_chunk(images, monkeypatch):
    class Stops(Colours):
        def forward(self, x):
            if len(self.seen) == 2:
                raise KeyboardInterrupt
            return super().forward(x)

    stopped = Extractor("colours", Stops(), (0.5, 0.4, 0.3), (0.2, 0.2, 0.5), 16, "a")
    with pytest.raises(KeyboardInterrupt):
        extract(images, stopped)
    rest = frozen()
    found = extract(images, rest)
    assert rest.network.seen == [(2, 3, 16, 16)]
    monkeypatch.setenv("LTLIB_CACHE", str(features.paths.cache_root() / "fresh"))
    assert np.array_equal(found.pixels, extract(images, frozen()).pixels)


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_network_of_torchvision_takes_a_checkpoint_of_the_user(tmp_path, ending):
    torch.manual_seed(0)
    theirs = tv.shufflenet_v2_x0_5(weights=None).eval()
    file = tmp_path / f"mine.{ending}"
    if ending == "pth":
        torch.save({"state_dict": {f"module.{name}": t for name, t in theirs.state_dict().items()}}, file)
    else:
        save_file(theirs.state_dict(), file)
    found = extractor("shufflenet_v2_x0_5", str(file))
    theirs.set_submodule("fc", nn.Identity())
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(found.network(x), theirs(x))
    assert (found.side, found.mean) == (224, (0.485, 0.456, 0.406))
    assert not any(p.requires_grad for p in found.network.parameters())


def test_what_cannot_be_used_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"features='resnet5' is no backbone that is known. Did you mean"):
        extractor("resnet5")
    with pytest.raises(InputError, match="cannot be read .No such file"):
        extractor("resnet18", str(tmp_path / "no.pth"))
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(InputError, match="cannot be read as weights"):
        extractor("resnet18", str(tmp_path / "text.pth"))
    torch.save({"other.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="has no weights for bn1.bias and"):
        extractor("resnet18", str(tmp_path / "other.pth"))
    torch.save(tv.squeezenet1_1(weights=None).state_dict(), tmp_path / "squeeze.pth")
    with pytest.raises(InputError, match="its classifier is no linear layer"):
        extractor("squeezenet1_1", str(tmp_path / "squeeze.pth"))


def test_a_checkpoint_that_runs_code_when_it_is_opened_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "module.pth")  # a pickled module
    with pytest.raises(InputError, match="save a plain dictionary of tensors"):
        extractor("resnet18", str(tmp_path / "module.pth"))


def test_features_that_overflow_float16_are_refused(images):
    class Large(nn.Module):
        def forward(self, x):
            return x.mean((2, 3)) + 1e6

    with pytest.raises(InputError, match="not finite in float16"):
        extract(images, Extractor("large", Large(), (0.0,) * 3, (1.0,) * 3, 8, ""))
