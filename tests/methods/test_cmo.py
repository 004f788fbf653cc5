"""CMO: its second stream, its patches, its loss by hand and its recipe; and CutMix as a form of mixup."""

import pytest
import torch
import torch.nn.functional as F

from ltlib import methods, models
from ltlib.data.augment import cutmix, draw_patch, patch
from ltlib.data.loader import Batch, Loader
from ltlib.errors import InputError
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.recipe import resolve
from ltlib.methods.baselines import effective_weights

COUNTS = torch.tensor([100, 30, 5])


def make(name="cmo", **own):
    torch.manual_seed(0)
    return methods.make(name, models.make("resnet8", 3, (0.5,) * 3, (0.2,) * 3), COUNTS, **own)


def begun(epochs=200, **own):
    method = make(**own)
    method.begin(method.stages(epochs, "constant")[0])
    return method.eval()


def batch(progress=10.0):
    torch.manual_seed(1)
    x, other = torch.rand(2, 9, 3, 8, 8)
    return Batch(x, torch.arange(9) % 3, progress, other, torch.full((9,), 2))


@pytest.mark.parametrize("centre", [(0.0, 0.0), (0.5, 0.25), (0.99, 0.99)])
@pytest.mark.parametrize("lam", [0.0, 0.3, 0.8, 1.0])
def test_the_rectangle_is_that_of_the_released_code(centre, lam):
    """``rand_bbox``: int(W sqrt(1 - lambda)) // 2 to both sides of the centre, cut at the border."""
    x, other = torch.rand(2, 2, 3, 32, 32)
    expected, (row, column) = x.clone(), (int(c * 32) for c in centre)
    half = int(32 * (1 - lam) ** 0.5) // 2
    top, bottom, left, right = max(row - half, 0), min(row + half, 32), max(column - half, 0), min(column + half, 32)
    expected[:, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
    pasted, share = patch(x, other, torch.tensor(lam), torch.tensor(centre))
    assert torch.equal(pasted, expected)
    assert share.item() == pytest.approx(1 - (bottom - top) * (right - left) / 1024)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("late", [False, True])
def test_loss_by_hand(balanced, late):
    method = begun(balanced=balanced, drw_start=0.0 if late else 1.0, cb_beta=0.9, probability=1.0)
    b = batch()
    torch.manual_seed(3)
    lam, centre = draw_patch(1.0, torch.device("cpu"))
    x, left = patch(b.x, b.x_other, lam, centre)
    z = method.network(x) + (COUNTS.log() if balanced else 0)
    weights = effective_weights(COUNTS, 0.9) if late else None
    own, other = (F.cross_entropy(z, y, weight=weights) for y in (b.y, b.y_other))
    assert 0 < left < 1
    torch.manual_seed(3)
    torch.testing.assert_close(method.loss(b), left * own + (1 - left) * other)


def test_without_a_patch_it_is_cross_entropy():
    plain = F.cross_entropy(make().eval().network(batch().x), batch().y)
    torch.testing.assert_close(begun(probability=0.0).loss(batch()), plain)
    torch.testing.assert_close(begun(probability=1.0).loss(batch(progress=3.99)), plain)


def test_half_of_the_batches_have_patches():
    """Of 400 coins half are heads, give or take 40, which is four standard deviations."""
    method, b = begun(), batch()
    plain = F.cross_entropy(method.network(b.x), b.y)
    torch.manual_seed(0)
    with torch.no_grad():
        found = sum(not torch.allclose(method.loss(b), plain, rtol=1e-6) for _ in range(400))
    # a few rectangles are empty too, as int(8 sqrt(1 - lambda)) // 2 is 0 for lambda above 0.94
    assert 160 - 0.1 * 200 < found < 240


@pytest.mark.parametrize(("epochs", "pasted"), [(200, range(4, 197)), (8, range(4, 5)), (7, range(0))])
def test_first_and_last_epochs_are_plain_as_in_the_released_code(epochs, pasted):
    """3 < epoch < epochs - 3, counted from 0."""
    method = begun(epochs)
    assert [e for e in range(epochs) if method.pastes(e + 0.5)] == list(pasted)
    assert method.phase(4.0) == (False, epochs > 7)


def test_the_second_stream_draws_all_classes_equally():
    labels = torch.arange(3).repeat_interleave(COUNTS)
    images = labels.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous()
    (stage,) = make().stages(5, "constant")
    torch.manual_seed(0)
    loader = Loader(
        images, labels, sampler=stage.sampler, partners=stage.partners, epochs=5, batch_size=20, augmentation="none"
    )
    first, second = [], []
    for epoch in range(20):
        for b in loader.epoch(epoch):
            assert b.x.shape == b.x_other.shape
            assert torch.equal((b.x_other[:, 0, 0, 0] * 255).round().long(), b.y_other)
            first.append(b.y)
            second.append(b.y_other)
    drawn = torch.bincount(torch.cat(second)) / (20 * 135)
    assert torch.equal(torch.bincount(torch.cat(first)), 20 * COUNTS)
    # standard deviation sqrt(2 / 9 / 2700) = 0.9 %
    assert drawn.tolist() == pytest.approx([1 / 3] * 3, abs=0.04)


def test_no_second_stream_changes_nothing():
    """The same numbers are drawn as before."""
    images, labels = torch.randint(0, 256, (30, 3, 8, 8), dtype=torch.uint8), torch.arange(30) % 3
    torch.manual_seed(5)
    loader = Loader(images, labels, sampler="instance_balanced", epochs=1, batch_size=8, augmentation="none")
    found = [b.y for b in loader.epoch(0)]
    torch.manual_seed(5)
    assert torch.equal(torch.cat(found), labels[torch.randperm(30)])
    assert all(b.x_other is None for b in loader.epoch(0))


def test_cutmix_is_a_form_of_mixup():
    method, b = make("mixup", form="cutmix").eval(), batch()
    torch.manual_seed(3)
    x, y_a, y_b, lam = cutmix(b.x, b.y, 1.0)
    soft = lam * F.one_hot(y_a, 3) + (1 - lam) * F.one_hot(y_b, 3)
    torch.manual_seed(3)
    torch.testing.assert_close(method.loss(b), F.cross_entropy(method.network(x), soft))
    with pytest.raises(InputError, match="form 'cut' is not known. Allowed: cutmix, mixup|Did you mean"):
        make("mixup", form="cut")


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_published_recipe(dataset):
    recipe, own = resolve(Experiment("cmo", dataset, profile="paper"))
    assert (recipe.backbone, recipe.epochs, recipe.batch_size, recipe.lr) == ("resnet32", 200, 128, 0.1)
    assert (recipe.weight_decay, recipe.schedule, own["drw_start"], own["cb_beta"]) == (2e-4, "step_ldam", 0.8, 0.9999)
    assert (own["alpha"], own["probability"], own["plain_first"], own["plain_last"]) == (1.0, 0.5, 4, 3)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"alpha": 0.0}, "alpha must be above 0; got 0.0"),
        ({"probability": 1.5}, "probability must be from 0 to 1; got 1.5"),
        ({"plain_first": -1}, "plain_first must be at least 0; got -1"),
        ({"plain_last": -1}, "plain_last must be at least 0; got -1"),
        ({"drw_start": 2.0}, "drw_start is a share of the epochs"),
    ],
)
def test_hyperparameters_are_checked(own, message):
    with pytest.raises(InputError, match=message):
        make(**own)
