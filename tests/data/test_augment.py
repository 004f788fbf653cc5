"""Our batched augmentation against torchvision, image by image."""

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from ltlib.data import augment
from ltlib.errors import InputError
from ltlib.models.resnet import Normalize


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8)


def test_crop_and_flip_equal_torchvision(x):
    top, left = torch.randint(0, 9, (2, 64))
    flip = torch.rand(64) < 0.5
    ours = augment.crop_flip(x, top, left, flip, padding=4)
    for i in range(64):
        theirs = tv.crop(tv.pad(x[i], [4]), int(top[i]), int(left[i]), 32, 32)
        theirs = tv.horizontal_flip(theirs) if flip[i] else theirs
        assert torch.equal(ours[i], theirs)


def test_augment_draws_every_offset_and_flips_half(x):
    """A single bright pixel in the middle tells where it was moved."""
    image = torch.zeros(20_000, 3, 32, 32, dtype=torch.uint8)
    image[:, :, 16, 16] = 255
    moved = augment.augment(image, "crop_flip")
    rows, columns = moved[:, 0].flatten(1).argmax(1) // 32, moved[:, 0].flatten(1).argmax(1) % 32
    assert torch.bincount(rows).nonzero().flatten().tolist() == list(range(12, 21))
    # Unflipped columns are 12..20, flipped ones 31 - those = 11..19: only 20 and 11 tell which.
    share = (columns == 11).float().mean() / (columns == 20).float().mean()
    assert share == pytest.approx(1, abs=0.15)
    kept = augment.augment(image, "crop")
    assert (kept[:, 0].flatten(1).argmax(1) % 32).min() == 12


def test_padding_is_an_eighth_of_the_side():
    image = torch.full((500, 3, 16, 16), 255, dtype=torch.uint8)
    black = (augment.augment(image, "crop")[:, 0] == 0).all(dim=2).sum(dim=1)
    assert black.max() == 2


def test_none_changes_nothing(x):
    assert augment.augment(x, "none") is x


def test_unknown_augmentation_is_refused(x):
    with pytest.raises(InputError, match="crop_flip"):
        augment.augment(x, "cropflip")


def test_to_float_and_normalize_equal_torchvision(x):
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    pipeline = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])
    torch.testing.assert_close(Normalize(mean, std)(augment.to_float(x)), pipeline(x))


def test_mix_equals_torchvision_mixup(x):
    """torchvision pairs each image with its neighbour and returns soft labels; the mixture is the same."""
    images, y = augment.to_float(x), torch.randint(0, 10, (64,))
    torch.manual_seed(5)
    theirs, soft = v2.MixUp(alpha=1.0, num_classes=10)(images, y)
    torch.manual_seed(5)
    lam = torch._sample_dirichlet(torch.tensor([1.0, 1.0]))[0]  # how torchvision draws it
    ours = augment.mix(images, y, torch.arange(64).roll(1), lam)
    torch.testing.assert_close(ours.x, theirs)
    one_hot = torch.nn.functional.one_hot
    torch.testing.assert_close(ours.lam * one_hot(ours.y_a, 10) + (1 - ours.lam) * one_hot(ours.y_b, 10), soft)


def test_mixup_lambda_is_beta_and_not_folded():
    x, y = torch.rand(2, 3, 2, 2), torch.tensor([0, 1])
    torch.manual_seed(0)
    for alpha, variance in ((1.0, 1 / 12), (0.2, 0.25 / 1.4)):  # Beta(a, a): 1 / (4 (2a + 1))
        lam = torch.stack([augment.mixup(x, y, alpha).lam for _ in range(4000)])
        assert lam.mean().item() == pytest.approx(0.5, abs=0.03)
        assert lam.var().item() == pytest.approx(variance, rel=0.06)
