"""AutoAugment and RandAugment against torchvision's, image by image, for the same choices."""

import pytest
import torch
from torchvision.transforms import AutoAugment, InterpolationMode, RandAugment, autoaugment

from ltlib.data import augment, policies
from ltlib.data.policies import CIFAR10_POLICY, ID, OPERATIONS, RANDAUGMENT, SIGNED, Steps, apply

NEAREST = InterpolationMode.NEAREST


@pytest.fixture(scope="module", params=[(32, 32), (28, 40)], ids=["square", "oblong"])
def x(request):
    """Photograph-like images, one of one colour, and noise."""
    torch.manual_seed(0)
    coarse = torch.rand(50, 3, 6, 6)
    smooth = torch.nn.functional.interpolate(coarse, request.param, mode="bicubic").clamp(0, 1) * 255
    noise = torch.randint(0, 256, (13, 3, *request.param))
    flat = torch.full((1, 3, *request.param), 77)
    return torch.cat([smooth, noise, flat]).round().to(torch.uint8)


def share_of_other_pixels(ours, theirs) -> float:
    return (ours != theirs).any(dim=1).float().mean().item()


@pytest.mark.parametrize(("name", "sign"), [*((name, 1) for name in OPERATIONS), *((name, -1) for name in SIGNED)])
@pytest.mark.parametrize("level", [0, 3, 9])
def test_every_operation_is_that_of_torchvision(x, name, sign, level):
    magnitude = sign * policies.magnitudes(10, *x.shape[2:])[ID[name], level]
    steps = Steps(torch.full((len(x), 1), ID[name]), magnitude.expand(len(x), 1))
    ours = apply(x, steps)
    theirs = torch.stack([autoaugment._apply_op(image, name, magnitude.item(), NEAREST, None) for image in x])
    # Where a pixel falls between two of the old ones to the last bit, either is the nearest.
    assert share_of_other_pixels(ours, theirs) <= (0.002 if name in ("ShearX", "ShearY", "Rotate") else 0)


def test_the_policy_is_that_of_torchvision():
    theirs = AutoAugment(autoaugment.AutoAugmentPolicy.CIFAR10).policies
    assert [[(name, p, level or 0) for name, p, level in pair] for pair in theirs] == [
        [tuple(half) for half in pair] for pair in CIFAR10_POLICY
    ]


def test_autoaugment_is_that_of_torchvision_for_the_same_draws(x, monkeypatch):
    torch.manual_seed(1)
    pair, chance, positive = torch.arange(64) % 25, torch.rand(64, 2), torch.randint(2, (64, 2))
    ours = apply(x, policies.autoaugment_steps(pair, chance, positive, *x.shape[2:]))
    theirs = AutoAugment(autoaugment.AutoAugmentPolicy.CIFAR10)
    draws = iter(zip(pair.tolist(), chance, positive, strict=True))
    monkeypatch.setattr(theirs, "get_params", lambda n: next(draws))
    expected = torch.stack([theirs(image) for image in x])
    assert share_of_other_pixels(ours, expected) <= 0.002
    assert not torch.equal(ours, x)


def test_randaugment_is_that_of_torchvision_for_the_same_draws(x, monkeypatch):
    torch.manual_seed(2)
    theirs = RandAugment()
    names = list(theirs._augmentation_space(31, x.shape[2:]))
    assert sorted(names) == sorted(RANDAUGMENT)
    operation = torch.randint(14, (64, 2))
    negative = torch.randint(2, (64, 2))
    ids = torch.tensor([ID[name] for name in names])
    ours = apply(x, policies.randaugment_steps(ids[operation], negative, *x.shape[2:]))
    expected = []
    for i, image in enumerate(x):
        # torchvision draws an operation, then a sign if the operation has one
        draws = []
        for o, n in zip(operation[i].tolist(), negative[i].tolist(), strict=True):
            draws += [o, n] if names[o] in SIGNED else [o]
        left = iter(draws)
        with monkeypatch.context() as patch:
            patch.setattr(torch, "randint", lambda *_, left=left: torch.tensor([next(left)]))
            expected.append(theirs(image))
    assert share_of_other_pixels(ours, torch.stack(expected)) <= 0.002


def test_draws_have_the_frequencies_of_the_policy():
    torch.manual_seed(0)
    n = 40_000
    steps = policies.draw_autoaugment(n, 32, 32, torch.device("cpu"))
    expected = torch.zeros(len(OPERATIONS))
    for pair in CIFAR10_POLICY:
        for name, p, _ in pair:
            expected[ID[name]] += p / 25
            expected[ID["Identity"]] += (1 - p) / 25
    found = torch.bincount(steps.operation.flatten(), minlength=len(OPERATIONS)) / n
    # six standard errors of a share near 0.2 over 40,000 images
    assert (found - expected).abs().max() < 6 * (0.2 * 0.8 / n) ** 0.5
    shifts = steps.magnitude[steps.operation == ID["TranslateY"]]
    assert (shifts < 0).float().mean() == pytest.approx(0.5, abs=0.02)
    assert shifts.abs().max() == pytest.approx(150 / 331 * 32)
    drawn = policies.draw_randaugment(n, 32, 32, torch.device("cpu")).operation
    shares = torch.bincount(drawn.flatten(), minlength=len(OPERATIONS)) / (2 * n)
    assert shares[ID["Invert"]] == 0
    assert (shares[shares > 0] - 1 / 14).abs().max() < 6 * (1 / 14 * 13 / 14 / (2 * n)) ** 0.5


@pytest.mark.parametrize("name", ["crop_flip_autoaugment", "crop_flip_randaugment"])
def test_they_are_augmentations_after_crop_and_flip(x, name):
    torch.manual_seed(3)
    out = augment.augment(x, name)
    assert (out.shape, out.dtype) == (x.shape, torch.uint8)
    torch.manual_seed(3)
    cropped = augment.augment(x, "crop_flip")
    unchanged = (out == cropped).flatten(1).all(1)
    assert 0 < unchanged.sum() < len(x), "some images have no step, and those are cropped and flipped all the same"
