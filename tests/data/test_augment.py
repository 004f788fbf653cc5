"""Our batched augmentation against torchvision, image by image."""

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from ltlib.data import augment, crops
from ltlib.errors import InputError
from ltlib.models.resnet import Normalize


def squares(n):
    return torch.full((2, n), 64.0)


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


@pytest.fixture
def photographs():
    """Smooth images of 64x64 with some noise: what interpolation is made for."""
    torch.manual_seed(2)
    coarse = torch.rand(40, 3, 9, 9)
    smooth = torch.nn.functional.interpolate(coarse, 64, mode="bicubic") * 255
    return (smooth + 6 * torch.randn_like(smooth)).round().clamp(0, 255).to(torch.uint8)


def test_resized_crop_and_flip_equal_torchvision(photographs):
    """Up and down, within one half of a grey level (the rounding to uint8) of torchvision's float arithmetic."""
    torch.manual_seed(0)
    boxes = crops.draw_boxes(*squares(40))
    for side in (56, 24):
        ours = crops.resized_crop_flip(photographs, boxes, side)
        for i, (top, left, height, width, flip) in enumerate(zip(*(b.tolist() for b in boxes), strict=True)):
            box = [int(v) for v in (top, left, height, width)]
            theirs = tv.resized_crop(photographs[i].float(), *box, [side, side], antialias=True)
            theirs = tv.horizontal_flip(theirs) if flip else theirs
            assert (ours[i] - theirs.clamp(0, 255)).abs().max() <= 0.5 + 1e-3
            # torchvision's own arithmetic on uint8 is fixed-point: within one grey level
            exact = tv.resized_crop(photographs[i], *box, [side, side], antialias=True)
            exact = tv.horizontal_flip(exact) if flip else exact
            assert (ours[i].int() - exact.int()).abs().max() <= 1


def test_boxes_are_drawn_as_torchvision_draws_them():
    """Deciles of share and of shape over 4,000 draws; the standard error of a median is about 0.01."""
    torch.manual_seed(0)
    image = torch.empty(3, 64, 64)
    theirs = torch.tensor([v2.RandomResizedCrop.get_params(image, [0.08, 1], [3 / 4, 4 / 3]) for _ in range(4000)])
    boxes = crops.draw_boxes(*squares(4000))
    deciles = torch.linspace(0.1, 0.9, 9)
    for ours, reference in (
        (boxes.height * boxes.width / 64**2, theirs[:, 2] * theirs[:, 3] / 64**2),
        ((boxes.width / boxes.height).log(), (theirs[:, 3] / theirs[:, 2]).log()),
        (boxes.top / (65 - boxes.height), theirs[:, 0] / (65 - theirs[:, 2])),
        (boxes.left / (65 - boxes.width), theirs[:, 1] / (65 - theirs[:, 3])),
    ):
        assert (ours.quantile(deciles) - reference.float().quantile(deciles)).abs().max() < 0.04
    assert ((boxes.top + boxes.height) <= 64).all()
    assert ((boxes.left + boxes.width) <= 64).all()
    assert boxes.flip.float().mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 375), (100, 1000), (1000, 100), (33, 32)])
def test_boxes_of_oblong_images_are_drawn_as_torchvision_draws_them(height, width):
    """Deciles over 4,000 draws, and for 1:10, where no box may fit, the share of draws that take the fallback."""
    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    theirs = torch.tensor([v2.RandomResizedCrop.get_params(image, [0.08, 1], [3 / 4, 4 / 3]) for _ in range(4000)])
    ours = crops.draw_boxes(*torch.tensor([[height], [width]]).float().expand(2, 4000))
    deciles = torch.linspace(0.1, 0.9, 9)
    for mine, reference in (
        (ours.height * ours.width / (height * width), theirs[:, 2] * theirs[:, 3] / (height * width)),
        ((ours.width / ours.height).log(), (theirs[:, 3] / theirs[:, 2]).log()),
        (ours.top / height, theirs[:, 0] / height),
        (ours.left / width, theirs[:, 1] / width),
        ((ours.height < 224).float(), (theirs[:, 2] < 224).float()),
    ):
        assert (mine.quantile(deciles) - reference.float().quantile(deciles)).abs().max() < 0.04
    assert ((ours.top + ours.height) <= height).all()
    assert ((ours.left + ours.width) <= width).all()


def test_boxes_that_never_fit_become_the_whole_image(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda tensor, low, high: tensor.fill_(high))
    boxes = crops.draw_boxes(*squares(3))  # share 1 at 4:3 is wider than the image
    assert boxes.height.tolist() == boxes.width.tolist() == [64] * 3
    assert boxes.top.tolist() == boxes.left.tolist() == [0] * 3


def test_jitter_equals_torchvision_in_every_order(photographs):
    """Within half a grey level of torchvision's float arithmetic: ours rounds to uint8 once, at the end."""
    torch.manual_seed(0)
    factors, order = crops.draw_jitter(40, torch.device("cpu"))
    assert len(order.unique(dim=0)) == 6
    ours = crops.jitter(photographs, factors, order)
    change = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation)
    for i in range(40):
        theirs = photographs[i] / 255
        for what in order[i].tolist():
            theirs = change[what](theirs, factors[i, what].item())
        assert (ours[i] - theirs * 255).abs().max() <= 0.5 + 1e-3


def test_jitter_draws_factors_between_0_6_and_1_4():
    torch.manual_seed(0)
    factors, order = crops.draw_jitter(6000, torch.device("cpu"))
    assert (factors.amin(0) - 0.6).abs().max() < 0.002
    assert (factors.amax(0) - 1.4).abs().max() < 0.002
    assert torch.bincount(order[:, 0]).tolist() == pytest.approx([2000] * 3, abs=150)


@pytest.mark.parametrize("name", augment.RESIZED)
def test_large_images_are_stored_larger_than_they_are_seen(name, photographs):
    assert augment.stored_side(name, 224) == 256
    assert all(augment.seen_side(name, augment.stored_side(name, side)) == side for side in range(8, 400))
    assert augment.stored_side("crop_flip", 224) == augment.seen_side("crop_flip", 224) == 224
    torch.manual_seed(0)
    out = augment.augment(photographs, name)
    assert (out.shape, out.dtype) == ((40, 3, 56, 56), torch.uint8)
    assert not torch.equal(out, augment.augment(photographs, name))


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


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_equals_torchvision(x, seed):
    """For the same lambda and centre; torchvision pairs each image with its neighbour and gives soft labels."""
    images, y = augment.to_float(x[..., :24]), torch.randint(0, 10, (64,))
    torch.manual_seed(seed)
    theirs, soft = v2.CutMix(alpha=1.0, num_classes=10)(images, y)
    torch.manual_seed(seed)
    lam = torch._sample_dirichlet(torch.tensor([1.0, 1.0]))[0]  # how torchvision draws it
    column, row = torch.randint(24, (1,)), torch.randint(32, (1,))
    center = torch.cat([(row + 0.5) / 32, (column + 0.5) / 24])
    ours = augment.paste(images, y, torch.arange(64).roll(1), lam, center)
    assert torch.equal(ours.x, theirs)
    one_hot = torch.nn.functional.one_hot
    torch.testing.assert_close(ours.lam * one_hot(ours.y_a, 10) + (1 - ours.lam) * one_hot(ours.y_b, 10), soft)


def test_cutmix_keeps_half_of_the_pixels_on_average_and_its_weight_is_their_share():
    """At alpha = 1 the share kept is more than 1/2, because rectangles are cut at the border."""
    torch.manual_seed(0)
    x = torch.stack([torch.zeros(3, 32, 32), torch.ones(3, 32, 32)])
    y, shares = torch.tensor([0, 1]), []
    for _ in range(2000):
        mixed = augment.cutmix(x, y, 1.0)
        pasted = mixed.x[0].mean() if mixed.y_b[0] == 1 else torch.tensor(0.0)
        assert mixed.y_b[0] == 0 or 1 - mixed.lam == pytest.approx(pasted.item(), abs=1e-6)
        shares.append(mixed.lam.item())
    # the side is s = sqrt(1 - lambda), half of it kept at each border: E[(s - s^2/4)^2] with s^2 uniform
    expected = 1 - sum(((k / 1000) ** 0.5 - k / 4000) ** 2 for k in range(1000)) / 1000
    assert sum(shares) / 2000 == pytest.approx(expected, abs=0.04)
